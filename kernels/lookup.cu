// RAFT's look-up on demand and its gradients: see flowzoo/operators/lookup/definition.py for the definition.
//
// Maps come pixel by pixel: first (B,h,w,C), the second map's levels one behind the other (B,N,C); results likewise. A
// warp has one pixel on one level (in the gradient, one pixel on all levels). SIDE (compile option) is 2 * radius + 1.
// Windows are kept column by column, because the horizontal offset is the slow one in the result.
// The gradient to the table is a sum over whatever pixels look there.

#include "sums.cuh"

#ifndef SIDE
#define SIDE 9
#endif

#define WIDE (SIDE + 1)

// Sides and single coordinates fit 32 bits (the launcher refuses more); places in memory do not.
struct Sizes {
    int channels, rows, columns, height, width, levels;
    Long pixels;  // of the table
};

struct Window {
    Long begin;  // of the level in the table
    int height, width, left, top;
    float right, down, shrink;
    // Place of a window pixel's vector, or -1 outside.
    __device__ __forceinline__ Long at(int n, int channels) const {
        const int x = left + n / WIDE, y = top + n % WIDE;
        if (y < 0 || y >= height || x < 0 || x >= width) return -1;
        return (begin + static_cast<Long>(y) * width + x) * channels;
    }
};

__device__ __forceinline__ Window find_window(const float* coordinates, Long pixel, int level, const Sizes& s) {
    Window w;
    const Long plane = static_cast<Long>(s.rows) * s.columns, place = pixel % plane, image = pixel / plane;
    w.begin = image * s.pixels;
    w.height = s.height;
    w.width = s.width;
    w.shrink = 1.0f;
    for (int l = 0; l < level; ++l) {
        w.begin += static_cast<Long>(w.height) * w.width;
        w.height /= 2;
        w.width /= 2;
        if (w.height == 0 || w.width == 0) w.height = w.width = 0;
        w.shrink *= 0.5f;
    }
    const float limit = static_cast<float>(w.height + w.width + SIDE + 3);
    const float x = bounded(coordinates[image * 2 * plane + place] * w.shrink, limit);
    const float y = bounded(coordinates[(image * 2 + 1) * plane + place] * w.shrink, limit);
    const float whole_x = floorf(x), whole_y = floorf(y);
    w.right = x - whole_x;
    w.down = y - whole_y;
    w.left = static_cast<int>(whole_x) - SIDE / 2;
    w.top = static_cast<int>(whole_y) - SIDE / 2;
    return w;
}

// Dot products with the whole window, unscaled, into shared memory: eight lanes a window pixel, four at a time.
__device__ __forceinline__ void fill_dots(const Storage* vector, const Storage* table, const Window& w, int channels,
                                          float* dots) {
    const int lane = threadIdx.x, channel = lane % 8;
#pragma unroll 1
    for (int start = 0; start < WIDE * WIDE; start += 4) {
        const int n = start + lane / 8;
        const Long place = n < WIDE * WIDE ? w.at(n, channels) : -1;
        float total = 0.0f;
        if (place >= 0)
            for (int c = channel; c < channels; c += 8) total += widen(vector[c]) * widen(table[place + c]);
#pragma unroll
        for (int step = 4; step > 0; step /= 2) total += __shfl_xor_sync(WHOLE_WARP, total, step);
        if (channel == 0 && n < WIDE * WIDE) dots[n] = total;
    }
    __syncwarp();
}

// Shared memory: for each warp a window.
extern "C" __global__ void __launch_bounds__(256, 1)
lookup(const Storage* first, const Storage* table, const float* coordinates, Storage* result, Long batch, int channels,
       int rows, int columns, int height, int width, int levels, Long pixels, Long first_block) {
    DYNAMIC_SHARED(shared);
    const Sizes s = {channels, rows, columns, height, width, levels, pixels};
    const Long item = (blockIdx.x + first_block) * blockDim.y + threadIdx.y;
    if (item >= batch * rows * columns * levels) return;
    const Long pixel = item / levels;
    const Window w = find_window(coordinates, pixel, static_cast<int>(item % levels), s);
    float* dots = shared + threadIdx.y * WIDE * WIDE;
    fill_dots(first + pixel * channels, table, w, channels, dots);
    const float scale = 1.0f / sqrtf(static_cast<float>(channels));
    for (int d = threadIdx.x; d < SIDE * SIDE; d += 32) {
        const float* near = dots + d / SIDE * WIDE + d % SIDE;
        const float* far = near + WIDE;
        const float above = blend(near[0], far[0], w.right), below = blend(near[1], far[1], w.right);
        result[item * SIDE * SIDE + d] = narrow(blend(above, below, w.down) * scale);
    }
}

// The share of one lane in the gradient to where the pixel looks, from the window's dot products.
__device__ __forceinline__ void coordinate_gradient(const Window& w, const float* gradient, const float* dots,
                                                    float* along) {
    float x = 0.0f, y = 0.0f;
    for (int d = threadIdx.x; d < SIDE * SIDE; d += 32) {
        const float* near = dots + d / SIDE * WIDE + d % SIDE;
        const float* far = near + WIDE;
        x += gradient[d] * blend(far[0] - near[0], far[1] - near[1], w.down);
        y += gradient[d] * blend(near[1] - near[0], far[1] - far[0], w.right);
    }
    along[0] += x * w.shrink;
    along[1] += y * w.shrink;
}

// The adjoint of the blend: every window pixel collects from the offsets around it.
__device__ __forceinline__ void window_weights(const Window& w, const float* gradient, float* weights) {
    for (int n = threadIdx.x; n < WIDE * WIDE; n += 32) {
        const int column = n / WIDE, row = n % WIDE;
        float total = 0.0f;
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            const int beside = k / 2, below = k % 2, x = column - beside, y = row - below;
            if (y >= 0 && y < SIDE && x >= 0 && x < SIDE)
                total += gradient[x * SIDE + y] * (below ? w.down : 1.0f - w.down) *
                         (beside ? w.right : 1.0f - w.right);
        }
        weights[n] = total;
    }
    __syncwarp();
}

// to_first and to_table are zero at the start; to_coordinates may be null. Shared memory: for each warp SIDE^2
// gradients, then two windows.
extern "C" __global__ void __launch_bounds__(256, 1)
lookup_backward(const Storage* gradient, const Storage* first, const Storage* table, const float* coordinates,
                float* to_first, Sum* to_table, float* to_coordinates, const double* fixed_scale, Long batch,
                int channels, int rows, int columns, int height, int width, int levels, Long pixels,
                Long first_block) {
    DYNAMIC_SHARED(shared);
    const Sizes s = {channels, rows, columns, height, width, levels, pixels};
    const Long plane = static_cast<Long>(rows) * columns;
    const Long pixel = (blockIdx.x + first_block) * blockDim.y + threadIdx.y;
    if (pixel >= batch * plane) return;
    float* incoming = shared + threadIdx.y * (SIDE * SIDE + 2 * WIDE * WIDE);
    float* dots = incoming + SIDE * SIDE;
    float* weights = dots + WIDE * WIDE;
    const float share = 1.0f / sqrtf(static_cast<float>(channels));
    const double scale = FIXED ? *fixed_scale : 1.0;
    const Storage* vector = first + pixel * channels;
    float along[2] = {0.0f, 0.0f};
    for (int level = 0; level < levels; ++level) {
        const Window w = find_window(coordinates, pixel, level, s);
        const Storage* source = gradient + (pixel * levels + level) * SIDE * SIDE;
        for (int d = threadIdx.x; d < SIDE * SIDE; d += 32) incoming[d] = widen(source[d]) * share;
        __syncwarp();
        if (to_coordinates) {
            fill_dots(vector, table, w, channels, dots);
            coordinate_gradient(w, incoming, dots, along);
        }
        window_weights(w, incoming, weights);
        for (int c = threadIdx.x; c < channels; c += 32) {
            const float value = widen(vector[c]);
            float total = to_first[pixel * channels + c];
#pragma unroll 1
            for (int n = 0; n < WIDE * WIDE; ++n) {
                const Long place = w.at(n, channels);
                if (place < 0) continue;
                total += weights[n] * widen(table[place + c]);
                add(to_table + place + c, weights[n] * value, scale);
            }
            to_first[pixel * channels + c] = total;
        }
        __syncwarp();
    }
    if (to_coordinates) {
        const float x = warp_sum(along[0]), y = warp_sum(along[1]);
        if (threadIdx.x == 0) {
            to_coordinates[pixel / plane * 2 * plane + pixel % plane] = x;
            to_coordinates[(pixel / plane * 2 + 1) * plane + pixel % plane] = y;
        }
    }
}
