// Rows of what variational refinement computes; flowzoo/operators/variational defines all of it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "exponential.h"
#include "vector.h"

namespace {

constexpr int64_t kReach = 2;  // rows and columns around a pixel that its data terms look at

// Where the four pixels around each target of a row lie: for warp_row.
struct Targets {
    std::vector<int32_t> left, top;
    std::vector<float> across, down, corners;
    explicit Targets(int64_t width)
        : left(width), top(width), across(width), down(width), corners(4 * width) {}
};

// One row of `image` at the pixels that `u` and `v` lead to: bilinear, zero outside. `inside`: 1 where they are in the
// image, else 0. Three loops: only the one that reads the image cannot be done for many pixels at once.
inline void warp_row(const float* image, const float* u, const float* v, int64_t y, int64_t height, int64_t width,
                     Targets& targets, float* __restrict out, float* __restrict inside) {
    int32_t *left = targets.left.data(), *top = targets.top.data();
    float *across = targets.across.data(), *down = targets.down.data(), *corners = targets.corners.data();
    const int32_t columns = static_cast<int32_t>(width), rows = static_cast<int32_t>(height), row = static_cast<int32_t>(y);
    const float last_x = static_cast<float>(columns - 1), last_y = static_cast<float>(rows - 1);
#pragma GCC ivdep
    for (int32_t x = 0; x < columns; ++x) {
        const float px = static_cast<float>(x) + u[x], py = static_cast<float>(row) + v[x];
        inside[x] = (px >= 0) & (px <= last_x) & (py >= 0) & (py <= last_y) ? 1.0f : 0.0f;
        // Nowhere near, or not a number: to a place whose four pixels are all outside.
        const bool near = (px > -1) & (px <= last_x + 1) & (py > -1) & (py <= last_y + 1);
        const float tx = near ? px : -2.0f, ty = near ? py : -2.0f;
        const float fx = std::floor(tx), fy = std::floor(ty);
        across[x] = tx - fx;
        down[x] = ty - fy;
        left[x] = static_cast<int32_t>(fx);
        top[x] = static_cast<int32_t>(fy);
    }
    for (int32_t x = 0; x < columns; ++x) {
        const int32_t x0 = left[x], y0 = top[x];
        if (x0 >= 0 && x0 + 1 < columns && y0 >= 0 && y0 + 1 < rows) {
            const float* corner = image + y0 * width + x0;
            corners[x] = corner[0];
            corners[width + x] = corner[1];
            corners[2 * width + x] = corner[width];
            corners[3 * width + x] = corner[width + 1];
        } else {
            auto at = [&](int32_t j, int32_t i) {
                return j >= 0 && j < rows && i >= 0 && i < columns ? image[j * width + i] : 0.0f;
            };
            corners[x] = at(y0, x0);
            corners[width + x] = at(y0, x0 + 1);
            corners[2 * width + x] = at(y0 + 1, x0);
            corners[3 * width + x] = at(y0 + 1, x0 + 1);
        }
    }
#pragma GCC ivdep
    for (int64_t x = 0; x < width; ++x) {
        const float upper = corners[x] + across[x] * (corners[width + x] - corners[x]);
        const float lower = corners[2 * width + x] + across[x] * (corners[3 * width + x] - corners[2 * width + x]);
        out[x] = upper + down[x] * (lower - upper);
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
    typedef int32_t Whole __attribute__((vector_size(4 * kLanes)));
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
