// The products of Winograd's tiles: small matrices times panels of kWide columns, of which the last may be narrower.
#pragma once

#include "vector.h"

namespace {

constexpr int64_t kWide = 2 * kLanes;

// How many rows of a matrix product the registers hold beside each other.
constexpr int kTall = kManyRegisters ? 12 : 6;

// result[i, 0..columns) (+)= sum_k a[i * row + k * step] * b[k * kWide + 0..columns), whose columns are kVectors vectors and
// perhaps a half.
template <int kRows, int kVectors, bool kHalf>
__attribute__((noinline)) void multiply(
    const float* a, int64_t row, int64_t step, const float* b, int64_t length, float* result, int64_t result_row, bool add) {
    Vec sum[kRows][kVectors];
    HalfVec more[kHalf ? kRows : 1] = {};
    const auto half = [](float* from) -> HalfVecUnaligned& {
        return *reinterpret_cast<HalfVecUnaligned*>(from + kVectors * kLanes);
    };
#pragma GCC unroll 12
    for (int i = 0; i < kRows; ++i) {
        for (int v = 0; v < kVectors; ++v) sum[i][v] = add ? load(result + i * result_row + v * kLanes) : Vec{};
        if (kHalf && add) more[i] = half(result + i * result_row);
    }
    for (int64_t k = 0; k < length; ++k, a += step, b += kWide) {
        Vec factors[kVectors];
        for (int v = 0; v < kVectors; ++v) {
            factors[v] = load(b + v * kLanes);
            pin(factors[v]);
        }
        HalfVec others{};
        if (kHalf) others = half(const_cast<float*>(b));
#pragma GCC unroll 12
        for (int i = 0; i < kRows; ++i) {
            const Vec number = splat(a[i * row]);
            for (int v = 0; v < kVectors; ++v) sum[i][v] += number * factors[v];
            if (kHalf) more[i] += (a[i * row] - HalfVec{}) * others;
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < kRows; ++i) {
        for (int v = 0; v < kVectors; ++v) store(result + i * result_row + v * kLanes, sum[i][v]);
        if (kHalf) half(result + i * result_row) = more[i];
    }
}

// At most kRows rows, rounded up to the next two.
template <int kRows, int kVectors, bool kHalf>
void multiply_few(
    const float* a, int64_t rows, int64_t row, int64_t step, const float* b, int64_t length, float* result,
    int64_t result_row, bool add) {
    if constexpr (kRows > 2)
        if (rows <= kRows - 2)
            return multiply_few<kRows - 2, kVectors, kHalf>(a, rows, row, step, b, length, result, result_row, add);
    multiply<kRows, kVectors, kHalf>(a, row, step, b, length, result, result_row, add);
}

template <int kVectors, bool kHalf>
void multiply_rows(
    const float* a, int64_t rows, int64_t row, int64_t step, const float* b, int64_t length, float* result,
    int64_t result_row, bool add) {
    for (; rows > 0; rows -= kTall, a += kTall * row, result += kTall * result_row)
        multiply_few<kTall, kVectors, kHalf>(a, rows, row, step, b, length, result, result_row, add);
}

// `rows` rows, rounded up to the next two, times a panel of which `columns` columns count.
void multiply_panel(
    const float* a, int64_t rows, int64_t row, int64_t step, const float* b, int64_t columns, int64_t length, float* result,
    int64_t result_row, bool add) {
    auto multiplied = multiply_rows<2, false>;
    if (columns <= kLanes)
        multiplied = multiply_rows<1, false>;
    else if (kHalvesSave && 2 * columns <= 3 * kLanes)
        multiplied = multiply_rows<1, true>;
    multiplied(a, rows, row, step, b, length, result, result_row, add);
}

}  // namespace
