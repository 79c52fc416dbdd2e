// Rows of what variational refinement computes; flowzoo/operators/variational defines all of it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "exponential.h"
#include "vector.h"

#if defined(__AVX__)
#include <immintrin.h>
#endif

namespace {

constexpr int64_t kReach = 2;  // rows and columns around a pixel that its data terms look at

typedef int32_t Whole __attribute__((vector_size(4 * kLanes)));

// 1 / x and 1 / sqrt(x) of positive numbers, to about 2 units in the last place.
static inline __attribute__((always_inline)) Vec reciprocal(Vec x) {
#if defined(__AVX512F__)
    const Vec guess = reinterpret_cast<Vec>(_mm512_rcp14_ps(reinterpret_cast<__m512>(x)));
    return guess * (2.0f - x * guess);
#else
    return 1.0f / x;
#endif
}

static inline __attribute__((always_inline)) Vec reciprocal_root(Vec x) {
#if defined(__AVX512F__)
    const Vec guess = reinterpret_cast<Vec>(_mm512_rsqrt14_ps(reinterpret_cast<__m512>(x)));
    return guess * (1.5f - 0.5f * x * guess * guess);
#elif defined(__AVX__)
    return 1.0f / reinterpret_cast<Vec>(_mm256_sqrt_ps(reinterpret_cast<__m256>(x)));
#else
    for (int i = 0; i < kLanes; ++i) x[i] = 1.0f / std::sqrt(x[i]);
    return x;
#endif
}

// The image at some pixels, 0 outside of it.
static inline __attribute__((always_inline)) Vec pixels(const float* image, Whole column, Whole row, int64_t height,
                                                        int64_t width) {
    const int32_t columns = static_cast<int32_t>(width), rows = static_cast<int32_t>(height);
    const Whole there = (column >= 0) & (column < columns) & (row >= 0) & (row < rows);
#if defined(__AVX512F__) && !defined(__SANITIZE_ADDRESS__)
    if (height * width <= std::numeric_limits<int32_t>::max()) {
        const __m512i mask = reinterpret_cast<__m512i>(there);
        const Whole place = (row & there) * columns + (column & there);
        return reinterpret_cast<Vec>(_mm512_mask_i32gather_ps(_mm512_setzero_ps(), _mm512_test_epi32_mask(mask, mask),
                                                              reinterpret_cast<__m512i>(place), image, 4));
    }
#endif
    float lanes[kLanes];
    for (int i = 0; i < kLanes; ++i) lanes[i] = there[i] ? image[row[i] * width + column[i]] : 0.0f;
    return load(lanes);
}

// The image at some pixels and at their neighbours to the right.
struct Neighbours {
    Vec left, right;
};

static inline __attribute__((always_inline)) Neighbours neighbours(const float* image, Whole column, Whole row,
                                                                   int64_t height, int64_t width) {
#if defined(__AVX512F__) && !defined(__SANITIZE_ADDRESS__)
    const int32_t columns = static_cast<int32_t>(width), rows = static_cast<int32_t>(height);
    const Whole outside = (column < 0) | (column >= columns - 1) | (row < 0) | (row >= rows);
    const __m512i some = reinterpret_cast<__m512i>(outside);
    if (_mm512_test_epi32_mask(some, some) == 0 && height * width <= std::numeric_limits<int32_t>::max()) {
        const __m512i place = reinterpret_cast<__m512i>(row * columns + column);
        const int32_t begin = _mm_cvtsi128_si32(_mm512_castsi512_si128(place));
        const __m512i steps = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        // Where the flow changes by less than a pixel, which is nearly everywhere, they lie beside each other.
        if (_mm512_cmpneq_epi32_mask(place, _mm512_add_epi32(_mm512_set1_epi32(begin), steps)) == 0)
            return {load(image + begin), load(image + begin + 1)};
        // Both are read at once, as one number of eight bytes: a gather takes its time by the number.
        const __m512 low = _mm512_castpd_ps(_mm512_i32gather_pd(_mm512_castsi512_si256(place), image, 4));
        const __m512 high = _mm512_castpd_ps(_mm512_i32gather_pd(_mm512_extracti64x4_epi64(place, 1), image, 4));
        const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
        const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
        return {reinterpret_cast<Vec>(_mm512_permutex2var_ps(low, even, high)),
                reinterpret_cast<Vec>(_mm512_permutex2var_ps(low, odd, high))};
    }
#endif
    return {pixels(image, column, row, height, width), pixels(image, column + 1, row, height, width)};
}

// One row of `image` at the pixels that `u` and `v` lead to: bilinear, zero outside. `inside`: 1 where they are in the
// image, else 0.
inline void warp_row(const float* image, const float* u, const float* v, int64_t y, int64_t height, int64_t width,
                     float* __restrict out, float* __restrict inside) {
    const float last_x = static_cast<float>(width - 1), last_y = static_cast<float>(height - 1);
    Whole column;
    for (int i = 0; i < kLanes; ++i) column[i] = i;
    for (int64_t x = 0; x < width; x += kLanes, column += kLanes) {
        const int64_t count = std::min<int64_t>(kLanes, width - x);
        const Vec px = __builtin_convertvector(column, Vec) + load_some(u + x, count);
        const Vec py = static_cast<float>(y) + load_some(v + x, count);
        const Whole within = (px >= 0) & (px <= last_x) & (py >= 0) & (py <= last_y);
        store_some(inside + x, within ? splat(1.0f) : Vec{}, count);
        // Nowhere near, or not a number: to a place whose four pixels are all outside.
        const Whole near = (px > -1) & (px <= last_x + 1) & (py > -1) & (py <= last_y + 1);
        const Vec tx = near ? px : splat(-2.0f), ty = near ? py : splat(-2.0f);
        Whole left = __builtin_convertvector(tx, Whole), top = __builtin_convertvector(ty, Whole);  // towards zero
        left += __builtin_convertvector(left, Vec) > tx;  // -1 where it is
        top += __builtin_convertvector(top, Vec) > ty;
        const Vec across = tx - __builtin_convertvector(left, Vec), down = ty - __builtin_convertvector(top, Vec);
        const Neighbours above = neighbours(image, left, top, height, width);
        const Neighbours below = neighbours(image, left, top + 1, height, width);
        const Vec upper = above.left + across * (above.right - above.left);
        const Vec lower = below.left + across * (below.right - below.left);
        store_some(out + x, upper + down * (lower - upper), count);
    }
}

// Half the difference of the neighbours along a row, edges replicated.
inline void slope_row(const float* in, int64_t width, float* __restrict out) {
    out[0] = width > 1 ? (in[1] - in[0]) / 2 : 0.0f;
#pragma GCC ivdep
    for (int64_t x = 1; x < width - 1; ++x) out[x] = (in[x + 1] - in[x - 1]) / 2;
    if (width > 1) out[width - 1] = (in[width - 1] - in[width - 2]) / 2;
}

// Half the difference of two rows.
inline void slope_between(const float* above, const float* below, int64_t width, float* __restrict out) {
#pragma GCC ivdep
    for (int64_t x = 0; x < width; ++x) out[x] = (below[x] - above[x]) / 2;
}

// Mean of columns x-kReach..x+kReach, as far as they exist, of sums over `rows` rows.
inline void mean_row(const float* sums, int64_t rows, int64_t width, float* __restrict out) {
    auto mean = [&](int64_t x) {
        const int64_t from = std::max<int64_t>(x - kReach, 0), to = std::min(x + kReach, width - 1);
        float total = 0.0f;
        for (int64_t i = from; i <= to; ++i) total += sums[i];
        out[x] = total / static_cast<float>(rows * (to - from + 1));
    };
    const int64_t edge = std::min(kReach, width), after = std::max(edge, width - kReach);
    for (int64_t x = 0; x < edge; ++x) mean(x);
    const float share = 1.0f / static_cast<float>(rows * (2 * kReach + 1));
#pragma GCC ivdep
    for (int64_t x = edge; x < after; ++x)
        out[x] = (sums[x - 2] + sums[x - 1] + sums[x] + sums[x + 1] + sums[x + 2]) * share;
    for (int64_t x = after; x < width; ++x) mean(x);
}

// Reliability of one row: `trust` has the mean change around each pixel and gets the factors of the data terms.
inline void trust_row(const float* inside, int64_t width, float mismatch, float least, float* trust) {
    for (int64_t x = 0; x < width; x += kLanes) {
        const int64_t count = std::min<int64_t>(kLanes, width - x);
        const Vec size = exponential<Vec, Whole>(load_some(trust + x, count) * (-1 / mismatch));
        store_some(trust + x, load_some(inside + x, count) * (least + (1 - least) * size), count);
    }
}

// alpha / 2 psi'(|grad w|^2) of one row of the flow (u, v); forward differences, 0 beyond the last column and row.
inline void smoothness_row(const float* u, const float* v, int64_t y, int64_t height, int64_t width, float half_alpha,
                    float epsilon2, float* __restrict out) {
    const float *u0 = u + y * width, *v0 = v + y * width;
    const float *u1 = y + 1 < height ? u0 + width : u0, *v1 = y + 1 < height ? v0 + width : v0;
#pragma GCC ivdep
    for (int64_t x = 0; x < width - 1; ++x) {
        const float ux = u0[x + 1] - u0[x], vx = v0[x + 1] - v0[x], uy = u1[x] - u0[x], vy = v1[x] - v0[x];
        out[x] = half_alpha / std::sqrt(ux * ux + uy * uy + vx * vx + vy * vy + epsilon2);
    }
    const int64_t x = width - 1;
    const float uy = u1[x] - u0[x], vy = v1[x] - v0[x];
    out[x] = half_alpha / std::sqrt(uy * uy + vy * vy + epsilon2);
}

}  // namespace
