// Weighted median of a flow where motions meet. See flowzoo/operators/boundary_median/definition.py.
//
// A thread has one pixel, and a column of shared memory for its neighbours. Nothing is sorted: every neighbour's value is
// tried.

#include "common.cuh"

#define COUNT 25
#define THREADS 128
#define SIDE 5

// The place of neighbour k; edges are replicated.
__device__ __forceinline__ Long neighbour(int k, Long y, Long x, Long spacing, Long height, Long width) {
    Long j = y + (k / SIDE - 2) * spacing, i = x + (k % SIDE - 2) * spacing;
    j = j < 0 ? 0 : (j < height ? j : height - 1);
    i = i < 0 ? 0 : (i < width ? i : width - 1);
    return j * width + i;
}

extern "C" __global__ void __launch_bounds__(THREADS)
boundary_median(const float* colours, const float* flow, const float* trust, float* result, Long batch, Long height,
                Long width, Long spacing, float disagreement, float steepness, Long first_block) {
    __shared__ float weight[COUNT][THREADS], value[COUNT][THREADS];
    const int own = threadIdx.x;
    const Long plane = height * width;
    Long index = (blockIdx.x + first_block) * THREADS + threadIdx.x;
    if (index >= batch * plane) return;
    const Long place = take(index, plane), x = place % width, y = place / width;
    const float *flows = flow + index * 2 * plane, *colour = colours + index * 3 * plane;
    bool meets = false;
#pragma unroll 1
    for (int c = 0; c < 2; ++c) {
        float least = flows[c * plane + place], most = least;
#pragma unroll 5
        for (int k = 0; k < COUNT; ++k) {
            const float value = flows[c * plane + neighbour(k, y, x, spacing, height, width)];
            least = value < least ? value : least;
            most = value > most ? value : most;
        }
        meets = meets || most - least > disagreement;
        result[(index * 2 + c) * plane + place] = flows[c * plane + place];
    }
    if (!meets) return;
    float total = 0.0f;
#pragma unroll 1
    for (int k = 0; k < COUNT; ++k) {
        const Long at = neighbour(k, y, x, spacing, height, width);
        float distance = 0.0f;
        for (int c = 0; c < 3; ++c) {
            const float difference = colour[c * plane + at] - colour[c * plane + place];
            distance += difference * difference;
        }
        weight[k][own] = trust[index * plane + at] * expf(distance * steepness);
        total += weight[k][own];
    }
#pragma unroll 1
    for (int c = 0; c < 2; ++c) {
#pragma unroll 1
        for (int k = 0; k < COUNT; ++k)
            value[k][own] = flows[c * plane + neighbour(k, y, x, spacing, height, width)];
        float best = 0.0f;
        bool found = false;
#pragma unroll 1
        for (int k = 0; k < COUNT; ++k) {
            const float candidate = value[k][own];
            float sum = 0.0f;
#pragma unroll 5
            for (int other = 0; other < COUNT; ++other)
                sum += value[other][own] <= candidate ? weight[other][own] : 0.0f;
            if (sum >= total / 2 && (!found || candidate < best)) best = candidate, found = true;
        }
        result[(index * 2 + c) * plane + place] = best;
    }
}
