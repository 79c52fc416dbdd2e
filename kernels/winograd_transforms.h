// The 1-D transforms of Winograd's F(4x4, 3x3) and F(6x6, 3x3), from every `step`-th vector to every `step`-th one.
//
// A tile is m x m pixels of the result, which see (m + 2) x (m + 2) of the input. With 1-D transforms along both axes,
//
//   result = A' [ (G w G') . (B' input B) ] A,    gradient to w = G' [ (A gradient A') . (B' input B) ] G,
//
// where the product in brackets is, for each of the (m + 2)^2 places of a tile, a matrix product over channels (or tiles).
#pragma once

#include "vector.h"

namespace {

// F(4x4, 3x3) at the points 0, +-sqrt(1/2), +-sqrt(2) and infinity, which lose less precision than whole numbers.
constexpr float kHalfRoot = 0.70710678118654752f, kRoot = 1.41421356237309505f;

struct InputTransform {  // B'
    static constexpr int kFrom = 6, kTo = 6;
    WIDE_INLINE void apply(const Vec* d, int s, Vec* r, int q) {
        const Vec even = d[4 * s] - 2.0f * d[2 * s], odd = kHalfRoot * d[3 * s] - kRoot * d[s];
        const Vec even2 = d[4 * s] - 0.5f * d[2 * s], odd2 = kRoot * d[3 * s] - kHalfRoot * d[s];
        r[0] = d[0] - 2.5f * d[2 * s] + d[4 * s];
        r[q] = even + odd;
        r[2 * q] = even - odd;
        r[3 * q] = even2 + odd2;
        r[4 * q] = even2 - odd2;
        r[5 * q] = d[s] - 2.5f * d[3 * s] + d[5 * s];
    }
};
struct ResultTransform {  // A'
    static constexpr int kFrom = 6, kTo = 4;
    WIDE_INLINE void apply(const Vec* m, int s, Vec* r, int q) {
        const Vec sum = m[s] + m[2 * s], difference = m[s] - m[2 * s];
        const Vec sum2 = m[3 * s] + m[4 * s], difference2 = m[3 * s] - m[4 * s];
        r[0] = m[0] + sum + sum2;
        r[q] = kHalfRoot * difference + kRoot * difference2;
        r[2 * q] = 0.5f * sum + 2.0f * sum2;
        r[3 * q] = 0.5f * kHalfRoot * difference + 2.0f * kRoot * difference2 + m[5 * s];
    }
};
struct GradientTransform {  // A
    static constexpr int kFrom = 4, kTo = 6;
    WIDE_INLINE void apply(const Vec* g, int s, Vec* r, int q) {
        const Vec even = g[0] + 0.5f * g[2 * s], odd = kHalfRoot * (g[s] + 0.5f * g[3 * s]);
        const Vec even2 = g[0] + 2.0f * g[2 * s], odd2 = kRoot * (g[s] + 2.0f * g[3 * s]);
        r[0] = g[0];
        r[q] = even + odd;
        r[2 * q] = even - odd;
        r[3 * q] = even2 + odd2;
        r[4 * q] = even2 - odd2;
        r[5 * q] = g[3 * s];
    }
};
struct WeightTransform {  // G
    static constexpr int kFrom = 3, kTo = 6;
    WIDE_INLINE void apply(const Vec* w, int s, Vec* r, int q) {
        const Vec even = (-2.0f / 3) * w[0] - (1.0f / 3) * w[2 * s], odd = (-kRoot / 3) * w[s];
        const Vec even2 = (1.0f / 6) * w[0] + (1.0f / 3) * w[2 * s], odd2 = (kRoot / 6) * w[s];
        r[0] = w[0];
        r[q] = even + odd;
        r[2 * q] = even - odd;
        r[3 * q] = even2 + odd2;
        r[4 * q] = even2 - odd2;
        r[5 * q] = w[2 * s];
    }
};
struct WeightGradientTransform {  // G'
    static constexpr int kFrom = 6, kTo = 3;
    WIDE_INLINE void apply(const Vec* u, int s, Vec* r, int q) {
        const Vec sum = u[s] + u[2 * s], difference = u[s] - u[2 * s];
        const Vec sum2 = u[3 * s] + u[4 * s], difference2 = u[3 * s] - u[4 * s];
        r[0] = u[0] - (2.0f / 3) * sum + (1.0f / 6) * sum2;
        r[q] = (-kRoot / 3) * difference + (kRoot / 6) * difference2;
        r[2 * q] = (1.0f / 3) * (sum2 - sum) + u[5 * s];
    }
};

// F(6x6, 3x3) at the points 0, +-1, +-2, +-1/2 and infinity, the ones that lose least: four times what F(4x4, 3x3) does.
struct InputTransform6 {  // B'
    static constexpr int kFrom = 8, kTo = 8;
    WIDE_INLINE void apply(const Vec* d, int s, Vec* r, int q) {
        const Vec even = d[2 * s] - 4.25f * d[4 * s] + d[6 * s], odd = d[s] - 4.25f * d[3 * s] + d[5 * s];
        const Vec even2 = 0.25f * d[2 * s] - 1.25f * d[4 * s] + d[6 * s];
        const Vec odd2 = 0.5f * d[s] - 2.5f * d[3 * s] + 2.0f * d[5 * s];
        const Vec even3 = 4.0f * d[2 * s] - 5.0f * d[4 * s] + d[6 * s];
        const Vec odd3 = 2.0f * d[s] - 2.5f * d[3 * s] + 0.5f * d[5 * s];
        r[0] = d[0] - d[6 * s] + 5.25f * (d[4 * s] - d[2 * s]);
        r[q] = even + odd;
        r[2 * q] = even - odd;
        r[3 * q] = even2 + odd2;
        r[4 * q] = even2 - odd2;
        r[5 * q] = even3 + odd3;
        r[6 * q] = even3 - odd3;
        r[7 * q] = d[7 * s] - d[s] + 5.25f * (d[3 * s] - d[5 * s]);
    }
};
struct ResultTransform6 {  // A'
    static constexpr int kFrom = 8, kTo = 6;
    WIDE_INLINE void apply(const Vec* m, int s, Vec* r, int q) {
        const Vec sum = m[s] + m[2 * s], difference = m[s] - m[2 * s];
        const Vec sum2 = m[3 * s] + m[4 * s], difference2 = m[3 * s] - m[4 * s];
        const Vec sum3 = m[5 * s] + m[6 * s], difference3 = m[5 * s] - m[6 * s];
        r[0] = m[0] + sum + sum2 + sum3;
        r[q] = difference + 2.0f * difference2 + 0.5f * difference3;
        r[2 * q] = sum + 4.0f * sum2 + 0.25f * sum3;
        r[3 * q] = difference + 8.0f * difference2 + 0.125f * difference3;
        r[4 * q] = sum + 16.0f * sum2 + 0.0625f * sum3;
        r[5 * q] = difference + 32.0f * difference2 + 0.03125f * difference3 + m[7 * s];
    }
};
struct WeightTransform6 {  // G
    static constexpr int kFrom = 3, kTo = 8;
    WIDE_INLINE void apply(const Vec* w, int s, Vec* r, int q) {
        const Vec even = (-2.0f / 9) * (w[0] + w[2 * s]), odd = (-2.0f / 9) * w[s];
        const Vec even2 = (1.0f / 90) * w[0] + (2.0f / 45) * w[2 * s], odd2 = (1.0f / 45) * w[s];
        const Vec even3 = (32.0f / 45) * w[0] + (8.0f / 45) * w[2 * s], odd3 = (16.0f / 45) * w[s];
        r[0] = w[0];
        r[q] = even + odd;
        r[2 * q] = even - odd;
        r[3 * q] = even2 + odd2;
        r[4 * q] = even2 - odd2;
        r[5 * q] = even3 + odd3;
        r[6 * q] = even3 - odd3;
        r[7 * q] = w[2 * s];
    }
};

// What a convolution is done by: tiles of kSide x kSide pixels, at most kTiles in a block, whose values stay in the
// second-level cache, and kChunk channels or outputs at once.
struct Four {
    static constexpr int kSide = 4, kSeen = 6, kPlaces = 36;
    static constexpr int64_t kTiles = 36, kChunk = 4 * kLanes;
    typedef InputTransform Input;
    typedef WeightTransform Weight;
    typedef ResultTransform Result;
};
struct Six {
    static constexpr int kSide = 6, kSeen = 8, kPlaces = 64;
    static constexpr int64_t kTiles = 12, kChunk = 4 * kLanes;
    typedef InputTransform6 Input;
    typedef WeightTransform6 Weight;
    typedef ResultTransform6 Result;
};

}  // namespace
