// What the kernels of sampled cost volumes share: windows, loads of four channels, what goes into and out of a block.
//
// Channels are a multiple of four (the launcher fills up with zeros) and every pixel's begin at a multiple of four
// numbers. SIDE (compile option) is 2 * radius + 1. The gradient to the second map is a sum over whatever pixels look
// there.

#include "sums.cuh"

#ifndef SIDE
#define SIDE 9
#endif

#define BATCH 5  // window pixels of a lane whose loads are on their way together

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

__device__ __forceinline__ float at_or_zero(const Storage* maps, Long place, int channel) {
    return place < 0 ? 0.0f : widen(maps[place + channel]);
}

__device__ __forceinline__ float4 four(const Storage* values) {
    const Storage4 read = *reinterpret_cast<const Storage4*>(values);
    float4 result;
    result.x = widen(read.x);
    result.y = widen(read.y);
    result.z = widen(read.z);
    result.w = widen(read.w);
    return result;
}

// Something is read in any case, so that loads need not wait for each other.
__device__ __forceinline__ float4 four_or_zero(const Storage* maps, Long place, int channel) {
    const float4 read = four(maps + (place < 0 ? 0 : place + channel));
    float4 result;
    result.x = place < 0 ? 0.0f : read.x;
    result.y = place < 0 ? 0.0f : read.y;
    result.z = place < 0 ? 0.0f : read.z;
    result.w = place < 0 ? 0.0f : read.w;
    return result;
}

__device__ __forceinline__ float dot(const float4& a, const float4& b) {
    return a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
}

// The block's incoming gradients, times 1 / channels, in shared memory.
__device__ __forceinline__ void share_gradients(const Storage* gradient, Long start, Long pixels, Long plane,
                                                float share, float* shared) {
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
