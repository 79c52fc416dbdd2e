// Weighted median of a flow where motions meet. See flowzoo/operators/boundary_median/definition.py.
//
// A thread has one pixel. Nothing is sorted: every neighbour's value is tried.

#include "common.cuh"

#define COUNT 25
#define SIDE 5

// The place of neighbour k; edges are replicated.
__device__ __forceinline__ Long neighbour(int k, Long y, Long x, Long spacing, Long height, Long width) {
    Long j = y + (k / SIDE - 2) * spacing, i = x + (k % SIDE - 2) * spacing;
    j = j < 0 ? 0 : (j < height ? j : height - 1);
    i = i < 0 ? 0 : (i < width ? i : width - 1);
    return j * width + i;
}

extern "C" __global__ void __launch_bounds__(256)
boundary_median(const float* colours, const float* flow, const float* trust, float* result, Long batch, Long height,
                Long width, Long spacing, float disagreement, float steepness, Long first_block) {
    const Long plane = height * width;
    Long index = (blockIdx.x + first_block) * 256 + threadIdx.x;
    if (index >= batch * plane) return;
    const Long place = take(index, plane), x = place % width, y = place / width;
    const float *flows = flow + index * 2 * plane, *colour = colours + index * 3 * plane;
    bool meets = false;
    for (int c = 0; c < 2; ++c) {
        float least = flows[c * plane + place], most = least;
        for (int k = 0; k < COUNT; ++k) {
            const float value = flows[c * plane + neighbour(k, y, x, spacing, height, width)];
            least = value < least ? value : least;
            most = value > most ? value : most;
        }
        meets = meets || most - least > disagreement;
        result[(index * 2 + c) * plane + place] = flows[c * plane + place];
    }
    if (!meets) return;
    float weight[COUNT], value[COUNT], total = 0.0f;
#pragma unroll
    for (int k = 0; k < COUNT; ++k) {
        const Long at = neighbour(k, y, x, spacing, height, width);
        float distance = 0.0f;
        for (int c = 0; c < 3; ++c) {
            const float difference = colour[c * plane + at] - colour[c * plane + place];
            distance += difference * difference;
        }
        weight[k] = trust[index * plane + at] * expf(distance * steepness);
        total += weight[k];
    }
    for (int c = 0; c < 2; ++c) {
#pragma unroll
        for (int k = 0; k < COUNT; ++k) value[k] = flows[c * plane + neighbour(k, y, x, spacing, height, width)];
        float best = 0.0f;
        bool found = false;
#pragma unroll
        for (int k = 0; k < COUNT; ++k) {
            float sum = 0.0f;
#pragma unroll
            for (int other = 0; other < COUNT; ++other) sum += value[other] <= value[k] ? weight[other] : 0.0f;
            if (sum >= total / 2 && (!found || value[k] < best)) best = value[k], found = true;
        }
        result[(index * 2 + c) * plane + place] = best;
    }
}
