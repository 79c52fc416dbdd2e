// What all kernels share: storage types, flow bounds, blends, the order of blocks.
//
// STORAGE is set by the compile options: 0 float32, 1 float16, 2 bfloat16. Arithmetic is always float32, rounded once
// at the store. The half types are handled as bits, so no CUDA header is needed.

#ifndef STORAGE
#define STORAGE 0
#endif

typedef long long Long;

#if STORAGE == 0
typedef float Storage;
__device__ __forceinline__ float widen(Storage value) { return value; }
__device__ __forceinline__ Storage narrow(float value) { return value; }
#elif STORAGE == 1
typedef unsigned short Storage;
__device__ __forceinline__ float widen(Storage value) {
#ifdef FLOWZOO_HOST
    return host_half_to_float(value);
#else
    float result;
    asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value));
    return result;
#endif
}
__device__ __forceinline__ Storage narrow(float value) {
#ifdef FLOWZOO_HOST
    return host_float_to_half(value);
#else
    Storage result;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result) : "f"(value));
    return result;
#endif
}
#else
typedef unsigned short Storage;
__device__ __forceinline__ float widen(Storage value) {
    return __uint_as_float(static_cast<unsigned int>(value) << 16);
}
__device__ __forceinline__ Storage narrow(float value) {
    const unsigned int bits = __float_as_uint(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fc0;  // NaN
    return static_cast<Storage>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}
#endif

struct alignas(4 * sizeof(Storage)) Storage4 {
    Storage x, y, z, w;
};

// Shared memory whose size comes with the launch.
#ifndef DYNAMIC_SHARED
#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) float name[]
#endif

// Takes the next factor off a flattened index.
__device__ __forceinline__ Long take(Long& index, Long size) {
    const Long part = index % size;
    index /= size;
    return part;
}

// NaN and whatever is surely off the map go to one place that is: no wild address, and no weight.
__device__ __forceinline__ float bounded(float flow, float limit) { return fabsf(flow) <= limit ? flow : limit; }

__device__ __forceinline__ float blend(float lower, float upper, float share) {
    return lower + share * (upper - lower);
}
