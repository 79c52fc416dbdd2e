// Sampled cost volumes and their gradients: see flowzoo/operators/sampled_volume/definition.py for the definitions.
//
// Feature maps come pixel by pixel, (B,h,w,C) and (B,H,W,C): a window's vectors are then contiguous. A warp has one
// output pixel; the block's warps are neighbours, so their costs leave together. SIDE (compile option) is
// 2 * radius + 1.
// The gradients of correlation with dilation 1 and a small radius are in sampled_gradient.cu.

#include "sampled_volume.cuh"

// Dilation 1 as a constant where it is that: window sides then are constants, too.
template <bool DENSE>
__device__ __forceinline__ Sizes with_dilation(Sizes sizes) {
    if (DENSE) sizes.dilation = 1;
    return sizes;
}

// Dot products with the whole window, unscaled, into shared memory: eight lanes of four channels a window pixel, four
// window pixels at a time.
template <bool DENSE>
__device__ __forceinline__ void fill_dots(const Storage* vector, const Storage* second, const Window& w,
                                          const Sizes& sizes, float* dots) {
    constexpr int side = DENSE ? SIDE + 1 : 2 * SIDE, area = side * side;
    const Sizes s = with_dilation<DENSE>(sizes);
#pragma unroll 1
    for (int begin = threadIdx.x / 8; begin < area; begin += 4 * BATCH) {  // area is 4n: no lane ends early
        Long places[BATCH];
        float totals[BATCH];
#pragma unroll
        for (int i = 0; i < BATCH; ++i) {
            const int n = begin + 4 * i;
            places[i] = n < area ? w.at(n / side, n % side, s) : -1;
            totals[i] = 0.0f;
        }
#pragma unroll 1
        for (int channel = threadIdx.x % 8 * 4; channel < s.channels; channel += 32) {
            const float4 mine = four(vector + channel);
            float4 theirs[BATCH];
#pragma unroll
            for (int i = 0; i < BATCH; ++i) theirs[i] = four_or_zero(second, places[i], channel);
#pragma unroll
            for (int i = 0; i < BATCH; ++i) totals[i] += dot(mine, theirs[i]);
        }
#pragma unroll
        for (int i = 0; i < BATCH; ++i) {
#pragma unroll
            for (int step = 4; step > 0; step /= 2) totals[i] += __shfl_xor_sync(WHOLE_WARP, totals[i], step);
            if (threadIdx.x % 8 == 0 && begin + 4 * i < area) dots[begin + 4 * i] = totals[i];
        }
    }
    __syncwarp();
}

__device__ __forceinline__ float blended(const float* dots, const Window& w, const Sizes& s, int d) {
    const int row = w.near(d / SIDE, s), column = w.near(d % SIDE, s);
    const float* above = dots + row * w.side + column;
    const float* below = above + w.side;
    return blend(blend(above[0], above[1], w.right), blend(below[0], below[1], w.right), w.down);
}

__device__ __forceinline__ float4 blend(const float4& lower, const float4& upper, float share) {
    float4 result;
    result.x = blend(lower.x, upper.x, share);
    result.y = blend(lower.y, upper.y, share);
    result.z = blend(lower.z, upper.z, share);
    result.w = blend(lower.w, upper.w, share);
    return result;
}

// Costs of one pixel for SAD: eight lanes of four channels a displacement.
template <bool DENSE>
__device__ __forceinline__ void fill_differences(const Storage* vector, const Storage* second, const Window& w,
                                                 const Sizes& sizes, float* costs) {
    const Sizes s = with_dilation<DENSE>(sizes);
#pragma unroll 1
    for (int first = 0; first < SIDE * SIDE; first += 4) {
        const int d = first + threadIdx.x / 8;
        Long places[4];
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            const int row = w.near(d / SIDE, s) + k / 2, column = w.near(d % SIDE, s) + k % 2;
            places[k] = d < SIDE * SIDE ? w.at(row, column, s) : -1;
        }
        float total = 0.0f;
#pragma unroll 1
        for (int channel = threadIdx.x % 8 * 4; channel < s.channels; channel += 32) {
            const float4 mine = four(vector + channel);
            float4 corners[4];
#pragma unroll
            for (int k = 0; k < 4; ++k) corners[k] = four_or_zero(second, places[k], channel);
            const float4 above = blend(corners[0], corners[1], w.right), below = blend(corners[2], corners[3], w.right);
            const float4 sampled = blend(above, below, w.down);
            total += fabsf(sampled.x - mine.x) + fabsf(sampled.y - mine.y) + fabsf(sampled.z - mine.z) +
                     fabsf(sampled.w - mine.w);
        }
#pragma unroll
        for (int step = 4; step > 0; step /= 2) total += __shfl_xor_sync(WHOLE_WARP, total, step);
        if (threadIdx.x % 8 == 0 && d < SIDE * SIDE) costs[d] = total;
    }
    __syncwarp();
}

// The block's costs leave together: neighbouring pixels are neighbours in memory.
__device__ __forceinline__ void put_costs(const float* shared, Storage* volume, Long start, Long pixels, Long plane,
                                          float share) {
    __syncthreads();
    const int neighbours = blockDim.y;
    for (int i = threadIdx.y * 32 + threadIdx.x; i < neighbours * SIDE * SIDE; i += 32 * neighbours) {
        const Long target = start + i % neighbours;
        const int d = i / neighbours;
        if (target < pixels)
            volume[(target / plane * SIDE * SIDE + d) * plane + target % plane] =
                narrow(shared[i % neighbours * SIDE * SIDE + d] * share);
    }
}

// Shared memory: for each warp SIDE^2 costs, then a window.
extern "C" __global__ void __launch_bounds__(256, 1)
sampled_correlation(const Storage* first, const Storage* second, const float* flow, Storage* volume, Long batch,
                    int channels, int height, int width, int rows, int columns, int dilation, int stride,
                    float share, Long first_block) {
    DYNAMIC_SHARED(shared);
    const Sizes s = {channels, height, width, rows, columns, dilation, stride};
    const Long plane = static_cast<Long>(rows) * columns, pixels = batch * plane;
    const Long start = (blockIdx.x + first_block) * blockDim.y;
    const Long pixel = start + threadIdx.y;
    if (pixel < pixels) {
        const Window w = find_window(flow, pixel, s);
        float* dots = shared + blockDim.y * SIDE * SIDE + threadIdx.y * w.side * w.side;
        if (dilation == 1)
            fill_dots<true>(first + pixel * channels, second, w, s, dots);
        else
            fill_dots<false>(first + pixel * channels, second, w, s, dots);
        for (int d = threadIdx.x; d < SIDE * SIDE; d += 32)
            shared[threadIdx.y * SIDE * SIDE + d] = blended(dots, w, s, d);
    }
    put_costs(shared, volume, start, pixels, plane, share);
}

// Shared memory: for each warp SIDE^2 costs.
extern "C" __global__ void __launch_bounds__(256, 1)
sampled_difference(const Storage* first, const Storage* second, const float* flow, Storage* volume, Long batch,
                   int channels, int height, int width, int rows, int columns, int dilation, int stride,
                   float share, Long first_block) {
    DYNAMIC_SHARED(shared);
    const Sizes s = {channels, height, width, rows, columns, dilation, stride};
    const Long plane = static_cast<Long>(rows) * columns, pixels = batch * plane;
    const Long start = (blockIdx.x + first_block) * blockDim.y;
    const Long pixel = start + threadIdx.y;
    if (pixel < pixels) {
        const Window w = find_window(flow, pixel, s);
        float* costs = shared + threadIdx.y * SIDE * SIDE;
        if (dilation == 1)
            fill_differences<true>(first + pixel * channels, second, w, s, costs);
        else
            fill_differences<false>(first + pixel * channels, second, w, s, costs);
    }
    put_costs(shared, volume, start, pixels, plane, share);
}

// The whole of one warp's gradient of correlation. Shared: SIDE^2 gradients, dot products, window weights.
__device__ __forceinline__ void correlation_gradient(const Storage* vector, const Storage* second, const Window& w,
                                                     const Sizes& s, const float* gradient, float* dots, float* weights,
                                                     Storage* to_vector, Sum* to_second, double scale, float* along) {
    const int lane = threadIdx.x;
    if (s.dilation == 1)
        fill_dots<true>(vector, second, w, s, dots);
    else
        fill_dots<false>(vector, second, w, s, dots);
    along[0] = along[1] = 0.0f;
    for (int d = lane; d < SIDE * SIDE; d += 32) {
        const float* above = dots + w.near(d / SIDE, s) * w.side + w.near(d % SIDE, s);
        const float* below = above + w.side;
        along[0] += gradient[d] * blend(above[1] - above[0], below[1] - below[0], w.down);
        along[1] += gradient[d] * blend(below[0] - above[0], below[1] - above[1], w.right);
    }
    // The adjoint of the blends: every window pixel collects from the displacements around it.
    for (int n = lane; n < w.side * w.side; n += 32) {
        const int row = n / w.side, column = n % w.side;
        float total = 0.0f;
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            const int below = k / 2, beside = k % 2;
            const int y = s.dilation == 1 ? row - below : row / 2, x = s.dilation == 1 ? column - beside : column / 2;
            const bool fits = s.dilation == 1 || (row % 2 == below && column % 2 == beside);
            if (fits && y >= 0 && y < SIDE && x >= 0 && x < SIDE)
                total += gradient[y * SIDE + x] * (below ? w.down : 1.0f - w.down) *
                         (beside ? w.right : 1.0f - w.right);
        }
        weights[n] = total;
    }
    __syncwarp();
    for (int c = lane; c < s.channels; c += 32) {
        const float value = widen(vector[c]);
        float total = 0.0f;
#pragma unroll 1
        for (int n = 0; n < w.side * w.side; ++n) {
            const Long place = w.at(n / w.side, n % w.side, s);
            if (place < 0) continue;
            total += weights[n] * widen(second[place + c]);
            add(to_second + place + c, weights[n] * value, scale);
        }
        to_vector[c] = narrow(total);
    }
}

// The same for SAD. Shared: SIDE^2 gradients; for every lane (channel) the sums that the window's pixels get back.
__device__ __forceinline__ void difference_gradient(const Storage* vector, const Storage* second, const Window& w,
                                                    const Sizes& s, const float* gradient, float* back,
                                                    Storage* to_vector, Sum* to_second, double scale, float* along) {
    const int lane = threadIdx.x;
    const float up = 1.0f - w.down, left = 1.0f - w.right;
    along[0] = along[1] = 0.0f;
#pragma unroll 1
    for (int c = lane; c < s.channels; c += 32) {
        const float value = widen(vector[c]);
        float to_value = 0.0f;
#pragma unroll 1
        for (int n = 0; n < w.side * w.side; ++n) back[n * 32 + lane] = 0.0f;
#pragma unroll 1
        for (int d = 0; d < SIDE * SIDE; ++d) {
            const int row = w.near(d / SIDE, s), column = w.near(d % SIDE, s);
            const float a = at_or_zero(second, w.at(row, column, s), c);
            const float b = at_or_zero(second, w.at(row, column + 1, s), c);
            const float e = at_or_zero(second, w.at(row + 1, column, s), c);
            const float f = at_or_zero(second, w.at(row + 1, column + 1, s), c);
            const float above = blend(a, b, w.right), below = blend(e, f, w.right);
            const float gap = blend(above, below, w.down) - value;
            const float slope = gap > 0.0f ? gradient[d] : (gap < 0.0f ? -gradient[d] : 0.0f);
            to_value -= slope;
            along[0] += slope * blend(b - a, f - e, w.down);
            along[1] += slope * (below - above);
            float* sums = back + (row * w.side + column) * 32 + lane;
            sums[0] += slope * up * left;
            sums[32] += slope * up * w.right;
            sums[w.side * 32] += slope * w.down * left;
            sums[w.side * 32 + 32] += slope * w.down * w.right;
        }
#pragma unroll 1
        for (int n = 0; n < w.side * w.side; ++n) {
            const Long place = w.at(n / w.side, n % w.side, s);
            if (place >= 0) add(to_second + place + c, back[n * 32 + lane], scale);
        }
        to_vector[c] = narrow(to_value);
    }
}

// The gradients of a pixel for each warp. to_second is zero at the start. Shared memory: for each warp SIDE^2 gradients,
// then two windows, or 32 of them for SAD.
template <bool ABSOLUTE>
__device__ __forceinline__ void pixel_gradients(const Storage* gradient, const Storage* first, const Storage* second,
                                                const float* flow, Storage* to_first, Sum* to_second, float* to_flow,
                                                const double* fixed_scale, Long batch, const Sizes& s, float share,
                                                Long first_block) {
    DYNAMIC_SHARED(shared);
    const Long plane = static_cast<Long>(s.rows) * s.columns;
    const Long start = (blockIdx.x + first_block) * blockDim.y, pixel = start + threadIdx.y;
    share_gradients(gradient, start, batch * plane, plane, share, shared);
    if (pixel >= batch * plane) return;
    const Window w = find_window(flow, pixel, s);
    const int window = w.side * w.side;
    const float* mine = shared + threadIdx.y * SIDE * SIDE;
    float* room = shared + blockDim.y * SIDE * SIDE + threadIdx.y * (ABSOLUTE ? 32 : 2) * window;
    const double scale = FIXED ? *fixed_scale : 1.0;
    float along[2];
    first += pixel * s.channels;
    to_first += pixel * s.channels;
    if (ABSOLUTE) {
        difference_gradient(first, second, w, s, mine, room, to_first, to_second, scale, along);
    } else {
        correlation_gradient(first, second, w, s, mine, room, room + window, to_first, to_second, scale, along);
    }
    put_flow(to_flow, w, pixel, plane, along);
}

#define PIXEL_GRADIENTS(ABSOLUTE)                                                                              \
    pixel_gradients<ABSOLUTE>(gradient, first, second, flow, to_first, to_second, to_flow, fixed_scale, batch, \
                              {channels, height, width, rows, columns, dilation, stride}, share, first_block)

extern "C" __global__ void __launch_bounds__(256, 1)
correlation_backward(const Storage* gradient, const Storage* first, const Storage* second, const float* flow,
                     Storage* to_first, Sum* to_second, float* to_flow, const double* fixed_scale, Long batch,
                     int channels, int height, int width, int rows, int columns, int dilation, int stride,
                     float share, Long first_block) {
    PIXEL_GRADIENTS(false);
}

extern "C" __global__ void __launch_bounds__(256, 1)
difference_backward(const Storage* gradient, const Storage* first, const Storage* second, const float* flow,
                    Storage* to_first, Sum* to_second, float* to_flow, const double* fixed_scale, Long batch,
                    int channels, int height, int width, int rows, int columns, int dilation, int stride,
                    float share, Long first_block) {
    PIXEL_GRADIENTS(true);
}
