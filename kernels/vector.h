// Vectors of floats as wide as the machine's registers, and the tile sizes that fit its register file.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX512F__) && !defined(__SANITIZE_ADDRESS__)  // the sanitizer does not see masked accesses
#define FLOWZOO_MASKS 1
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr bool kManyRegisters = true;  // 32, else 16
#else
constexpr bool kManyRegisters = false;
#endif

typedef float Vec __attribute__((vector_size(4 * kLanes)));
typedef float VecUnaligned __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

static inline __attribute__((always_inline)) Vec load(const float* address) {
    return *reinterpret_cast<const VecUnaligned*>(address);
}

static inline __attribute__((always_inline)) void store(float* address, Vec value) {
    *reinterpret_cast<VecUnaligned*>(address) = value;
}

constexpr int64_t kCached = 1 << 20;  // bytes of a result that a core's own cache may keep

// A store past the caches, for results too large to stay there: it saves reading the line first. `address` is aligned.
static inline __attribute__((always_inline)) void stream(float* address, Vec value) {
#if defined(__clang__)
    __builtin_nontemporal_store(value, reinterpret_cast<Vec*>(address));
#elif defined(__AVX512F__)
    __builtin_ia32_movntps512(address, value);
#elif defined(__AVX__)
    __builtin_ia32_movntps256(address, value);
#else
    store(address, value);
#endif
}

// Makes streamed results visible to other threads.
static inline void finish_streams() {
#if defined(__x86_64__)
    __builtin_ia32_sfence();
#endif
}

static inline __attribute__((always_inline)) Vec splat(float value) { return value - Vec{}; }

// Half a vector, which some processors multiply in half the time; where vectors are short it saves nothing.
constexpr bool kHalvesSave = kLanes == 16;
typedef float HalfVec __attribute__((vector_size(2 * kLanes)));
typedef float HalfVecUnaligned __attribute__((vector_size(2 * kLanes), aligned(4), may_alias));

// Keeps a loaded vector in a register. Otherwise gcc repeats the unaligned load inside every multiply-add.
static inline __attribute__((always_inline)) void pin(Vec& value) {
#if defined(__AVX512F__)
    asm("" : "+v"(value));
#elif defined(__x86_64__)
    asm("" : "+x"(value));
#elif defined(__aarch64__)
    asm("" : "+w"(value));
#endif
}

// A vector of at least 16 floats: one window row of a sampled volume.
constexpr int kWideLanes = 16;
constexpr int kParts = kWideLanes / kLanes;

struct Wide {
    Vec part[kParts];
};

#define WIDE_LOOP _Pragma("GCC unroll 4") for (int i = 0; i < kParts; ++i)
#define WIDE_INLINE static inline __attribute__((always_inline))

#if defined(FLOWZOO_MASKS)
WIDE_INLINE __mmask16 first_lanes(int64_t count) { return count >= kLanes ? 0xffff : (1 << count) - 1; }
#endif

// The first `count` floats; the other lanes are 0, or left alone.
WIDE_INLINE Vec load_some(const float* from, int64_t count) {
#if defined(FLOWZOO_MASKS)
    return reinterpret_cast<Vec>(_mm512_maskz_loadu_ps(first_lanes(count), from));
#endif
    if (count >= kLanes) return load(from);
    float lanes[kLanes] = {};
    std::memcpy(lanes, from, count * sizeof(float));
    return load(lanes);
}

WIDE_INLINE void store_some(float* to, Vec value, int64_t count) {
    if (count >= kLanes) return store(to, value);
#if defined(FLOWZOO_MASKS)
    return _mm512_mask_storeu_ps(to, first_lanes(count), reinterpret_cast<__m512>(value));
#endif
    float lanes[kLanes];
    store(lanes, value);
    std::memcpy(to, lanes, count * sizeof(float));
}

WIDE_INLINE Wide wide_load(const float* address) {
    Wide result;
    WIDE_LOOP result.part[i] = load(address + i * kLanes);
    return result;
}
WIDE_INLINE void wide_store(float* address, Wide value) { WIDE_LOOP store(address + i * kLanes, value.part[i]); }
WIDE_INLINE Wide wide_splat(float value) {
    Wide result;
    WIDE_LOOP result.part[i] = splat(value);
    return result;
}
WIDE_INLINE Wide operator+(Wide a, Wide b) {
    WIDE_LOOP a.part[i] += b.part[i];
    return a;
}
WIDE_INLINE Wide operator-(Wide a, Wide b) {
    WIDE_LOOP a.part[i] -= b.part[i];
    return a;
}
WIDE_INLINE Wide operator*(Wide a, Wide b) {
    WIDE_LOOP a.part[i] *= b.part[i];
    return a;
}
WIDE_INLINE Wide magnitude(Wide a) {
    typedef int32_t Bits __attribute__((vector_size(4 * kLanes)));
    WIDE_LOOP a.part[i] = reinterpret_cast<Vec>(reinterpret_cast<Bits>(a.part[i]) & 0x7fffffff);
    return a;
}
// 1, 0 or -1 times `size`, by the sign of `a`.
WIDE_INLINE Wide with_sign(Wide a, Wide size) {
    WIDE_LOOP size.part[i] = a.part[i] > 0 ? size.part[i] : (a.part[i] < 0 ? -size.part[i] : Vec{});
    return size;
}
WIDE_INLINE float wide_sum(Wide a) {
    Vec total = a.part[0];
    for (int i = 1; i < kParts; ++i) total += a.part[i];
    typedef float Eight __attribute__((vector_size(32), aligned(4), may_alias));
    typedef float Four __attribute__((vector_size(16), aligned(4), may_alias));
    float lanes[kLanes < 8 ? 8 : kLanes] = {};
    store(lanes, total);
    if (kLanes == 16)
        *reinterpret_cast<Eight*>(lanes) += *reinterpret_cast<const Eight*>(lanes + (kLanes == 16 ? 8 : 0));
    Four sum = *reinterpret_cast<const Four*>(lanes) + *reinterpret_cast<const Four*>(lanes + 4);
    return (sum[0] + sum[2]) + (sum[1] + sum[3]);
}
