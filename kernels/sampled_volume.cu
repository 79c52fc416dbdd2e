// Sampled cost volumes and their gradients: see flowzoo/operators/sampled_volume/definition.py for the definitions.
//
// Feature maps come pixel by pixel, (B,h,w,C) and (B,H,W,C): a window's vectors are then contiguous. A warp has one
// output pixel; the block's warps are neighbours, so their costs leave together. SIDE (compile option) is
// 2 * radius + 1.
// The gradient to the second map is a sum over whatever pixels look there. With FIXED 0 it is made of float atomics;
// with FIXED 1 of 64-bit integers (the scale, a power of two, comes in memory), whose sum has no order: the results are
// the same in every run.

#include "common.cuh"

#ifndef SIDE
#define SIDE 9
#endif
#ifndef FIXED
#define FIXED 0
#endif

#define WHOLE_WARP 0xffffffffu

#if FIXED
typedef unsigned long long Sum;
#else
typedef float Sum;
#endif

// Sides and single coordinates fit 32 bits (the launcher refuses more); places in memory do not.
struct Sizes {
    int channels, height, width, rows, columns, dilation, stride;
};

// Window of one pixel: its rows and columns are near and far neighbours of the displacements; with dilation 1 they are
// shared, 2r+2 of them, else 2 (2r+1).
struct Window {
    Long image;
    int top, left, side;
    float down, right;
    __device__ __forceinline__ int shift(int n, const Sizes& s) const {
        return s.dilation == 1 ? n : n / 2 * s.dilation + n % 2;
    }
    __device__ __forceinline__ int near(int o, const Sizes& s) const { return s.dilation == 1 ? o : 2 * o; }
    // Index of a window pixel's vector, or -1 outside.
    __device__ __forceinline__ Long at(int row, int column, const Sizes& s) const {
        const int y = top + shift(row, s), x = left + shift(column, s);
        if (y < 0 || y >= s.height || x < 0 || x >= s.width) return -1;
        return ((image * s.height + y) * s.width + x) * s.channels;
    }
};

__device__ __forceinline__ Window find_window(const float* flow, Long pixel, const Sizes& s) {
    Window w;
    const Long plane = static_cast<Long>(s.rows) * s.columns, place = pixel % plane;
    const int reach = SIDE / 2 * s.dilation;
    w.image = pixel / plane;
    const float limit = static_cast<float>(s.height + s.width + reach + 2);
    const float x = bounded(flow[w.image * 2 * plane + place], limit);
    const float y = bounded(flow[(w.image * 2 + 1) * plane + place], limit);
    const float whole_x = floorf(x), whole_y = floorf(y);
    w.right = x - whole_x;
    w.down = y - whole_y;
    w.left = static_cast<int>(place % s.columns) * s.stride + static_cast<int>(whole_x) - reach;
    w.top = static_cast<int>(place / s.columns) * s.stride + static_cast<int>(whole_y) - reach;
    w.side = s.dilation == 1 ? SIDE + 1 : 2 * SIDE;
    return w;
}

__device__ __forceinline__ float warp_sum(float value) {
#pragma unroll
    for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(WHOLE_WARP, value, step);
    return value;
}

__device__ __forceinline__ float blend(float lower, float upper, float share) {
    return lower + share * (upper - lower);
}

__device__ __forceinline__ float at_or_zero(const Storage* maps, Long place, int channel) {
    return place < 0 ? 0.0f : widen(maps[place + channel]);
}

__device__ __forceinline__ void add(Sum* target, float value, double scale) {
#if FIXED
    atomicAdd(target, static_cast<Sum>(static_cast<Long>(rint(static_cast<double>(value) * scale))));
#else
    atomicAdd(target, value);
#endif
}

// Dot products with the whole window, unscaled, into shared memory: eight lanes a window pixel, four at a time.
__device__ __forceinline__ void fill_dots(const Storage* vector, const Storage* second, const Window& w, const Sizes& s,
                                          float* dots) {
    const int lane = threadIdx.x, channel = lane % 8;
#pragma unroll 1
    for (int start = 0; start < w.side * w.side; start += 4) {
        const int n = start + lane / 8;
        const Long place = n < w.side * w.side ? w.at(n / w.side, n % w.side, s) : -1;
        float total = 0.0f;
        if (place >= 0)
            for (int c = channel; c < s.channels; c += 8) total += widen(vector[c]) * widen(second[place + c]);
#pragma unroll
        for (int step = 4; step > 0; step /= 2) total += __shfl_xor_sync(WHOLE_WARP, total, step);
        if (channel == 0 && n < w.side * w.side) dots[n] = total;
    }
    __syncwarp();
}

__device__ __forceinline__ float blended(const float* dots, const Window& w, const Sizes& s, int d) {
    const int row = w.near(d / SIDE, s), column = w.near(d % SIDE, s);
    const float* above = dots + row * w.side + column;
    const float* below = above + w.side;
    return blend(blend(above[0], above[1], w.right), blend(below[0], below[1], w.right), w.down);
}

// Costs of one pixel for SAD: eight lanes a displacement.
__device__ __forceinline__ void fill_differences(const Storage* vector, const Storage* second, const Window& w,
                                                 const Sizes& s, float* costs) {
    const int lane = threadIdx.x, channel = lane % 8;
#pragma unroll 1
    for (int start = 0; start < SIDE * SIDE; start += 4) {
        const int d = start + lane / 8;
        float total = 0.0f;
        if (d < SIDE * SIDE) {
            const int row = w.near(d / SIDE, s), column = w.near(d % SIDE, s);
            const Long a = w.at(row, column, s), b = w.at(row, column + 1, s);
            const Long e = w.at(row + 1, column, s), f = w.at(row + 1, column + 1, s);
            for (int c = channel; c < s.channels; c += 8) {
                const float above = blend(at_or_zero(second, a, c), at_or_zero(second, b, c), w.right);
                const float below = blend(at_or_zero(second, e, c), at_or_zero(second, f, c), w.right);
                total += fabsf(blend(above, below, w.down) - widen(vector[c]));
            }
        }
#pragma unroll
        for (int step = 4; step > 0; step /= 2) total += __shfl_xor_sync(WHOLE_WARP, total, step);
        if (channel == 0 && d < SIDE * SIDE) costs[d] = total;
    }
    __syncwarp();
}

// The block's costs leave together: neighbouring pixels are neighbours in memory.
__device__ __forceinline__ void put_costs(const float* shared, Storage* volume, Long start, Long pixels, Long plane,
                                          int channels) {
    __syncthreads();
    const float scale = 1.0f / static_cast<float>(channels);
    const int neighbours = blockDim.y;
    for (int i = threadIdx.y * 32 + threadIdx.x; i < neighbours * SIDE * SIDE; i += 32 * neighbours) {
        const Long target = start + i % neighbours;
        const int d = i / neighbours;
        if (target < pixels)
            volume[(target / plane * SIDE * SIDE + d) * plane + target % plane] =
                narrow(shared[i % neighbours * SIDE * SIDE + d] * scale);
    }
}

// Shared memory: for each warp SIDE^2 costs, then a window.
extern "C" __global__ void __launch_bounds__(256, 1)
sampled_correlation(const Storage* first, const Storage* second, const float* flow, Storage* volume, Long batch,
                    int channels, int height, int width, int rows, int columns, int dilation, int stride,
                    Long first_block) {
    DYNAMIC_SHARED(shared);
    const Sizes s = {channels, height, width, rows, columns, dilation, stride};
    const Long plane = static_cast<Long>(rows) * columns, pixels = batch * plane;
    const Long start = (blockIdx.x + first_block) * blockDim.y;
    const Long pixel = start + threadIdx.y;
    if (pixel < pixels) {
        const Window w = find_window(flow, pixel, s);
        float* dots = shared + blockDim.y * SIDE * SIDE + threadIdx.y * w.side * w.side;
        fill_dots(first + pixel * channels, second, w, s, dots);
        for (int d = threadIdx.x; d < SIDE * SIDE; d += 32)
            shared[threadIdx.y * SIDE * SIDE + d] = blended(dots, w, s, d);
    }
    put_costs(shared, volume, start, pixels, plane, channels);
}

// Shared memory: for each warp SIDE^2 costs.
extern "C" __global__ void __launch_bounds__(256, 1)
sampled_difference(const Storage* first, const Storage* second, const float* flow, Storage* volume, Long batch,
                   int channels, int height, int width, int rows, int columns, int dilation, int stride,
                   Long first_block) {
    DYNAMIC_SHARED(shared);
    const Sizes s = {channels, height, width, rows, columns, dilation, stride};
    const Long plane = static_cast<Long>(rows) * columns, pixels = batch * plane;
    const Long start = (blockIdx.x + first_block) * blockDim.y;
    const Long pixel = start + threadIdx.y;
    if (pixel < pixels)
        fill_differences(first + pixel * channels, second, find_window(flow, pixel, s), s,
                         shared + threadIdx.y * SIDE * SIDE);
    put_costs(shared, volume, start, pixels, plane, channels);
}

// The whole of one warp's gradient of correlation. Shared: SIDE^2 gradients, dot products, window weights.
__device__ __forceinline__ void correlation_gradient(const Storage* vector, const Storage* second, const Window& w,
                                                     const Sizes& s, const float* gradient, float* dots, float* weights,
                                                     Storage* to_vector, Sum* to_second, double scale, float* along) {
    const int lane = threadIdx.x;
    fill_dots(vector, second, w, s, dots);
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

// What both backward kernels begin with: the block's incoming gradients, divided by the channels, in shared memory.
__device__ __forceinline__ void share_gradients(const Storage* gradient, Long start, Long pixels, Long plane,
                                                int channels, float* shared) {
    const float share = 1.0f / static_cast<float>(channels);
    const int neighbours = blockDim.y;
    for (int i = threadIdx.y * 32 + threadIdx.x; i < neighbours * SIDE * SIDE; i += 32 * neighbours) {
        const Long source = start + i % neighbours;
        const int d = i / neighbours;
        float value = 0.0f;
        if (source < pixels)
            value = widen(gradient[(source / plane * SIDE * SIDE + d) * plane + source % plane]) * share;
        shared[i % neighbours * SIDE * SIDE + d] = value;
    }
    __syncthreads();
}

__device__ __forceinline__ void put_flow(float* to_flow, const Window& w, Long pixel, Long plane, const float* along) {
    const float x = warp_sum(along[0]), y = warp_sum(along[1]);
    if (threadIdx.x == 0) {
        to_flow[w.image * 2 * plane + pixel % plane] = x;
        to_flow[(w.image * 2 + 1) * plane + pixel % plane] = y;
    }
}

// The gradients of a pixel for each warp. to_second is zero at the start. Shared memory: for each warp SIDE^2 gradients,
// then two windows, or 32 of them for SAD.
template <bool ABSOLUTE>
__device__ __forceinline__ void pixel_gradients(const Storage* gradient, const Storage* first, const Storage* second,
                                                const float* flow, Storage* to_first, Sum* to_second, float* to_flow,
                                                const double* fixed_scale, Long batch, const Sizes& s, int channels,
                                                Long plane, Long first_block) {
    DYNAMIC_SHARED(shared);
    const Long start = (blockIdx.x + first_block) * blockDim.y, pixel = start + threadIdx.y;
    share_gradients(gradient, start, batch * plane, plane, channels, shared);
    if (pixel >= batch * plane) return;
    const Window w = find_window(flow, pixel, s);
    const int window = w.side * w.side;
    const float* mine = shared + threadIdx.y * SIDE * SIDE;
    float* room = shared + blockDim.y * SIDE * SIDE + threadIdx.y * (ABSOLUTE ? 32 : 2) * window;
    const double scale = FIXED ? *fixed_scale : 1.0;
    float along[2];
    first += pixel * channels;
    to_first += pixel * channels;
    if (ABSOLUTE) {
        difference_gradient(first, second, w, s, mine, room, to_first, to_second, scale, along);
    } else {
        correlation_gradient(first, second, w, s, mine, room, room + window, to_first, to_second, scale, along);
    }
    put_flow(to_flow, w, pixel, plane, along);
}

#define PIXEL_GRADIENTS(ABSOLUTE)                                                                              \
    pixel_gradients<ABSOLUTE>(gradient, first, second, flow, to_first, to_second, to_flow, fixed_scale, batch, \
                              {channels, height, width, rows, columns, dilation, stride}, channels,           \
                              static_cast<Long>(rows) * columns, first_block)

extern "C" __global__ void __launch_bounds__(256, 1)
correlation_backward(const Storage* gradient, const Storage* first, const Storage* second, const float* flow,
                     Storage* to_first, Sum* to_second, float* to_flow, const double* fixed_scale, Long batch,
                     int channels, int height, int width, int rows, int columns, int dilation, int stride,
                     Long first_block) {
    PIXEL_GRADIENTS(false);
}

extern "C" __global__ void __launch_bounds__(256, 1)
difference_backward(const Storage* gradient, const Storage* first, const Storage* second, const float* flow,
                    Storage* to_first, Sum* to_second, float* to_flow, const double* fixed_scale, Long batch,
                    int channels, int height, int width, int rows, int columns, int dilation, int stride,
                    Long first_block) {
    PIXEL_GRADIENTS(true);
}
