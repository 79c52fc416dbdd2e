// Sums that several threads add to: of a warp, and at places in memory.
//
// With FIXED 0 (compile option) sums in memory are made of float atomics; with FIXED 1 of 64-bit integers (the scale, a
// power of two, comes in memory), whose sum has no order: the results are the same in every run.

#include "common.cuh"

#ifndef FIXED
#define FIXED 0
#endif

#define WHOLE_WARP 0xffffffffu

#if FIXED
typedef unsigned long long Sum;
#else
typedef float Sum;
#endif

__device__ __forceinline__ float warp_sum(float value) {
#pragma unroll
    for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(WHOLE_WARP, value, step);
    return value;
}

__device__ __forceinline__ void add(Sum* target, float value, double scale) {
#if FIXED
    atomicAdd(target, static_cast<Sum>(static_cast<Long>(rint(static_cast<double>(value) * scale))));
#else
    atomicAdd(target, value);
#endif
}

// Four sums that lie beside each other, in one transaction where the device can.
__device__ __forceinline__ void add_four(Sum* target, const float4& values, double scale) {
#if !FIXED && !defined(FLOWZOO_HOST) && __CUDA_ARCH__ >= 900
    asm volatile("red.global.add.v4.f32 [%0], {%1, %2, %3, %4};"
                 :
                 : "l"(target), "f"(values.x), "f"(values.y), "f"(values.z), "f"(values.w)
                 : "memory");
#else
    add(target, values.x, scale);
    add(target + 1, values.y, scale);
    add(target + 2, values.z, scale);
    add(target + 3, values.w, scale);
#endif
}
