// Tiles of Winograd's F(4x4, 3x3): where they lie in a map, their transforms, and how they are brought into matrices.
//
// A tile is 4x4 pixels of the result, which see 6x6 of the input. With 1-D transforms along both axes,
//
//   result = A' [ (G w G') . (B' input B) ] A,    gradient to w = G' [ (A gradient A') . (B' input B) ] G,
//
// where the product in brackets is, for each of the 36 places of a tile, a matrix product over channels (or tiles).
// The points of evaluation are 0, +-sqrt(1/2), +-sqrt(2) and infinity, which lose less precision than whole numbers.
// A dilated problem is dilation^2 undilated ones on the phases of the map.
#pragma once

#include "half.h"
#include "vector.h"
#include "winograd_products.h"

namespace {

constexpr int64_t kPlaces = 36;
// Tiles in a block and channels beside each other, so that a block's values stay in the second-level cache.
constexpr int64_t kTiles = 36, kGradientTiles = 48, kChunk = 2 * kWide;
constexpr float kHalfRoot = 0.70710678118654752f, kRoot = 1.41421356237309505f;

int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

// One place's values, and a cache line so that the 36 places do not fall on each other in the caches.
int64_t place_size(int64_t values) { return round_up(values, 16) + 16; }

struct Map {
    int64_t batch, height, width, dilation;
    int64_t rows, columns;  // tiles of one phase
    int64_t tiles;

    Map(int64_t b, int64_t h, int64_t w, int64_t d)
        : batch(b), height(h), width(w), dilation(d), rows(((h + d - 1) / d + 3) / 4),
          columns(((w + d - 1) / d + 3) / 4), tiles(b * d * d * rows * columns) {}
};

// Pixel numbers of a tile's rows and columns, first one kMargin before the tile; -1 outside the map.
template <int kSide, int kMargin>
struct Pixels {
    int64_t number[kSide][kSide];

    Pixels(const Map& map, int64_t tile) {
        const int64_t d = map.dilation, column = tile % map.columns, row = tile / map.columns % map.rows;
        const int64_t phase = tile / (map.columns * map.rows) % (d * d), b = tile / (map.columns * map.rows * d * d);
        for (int i = 0; i < kSide; ++i) {
            const int64_t y = phase / d + d * (4 * row + i - kMargin);
            for (int j = 0; j < kSide; ++j) {
                const int64_t x = phase % d + d * (4 * column + j - kMargin);
                const bool inside = y >= 0 && y < map.height && x >= 0 && x < map.width;
                number[i][j] = inside ? (b * map.height + y) * map.width + x : -1;
            }
        }
    }
};

// The five 1-D transforms, from every `step`-th vector to every `step`-th one.
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

// Along both axes: kFrom x kFrom vectors to kTo x kTo.
template <class Transform>
WIDE_INLINE void transform(const Vec* from, Vec* to) {
    constexpr int n = Transform::kFrom, m = Transform::kTo;
    Vec between[m * n];
#pragma GCC unroll 6
    for (int j = 0; j < n; ++j) Transform::apply(from + j, n, between + j, n);
#pragma GCC unroll 6
    for (int i = 0; i < m; ++i) Transform::apply(between + i * n, 1, to + i * m, 1);
}

// Transforms `count` channels of one tile. Vector v of place p goes to place[p * size + v / 2 * panel + v % 2 * kLanes].
template <class Transform, int kMargin, class Number>
void spread_tile(
    const Map& map, int64_t tile, const Number* maps, int64_t pixel, int64_t count, float* place, int64_t size, int64_t panel) {
    constexpr int n = Transform::kFrom;
    const Pixels<n, kMargin> pixels(map, tile);
    for (int64_t c = 0; c < count; c += kLanes) {
        Vec from[n * n], to[kPlaces];
#pragma GCC unroll 36
        for (int i = 0; i < n * n; ++i) {
            const int64_t number = pixels.number[i / n][i % n];
            from[i] = number < 0 ? Vec{} : load_some(maps + number * pixel + c, count - c);
        }
        transform<Transform>(from, to);
        float* at = place + c / kWide * panel + c % kWide;
#pragma GCC unroll 36
        for (int p = 0; p < kPlaces; ++p) store(at + p * size, to[p]);
    }
}

}  // namespace
