// Convex upsampling, forward and backward. See flowzoo/operators/convex_upsampling/definition.py.
//
// STORAGE is that of the logits; flow is float32. The softmax is computed again backward; nothing is added to shared
// places: results do not depend on the order of anything.

#include "common.cuh"

// Where tap k of a coarse pixel reads; edges are replicated.
__device__ __forceinline__ Long tap(int k, Long y, Long x, Long height, Long width) {
    Long j = y + k / 3 - 1, i = x + k % 3 - 1;
    j = j < 0 ? 0 : (j < height ? j : height - 1);
    i = i < 0 ? 0 : (i < width ? i : width - 1);
    return j * width + i;
}

// The nine weights of one fine pixel, whose logits are `stride` apart.
__device__ __forceinline__ void softmax(const Storage* logits, Long stride, float* weights) {
    float largest = widen(logits[0]);
#pragma unroll
    for (int k = 0; k < 9; ++k) {
        weights[k] = widen(logits[k * stride]);
        largest = weights[k] > largest ? weights[k] : largest;
    }
    float total = 0.0f;
#pragma unroll
    for (int k = 0; k < 9; ++k) total += weights[k] = expf(weights[k] - largest);
#pragma unroll
    for (int k = 0; k < 9; ++k) weights[k] /= total;
}

// A thread has one fine pixel; neighbours in a warp have neighbouring coarse pixels, whose logits lie side by side.
extern "C" __global__ void __launch_bounds__(256)
convex_upsampling(const Storage* logits, const float* flow, float* fine, Long batch, Long height, Long width, Long factor,
                  Long first_block) {
    const Long plane = height * width, parts = factor * factor;
    Long index = (blockIdx.x + first_block) * 256 + threadIdx.x;
    if (index >= batch * parts * plane) return;
    const Long place = take(index, plane), part = take(index, parts), x = place % width, y = place / width;
    float weights[9];
    softmax(logits + (index * 9 * parts + part) * plane + place, parts * plane, weights);
    const float* coarse = flow + index * 2 * plane;
    float sums[2] = {0.0f, 0.0f};
#pragma unroll
    for (int k = 0; k < 9; ++k) {
        const Long at = tap(k, y, x, height, width);
        sums[0] += weights[k] * coarse[at];
        sums[1] += weights[k] * coarse[plane + at];
    }
    const Long row = y * factor + part / factor, column = x * factor + part % factor;
    float* out = fine + index * 2 * plane * parts + row * width * factor + column;
    out[0] = sums[0] * static_cast<float>(factor);
    out[plane * parts] = sums[1] * static_cast<float>(factor);
}

// A thread has one coarse pixel: the gradients of its logits, and what it owes each tap's flow, spread (batch, 18,
// height, width): tap by tap, x then y.
extern "C" __global__ void __launch_bounds__(128)
convex_upsampling_backward(const float* gradient, const Storage* logits, const float* flow, Storage* to_logits,
                           float* spread, Long batch, Long height, Long width, Long factor, Long first_block) {
    __shared__ float owed[18][128];  // a thread's own column
    const int own = threadIdx.x;
    const Long plane = height * width, parts = factor * factor;
    Long index = (blockIdx.x + first_block) * 128 + threadIdx.x;
    if (index >= batch * plane) return;
    const Long place = take(index, plane), x = place % width, y = place / width;
    const float *coarse = flow + index * 2 * plane, *incoming = gradient + index * 2 * plane * parts;
    const float size = static_cast<float>(factor);
    Long rows[3], columns[3];  // of the taps; edges are replicated
#pragma unroll
    for (int k = 0; k < 3; ++k) {
        rows[k] = tap(3 * k + 1, y, 0, height, 1);
        columns[k] = tap(3 + k, 0, x, 1, width);
    }
#pragma unroll
    for (int k = 0; k < 18; ++k) owed[k][own] = 0.0f;
#pragma unroll 1
    for (Long part = 0; part < parts; ++part) {
        const Long base = (index * 9 * parts + part) * plane + place;
        const Long at = (y * factor + part / factor) * width * factor + x * factor + part % factor;
        const float gx = incoming[at], gy = incoming[plane * parts + at];
        float weights[9], along[9], mean = 0.0f;
        softmax(logits + base, parts * plane, weights);
#pragma unroll
        for (int k = 0; k < 9; ++k) {
            const float* there = coarse + rows[k / 3] * width + columns[k % 3];
            along[k] = (gx * there[0] + gy * there[plane]) * size;
            mean += weights[k] * along[k];
            owed[2 * k][own] += weights[k] * gx;
            owed[2 * k + 1][own] += weights[k] * gy;
        }
#pragma unroll
        for (int k = 0; k < 9; ++k) to_logits[base + k * parts * plane] = narrow(weights[k] * (along[k] - mean));
    }
#pragma unroll
    for (int k = 0; k < 18; ++k) spread[(index * 18 + k) * plane + place] = owed[k][own] * size;
}

// A thread has one component of one coarse pixel's gradient: what all pixels owe it whose taps, replicated, read it.
extern "C" __global__ void __launch_bounds__(256)
gather_owed(const float* spread, float* to_flow, Long batch, Long height, Long width, Long first_block) {
    const Long plane = height * width;
    Long index = (blockIdx.x + first_block) * 256 + threadIdx.x;
    if (index >= batch * 2 * plane) return;
    const Long place = take(index, plane), component = take(index, 2), x = place % width, y = place / width;
    const float* owed = spread + (index * 18 + component) * plane;
    float sum = 0.0f;
    for (int n = 0; n < 9; ++n) {
        const Long j = y + n / 3 - 1, i = x + n % 3 - 1;
        if (j < 0 || j >= height || i < 0 || i >= width) continue;
        for (int k = 0; k < 9; ++k)
            if (tap(k, j, i, height, width) == place) sum += owed[k * 2 * plane + j * width + i];
    }
    to_flow[(index * 2 + component) * plane + place] = sum;
}
