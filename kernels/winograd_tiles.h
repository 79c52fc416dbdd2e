// Tiles of Winograd's kernels: where they lie in a map, and how they are brought into matrices.
//
// A dilated problem is dilation^2 undilated ones on the phases of the map.
#pragma once

#include <type_traits>

#include "half.h"
#include "vector.h"
#include "winograd_products.h"
#include "winograd_transforms.h"

namespace {

int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

// One place's values, and a cache line so that a tile's places do not fall on each other in the caches.
int64_t place_size(int64_t values) { return round_up(values, 16) + 16; }

struct Map {
    int64_t batch, height, width, dilation, side;
    int64_t rows, columns;  // tiles of one phase
    int64_t tiles;

    Map(int64_t b, int64_t h, int64_t w, int64_t d, int64_t s)
        : batch(b), height(h), width(w), dilation(d), side(s), rows(((h + d - 1) / d + s - 1) / s),
          columns(((w + d - 1) / d + s - 1) / s), tiles(b * d * d * rows * columns) {}
};

// Pixel numbers of a tile's rows and columns, first one kMargin before the tile.
template <int kPixels, int kMargin>
struct Pixels {
    int64_t row[kPixels], column[kPixels];  // a pixel's number is the sum of both; negative outside the map
    int64_t row_step, column_step;
    bool whole;  // no pixel is outside

    Pixels(const Map& map, int64_t tile) : row_step(map.dilation * map.width), column_step(map.dilation) {
        const int64_t d = map.dilation, across = tile % map.columns, down = tile / map.columns % map.rows;
        const int64_t phase = tile / (map.columns * map.rows) % (d * d), b = tile / (map.columns * map.rows * d * d);
        const int64_t top = phase / d + d * (map.side * down - kMargin), left = phase % d + d * (map.side * across - kMargin);
        for (int i = 0; i < kPixels; ++i) {
            const int64_t y = top + d * i, x = left + d * i;
            row[i] = y >= 0 && y < map.height ? (b * map.height + y) * map.width : kOutside;
            column[i] = x >= 0 && x < map.width ? x : kOutside;
        }
        whole = top >= 0 && left >= 0 && top + d * (kPixels - 1) < map.height && left + d * (kPixels - 1) < map.width;
    }

    // Does work(number, whole) with the function from a row and a column to the pixel's number, negative outside the map.
    template <class Work>
    void with(Work work) const {
        if (whole) {
            const int64_t first = row[0] + column[0], down = row_step, across = column_step;
            return work([=](int i, int j) { return first + i * down + j * across; }, std::true_type());
        }
        work([this](int i, int j) { return row[i] + column[j]; }, std::false_type());
    }

    static constexpr int64_t kOutside = INT64_MIN / 4;
};

// Along both axes: kFrom x kFrom vectors from read(row, column) to kTo x kTo for write(row, column, vector). Loops over
// columns and rows, since all places' vectors and addresses at once are more than there are registers.
template <class Transform, class Read, class Write>
WIDE_INLINE void transform(Read read, Write write) {
    constexpr int n = Transform::kFrom, m = Transform::kTo;
    Vec between[n * m];
#pragma GCC unroll 1
    for (int i = 0; i < n; ++i) {
        Vec from[n];
#pragma GCC unroll 8
        for (int j = 0; j < n; ++j) from[j] = read(i, j);
        Transform::apply(from, 1, between + i * m, 1);
    }
#pragma GCC unroll 1
    for (int j = 0; j < m; ++j) {
        Vec to[m];
        Transform::apply(between + j, m, to, 1);
#pragma GCC unroll 8
        for (int i = 0; i < m; ++i) write(i, j, to[i]);
    }
}

// Transforms `count` channels of one tile. Vector v of place p goes to place[p * size + v / 2 * panel + v % 2 * kLanes].
template <class Transform, int kMargin, class Number>
void spread_tile(
    const Map& map, int64_t tile, const Number* maps, int64_t pixel, int64_t count, float* place, int64_t size, int64_t panel) {
    const Pixels<Transform::kFrom, kMargin> pixels(map, tile);
    const int64_t next = map.side * map.dilation;
    pixels.with([&](auto number, auto whole) {
        for (int64_t c = 0; c < count; c += kLanes) {
            float* at = place + c / kWide * panel + c % kWide;
            transform<Transform>(
                [&](int i, int j) {
                    const int64_t n = number(i, j);
                    // The next tile's, which hardware does not foresee in so many rows and pixels.
                    if (whole && j > 1) __builtin_prefetch(maps + (n + next) * pixel + c);
                    return whole || n >= 0 ? load_some(maps + n * pixel + c, count - c) : Vec{};
                },
                [&](int i, int j, Vec value) { store(at + (i * Transform::kTo + j) * size, value); });
        }
    });
}

}  // namespace
