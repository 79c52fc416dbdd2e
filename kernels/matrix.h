// Products of small matrices that lie in the caches.
#pragma once

#include "vector.h"

namespace {

// Rows and vectors of a product that the registers hold.
constexpr int kProductRows = 6, kProductVectors = kManyRegisters ? 4 : 2;

// A matrix whose element (i, k) is at data[i * row + k * column].
struct Strided {
    const float* data;
    int64_t row, column;
};

template <int ROWS, int VECTORS>
inline void multiply_block(Strided a, int64_t depth, const float* b, int64_t b_row, float* c, int64_t c_row) {
    Vec sums[ROWS][VECTORS];
#pragma GCC unroll 6
    for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; ++v) sums[i][v] = load(c + i * c_row + v * kLanes);
    for (int64_t k = 0; k < depth; ++k) {
        Vec line[VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; ++v) {
            line[v] = load(b + k * b_row + v * kLanes);
            pin(line[v]);
        }
#pragma GCC unroll 6
        for (int i = 0; i < ROWS; ++i) {
            const Vec factor = splat(a.data[i * a.row + k * a.column]);
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; ++v) sums[i][v] += factor * line[v];
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; ++v) store(c + i * c_row + v * kLanes, sums[i][v]);
}

template <int VECTORS>
inline void multiply_rows(Strided a, int64_t rows, int64_t depth, const float* b, int64_t b_row, float* c, int64_t c_row) {
    for (int64_t i = 0; i < rows; i += kProductRows) {
        const Strided part{a.data + i * a.row, a.row, a.column};
        float* to = c + i * c_row;
        switch (rows - i) {
            case 1: multiply_block<1, VECTORS>(part, depth, b, b_row, to, c_row); break;
            case 2: multiply_block<2, VECTORS>(part, depth, b, b_row, to, c_row); break;
            case 3: multiply_block<3, VECTORS>(part, depth, b, b_row, to, c_row); break;
            case 4: multiply_block<4, VECTORS>(part, depth, b, b_row, to, c_row); break;
            case 5: multiply_block<5, VECTORS>(part, depth, b, b_row, to, c_row); break;
            default: multiply_block<kProductRows, VECTORS>(part, depth, b, b_row, to, c_row);
        }
    }
}

// c (rows x columns) += a (rows x depth) b (depth x columns); rows of b and c are contiguous and `columns`, a multiple of
// kLanes, wide. The order of every sum is that of `depth`.
inline void multiply(Strided a, int64_t rows, int64_t depth, int64_t columns, const float* b, int64_t b_row, float* c,
                     int64_t c_row) {
    const int64_t vectors = columns / kLanes, panels = (vectors + kProductVectors - 1) / kProductVectors;
    int64_t from = 0;
    for (int64_t panel = 0; panel < panels; ++panel) {
        const int64_t until = vectors * (panel + 1) / panels;
        const float* left = b + from * kLanes;
        float* to = c + from * kLanes;
        switch (until - from) {
            case 1: multiply_rows<1>(a, rows, depth, left, b_row, to, c_row); break;
            case 2: multiply_rows<2>(a, rows, depth, left, b_row, to, c_row); break;
            case 3: multiply_rows<3>(a, rows, depth, left, b_row, to, c_row); break;
            default: multiply_rows<4>(a, rows, depth, left, b_row, to, c_row);
        }
        from = until;
    }
}

}  // namespace
