// bfloat16 numbers: the upper halves of float32 ones.
#pragma once

#include <cstdint>
#include <cstring>

#include "vector.h"

typedef uint16_t Half;  // the bits of a bfloat16 number

static inline float widen(Half bits) {
    const uint32_t word = static_cast<uint32_t>(bits) << 16;
    float value;
    std::memcpy(&value, &word, sizeof value);
    return value;
}

// To the nearest, ties to even.
static inline Half narrow(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return (bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : static_cast<Half>(rounded);
}

typedef uint32_t Words __attribute__((vector_size(4 * kLanes)));
typedef Half Halves __attribute__((vector_size(2 * kLanes)));
typedef Half HalvesUnaligned __attribute__((vector_size(2 * kLanes), aligned(2), may_alias));

WIDE_INLINE Vec load(const Half* from) {
    const Halves bits = *reinterpret_cast<const HalvesUnaligned*>(from);
    return reinterpret_cast<Vec>(__builtin_convertvector(bits, Words) << 16);
}

WIDE_INLINE void store(Half* to, Vec value) {
#if defined(__AVX512BF16__) && defined(FLOWZOO_MASKS)
    // The same but for numbers below the smallest normal one, which become 0.
    const auto bits = _mm512_cvtneps_pbh(reinterpret_cast<__m512>(value));
    std::memcpy(to, &bits, sizeof bits);
#else
    const Words bits = reinterpret_cast<Words>(value);
    const Words rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    const Words none = reinterpret_cast<Words>((bits & 0x7fffffff) > 0x7f800000);
    *reinterpret_cast<HalvesUnaligned*>(to) = __builtin_convertvector((none & 0x7fc0) | (~none & rounded), Halves);
#endif
}

// The first `count`; the other lanes are 0, or left alone.
WIDE_INLINE Vec load_some(const Half* from, int64_t count) {
    if (count >= kLanes) return load(from);
#if defined(FLOWZOO_MASKS) && defined(__AVX512BW__) && defined(__AVX512VL__)
    const __m256i bits = _mm256_maskz_loadu_epi16(first_lanes(count), from);
    return reinterpret_cast<Vec>(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
#endif
    Half lanes[kLanes] = {};
    std::memcpy(lanes, from, count * sizeof(Half));
    return load(lanes);
}

WIDE_INLINE void store_some(Half* to, Vec value, int64_t count) {
    if (count >= kLanes) return store(to, value);
    Half lanes[kLanes];
    store(lanes, value);
    std::memcpy(to, lanes, count * sizeof(Half));
}
