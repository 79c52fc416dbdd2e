// A linearisation of variational refinement, in three kernels around the passes of relaxation.cu. A thread has one pixel.
// See flowzoo/operators/variational/definition.py.

#include "common.cuh"

// What the images say at the end of the flow: compared has, each (height, width), the mean of the first image and the
// warped second one, their difference, and 1 where the flow ends inside, else 0.
extern "C" __global__ void __launch_bounds__(256)
compare_images(const float* first, const float* second, const float* flow, float* compared, Long batch, Long height,
               Long width, Long first_block) {
    const Long plane = height * width;
    Long index = (blockIdx.x + first_block) * 256 + threadIdx.x;
    if (index >= batch * plane) return;
    const Long place = take(index, plane), x = place % width, y = place / width;
    const float u = flow[index * 2 * plane + place], v = flow[(index * 2 + 1) * plane + place];
    const float px = static_cast<float>(x) + u, py = static_cast<float>(y) + v;
    const float wide = static_cast<float>(width), tall = static_cast<float>(height);
    float warped = 0.0f;
    if (px > -1.0f && px < wide && py > -1.0f && py < tall) {
        const float left = floorf(px), top = floorf(py), across = px - left, down = py - top;
        const Long x0 = static_cast<Long>(left), y0 = static_cast<Long>(top);
        const float* image = second + index * plane;
        float corner[4];
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            const Long i = x0 + k % 2, j = y0 + k / 2;
            corner[k] = i >= 0 && i < width && j >= 0 && j < height ? image[j * width + i] : 0.0f;
        }
        const float upper = corner[0] + across * (corner[1] - corner[0]);
        const float lower = corner[2] + across * (corner[3] - corner[2]);
        warped = upper + down * (lower - upper);
    }
    const float here = first[index * plane + place];
    float* out = compared + index * 3 * plane + place;
    out[0] = (here + warped) / 2;
    out[plane] = warped - here;
    out[2 * plane] = px >= 0.0f && px <= wide - 1.0f && py >= 0.0f && py <= tall - 1.0f ? 1.0f : 0.0f;
}

struct Grid {
    Long height, width;
    __device__ __forceinline__ Long at(Long y, Long x) const {  // edges replicated
        y = y < 0 ? 0 : (y < height ? y : height - 1);
        x = x < 0 ? 0 : (x < width ? x : width - 1);
        return y * width + x;
    }
};

__device__ __forceinline__ Long bounded_place(Long place, Long size) {
    return place < 0 ? 0 : (place < size ? place : size - 1);
}

// Half the difference of the neighbours along x or y, at a pixel whose coordinates are replicated first.
__device__ __forceinline__ float slope_x(const float* map, Grid grid, Long y, Long x) {
    y = bounded_place(y, grid.height), x = bounded_place(x, grid.width);
    return (map[grid.at(y, x + 1)] - map[grid.at(y, x - 1)]) / 2;
}
__device__ __forceinline__ float slope_y(const float* map, Grid grid, Long y, Long x) {
    y = bounded_place(y, grid.height), x = bounded_place(x, grid.width);
    return (map[grid.at(y + 1, x)] - map[grid.at(y - 1, x)]) / 2;
}

// alpha / 2 psi' of the flow at a pixel.
__device__ __forceinline__ float smoothness(const float* flow, Grid grid, Long y, Long x, float half_alpha,
                                            float epsilon2) {
    const Long plane = grid.height * grid.width, at = y * grid.width + x;
    float sum = epsilon2;
#pragma unroll
    for (int c = 0; c < 2; ++c) {
        const float here = flow[c * plane + at];
        const float across = x + 1 < grid.width ? flow[c * plane + at + 1] - here : 0.0f;
        const float down = y + 1 < grid.height ? flow[c * plane + at + grid.width] - here : 0.0f;
        sum += across * across + down * down;
    }
    return half_alpha / sqrtf(sum);
}

// How far the flow is to be believed: from the mean difference of the images around the pixel.
__device__ __forceinline__ float trust_at(const float* change, Grid grid, Long y, Long x, float mismatch, float least) {
    float sum = 0.0f, count = 0.0f;
#pragma unroll
    for (int k = 0; k < 25; ++k) {
        const Long j = y + k / 5 - 2, i = x + k % 5 - 2;
        if (j < 0 || j >= grid.height || i < 0 || i >= grid.width) continue;
        sum += fabsf(change[j * grid.width + i]);
        count += 1.0f;
    }
    return least + (1.0f - least) * expf(-sum / count / mismatch);
}

// The linear system about the flow as relax_pass takes it.
extern "C" __global__ void __launch_bounds__(256)
make_system(const float* compared, const float* edges, const float* flow, float* system, Long batch, Long height,
            Long width, float normaliser, float mismatch, float least, float alpha, float delta, float gamma,
            float epsilon, Long first_block) {
    const Long plane = height * width;
    Long index = (blockIdx.x + first_block) * 256 + threadIdx.x;
    if (index >= batch * plane) return;
    const Long place = take(index, plane), x = place % width, y = place / width;
    const Grid grid{height, width};
    const float *mean = compared + index * 3 * plane, *change = mean + plane;
    const float *whereto = flow + index * 2 * plane, *edge = edges + index * 2 * plane;
    const float fx = slope_x(mean, grid, y, x), fy = slope_y(mean, grid, y, x);
    const float fxx = (slope_x(mean, grid, y, x + 1) - slope_x(mean, grid, y, x - 1)) / 2;
    const float fxy = (slope_x(mean, grid, y + 1, x) - slope_x(mean, grid, y - 1, x)) / 2;
    const float fyy = (slope_y(mean, grid, y + 1, x) - slope_y(mean, grid, y - 1, x)) / 2;
    const float ft = change[place], fxt = slope_x(change, grid, y, x), fyt = slope_y(change, grid, y, x);
    const float trust = change[plane + place] * trust_at(change, grid, y, x, mismatch, least);
    const float least_square = normaliser * normaliser, epsilon2 = epsilon * epsilon;
    const float n0 = trust / (fx * fx + fy * fy + least_square);
    const float n1 = trust / (fxx * fxx + fxy * fxy + least_square);
    const float n2 = trust / (fxy * fxy + fyy * fyy + least_square);
    const float k0 = delta * n0 / sqrtf(ft * ft * n0 + epsilon2);
    const float k = gamma / sqrtf(fxt * fxt * n1 + fyt * fyt * n2 + epsilon2);
    const float k1 = k * n1, k2 = k * n2;
    float b1 = -(k0 * fx * ft + k1 * fxx * fxt + k2 * fxy * fyt);
    float b2 = -(k0 * fy * ft + k1 * fxy * fxt + k2 * fyy * fyt);
    const float half = alpha / 2, here = smoothness(whereto, grid, y, x, half, epsilon2);
    float weights[2] = {0.0f, 0.0f};  // to the right and to the lower neighbour
    const float u = whereto[place], v = whereto[plane + place];
    if (x + 1 < width) {
        weights[0] = edge[place] * (here + smoothness(whereto, grid, y, x + 1, half, epsilon2));
        b1 += weights[0] * (whereto[place + 1] - u), b2 += weights[0] * (whereto[plane + place + 1] - v);
    }
    if (y + 1 < height) {
        weights[1] = edge[plane + place] * (here + smoothness(whereto, grid, y + 1, x, half, epsilon2));
        b1 += weights[1] * (whereto[place + width] - u), b2 += weights[1] * (whereto[plane + place + width] - v);
    }
    if (x > 0) {
        const float weight = edge[place - 1] * (here + smoothness(whereto, grid, y, x - 1, half, epsilon2));
        b1 += weight * (whereto[place - 1] - u), b2 += weight * (whereto[plane + place - 1] - v);
    }
    if (y > 0) {
        const float weight = edge[plane + place - width] * (here + smoothness(whereto, grid, y - 1, x, half, epsilon2));
        b1 += weight * (whereto[place - width] - u), b2 += weight * (whereto[plane + place - width] - v);
    }
    float* out = system + index * 7 * plane + place;
    out[0] = k0 * fx * fx + k1 * fxx * fxx + k2 * fxy * fxy;
    out[plane] = k0 * fx * fy + k1 * fxx * fxy + k2 * fxy * fyy;
    out[2 * plane] = k0 * fy * fy + k1 * fxy * fxy + k2 * fyy * fyy;
    out[3 * plane] = b1;
    out[4 * plane] = b2;
    out[5 * plane] = weights[0];
    out[6 * plane] = weights[1];
}

// The flow and its step, each component within -largest..largest; it stays where the system says nothing (0 / 0).
extern "C" __global__ void __launch_bounds__(256)
move_flow(const float* flow, const float* step, float* moved, Long count, float largest, Long first_block) {
    const Long index = (blockIdx.x + first_block) * 256 + threadIdx.x;
    if (index >= count) return;
    const float by = step[index];
    const float within = by == by ? fminf(fmaxf(by, -largest), largest) : 0.0f;
    moved[index] = flow[index] + within;
}
