// Turns 16 vectors of 16 floats: lane j of vector i becomes lane i of vector j.
#pragma once

#include <utility>

#include "vector.h"

#if defined(__AVX512F__) && defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define FLOWZOO_SHUFFLES 1
#endif
#endif

namespace {

#if defined(FLOWZOO_SHUFFLES)

// Exchanges the odd blocks of STEP lanes of `low` with the even ones of `high`.
template <size_t STEP, size_t... LANE>
inline __attribute__((always_inline)) void exchange(Vec& low, Vec& high, std::index_sequence<LANE...>) {
    const Vec a = low, b = high;
    low = __builtin_shufflevector(a, b, (LANE & STEP ? LANE - STEP + 16 : LANE)...);
    high = __builtin_shufflevector(a, b, (LANE & STEP ? LANE + 16 : LANE + STEP)...);
}

template <size_t STEP>
inline __attribute__((always_inline)) void exchange_all(Vec* lines) {
#pragma GCC unroll 16
    for (size_t i = 0; i < 16; ++i)
        if (!(i & STEP)) exchange<STEP>(lines[i], lines[i + STEP], std::make_index_sequence<16>());
}

// lines[i] = 16 floats at source + i * step, turned; of the result only the first `wanted` vectors count.
inline void transpose(const float* source, int64_t step, int64_t wanted, Wide* result) {
    (void)wanted;
    Vec lines[16];
#pragma GCC unroll 16
    for (int64_t i = 0; i < 16; ++i) lines[i] = load(source + i * step);
    exchange_all<8>(lines);
    exchange_all<4>(lines);
    exchange_all<2>(lines);
    exchange_all<1>(lines);
#pragma GCC unroll 16
    for (int64_t i = 0; i < 16; ++i) result[i].part[0] = lines[i];
}

#else

inline void transpose(const float* source, int64_t step, int64_t wanted, Wide* result) {
    float* lanes = reinterpret_cast<float*>(result);
    for (int64_t j = 0; j < wanted; ++j)
        for (int64_t i = 0; i < kWideLanes; ++i) lanes[j * kWideLanes + i] = source[i * step + j];
}

#endif

}  // namespace
