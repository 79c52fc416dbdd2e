// Where the pixels of a sampled volume look, and the dot products with what they see; for sampled_volume.cpp.
#pragma once

#include <cmath>

#include "threads.h"
#include "vector.h"

namespace {

constexpr int64_t kMostSide = 15;             // radius 7
constexpr int64_t kMostRows = 2 * kMostSide;  // window rows where displacements are dilated
constexpr int64_t kRun = 16;                  // pixels of a run
constexpr int64_t kBlock = 32;                 // channels of a block

// Lines of 16 lanes; one before and one behind are there to be read by shifted loads, whose lanes then do not count.
template <int64_t LINES>
struct Lines {
    alignas(64) float data[(LINES + 2) * kWideLanes];
    float* line(int64_t n) { return data + (n + 1) * kWideLanes; }
    const float* line(int64_t n) const { return data + (n + 1) * kWideLanes; }
    void clear() { std::memset(data, 0, sizeof(data)); }
};

struct Problem {
    int64_t batch, channels, height, width, rows, columns, radius, dilation, stride, padded, margin, row_step;
    int64_t side() const { return 2 * radius + 1; }
    bool dense() const { return dilation == 1; }
    int64_t window() const { return dense() ? side() + 1 : 2 * side(); }
    int64_t near_row(int64_t o) const { return dense() ? o : 2 * o; }
    int64_t far_row(int64_t o) const { return near_row(o) + 1; }
    int64_t channel_step() const { return dilation * padded; }
    int64_t lanes() const { return dense() ? side() + 1 : side(); }  // of a window row that count
};

// Where one pixel looks: offsets into the table (negative: outside) for its window's near and far columns.
struct Window {
    int64_t near[kMostRows], far[kMostRows];
    float right, down;
};

int64_t floor_divide(int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

// NaN and whatever is surely off the map go to one place that is.
float bounded(float flow, float limit) { return std::fabs(flow) <= limit ? flow : limit; }

Window find_window(const Problem& p, int64_t image, int64_t y, int64_t x, float flow_x, float flow_y) {
    Window window;
    const float limit = static_cast<float>(p.height + p.width + p.radius * p.dilation + 2);
    flow_x = bounded(flow_x, limit);
    flow_y = bounded(flow_y, limit);
    const float whole_x = std::floor(flow_x), whole_y = std::floor(flow_y);
    window.right = flow_x - whole_x;
    window.down = flow_y - whole_y;
    const int64_t left = x * p.stride + static_cast<int64_t>(whole_x) - p.radius * p.dilation;
    const int64_t top = y * p.stride + static_cast<int64_t>(whole_y) - p.radius * p.dilation;
    if (p.dense()) {
        const bool touches = left > -p.margin && left < p.width;
        int64_t start = (image * p.height + top) * p.row_step + p.margin + left;
        for (int64_t n = 0; n < p.window(); ++n, start += p.row_step) {
            const bool inside = touches && top + n >= 0 && top + n < p.height;
            window.near[n] = inside ? start : -1;
            window.far[n] = inside ? start + 1 : -1;
        }
        return window;
    }
    const int64_t held = (p.width + p.dilation - 1) / p.dilation;
    int64_t column[2];
    for (int shift = 0; shift < 2; ++shift) {
        const int64_t at = floor_divide(left + shift, p.dilation);
        const int64_t phase = left + shift - at * p.dilation;
        const bool touches = at > -p.margin && at < held;
        column[shift] = touches ? phase * p.padded + p.margin + at : -1;
    }
    for (int64_t n = 0; n < p.window(); ++n) {
        const int64_t row = top + n / 2 * p.dilation + n % 2;
        const bool inside = row >= 0 && row < p.height;
        const int64_t start = (image * p.height + row) * p.row_step;
        window.near[n] = inside && column[0] >= 0 ? start + column[0] : -1;
        window.far[n] = inside && column[1] >= 0 ? start + column[1] : -1;
    }
    return window;
}

alignas(64) const float kZeros[64] = {};

// A block's dot products with ROWS window rows, added to their lines or, of the first block, stored there. Rows are
// read from `shift` columns further left, and their lines as well: the lanes that count stay where they are.
template <int ROWS>
void dot_rows(const float* table, const int64_t* offsets, int64_t shift, const float* pixel, int64_t channels,
              int64_t step, bool first, float* out) {
    table -= shift;
    out -= shift;
    const float* row[ROWS];
    int64_t steps[ROWS];
    Wide total[ROWS];
    for (int k = 0; k < ROWS; ++k) {
        row[k] = offsets[k] < 0 ? kZeros : table + offsets[k];
        steps[k] = offsets[k] < 0 ? 0 : step;
        total[k] = first ? wide_splat(0.0f) : wide_load(out + k * kWideLanes);
    }
    for (int64_t c = 0; c < channels; ++c) {
        const Wide value = wide_splat(pixel[c]);
#pragma GCC unroll 5
        for (int k = 0; k < ROWS; ++k) {
            total[k] = total[k] + value * wide_load(row[k]);
            row[k] += steps[k];
        }
    }
    for (int k = 0; k < ROWS; ++k) wide_store(out + k * kWideLanes, total[k]);
}

// How much further left the rows can be read so that the first `wanted` lanes are still there and no load crosses a
// cache line; 0 where it must. All rows and channels of the table start on cache lines.
int64_t aligning_shift(const int64_t* offsets, int64_t rows, int64_t wanted) {
    for (int64_t n = 0; n < rows; ++n)
        if (offsets[n] >= 0) return offsets[n] % kWideLanes + wanted <= kWideLanes ? offsets[n] % kWideLanes : 0;
    return 0;
}

void dots(const float* table, const int64_t* offsets, int64_t rows, const float* pixel, int64_t channels, int64_t step,
          int64_t wanted, bool first, float* out) {
    const int64_t shift = aligning_shift(offsets, rows, wanted);
    int64_t n = 0;
    for (; n + 5 <= rows; n += 5)
        dot_rows<5>(table, offsets + n, shift, pixel, channels, step, first, out + n * kWideLanes);
    switch (rows - n) {
        case 4: dot_rows<4>(table, offsets + n, shift, pixel, channels, step, first, out + n * kWideLanes); break;
        case 3: dot_rows<3>(table, offsets + n, shift, pixel, channels, step, first, out + n * kWideLanes); break;
        case 2: dot_rows<2>(table, offsets + n, shift, pixel, channels, step, first, out + n * kWideLanes); break;
        case 1: dot_rows<1>(table, offsets + n, shift, pixel, channels, step, first, out + n * kWideLanes); break;
        default: break;
    }
}

WIDE_INLINE Wide blend(Wide lower, Wide upper, Wide share) { return lower + share * (upper - lower); }

// A run of up to kRun neighbouring pixels of one output row, with everything that is kept for each of them.
struct Run {
    const Problem& p;
    int64_t count = 0;
    Window windows[kRun];
    const float* pixels = nullptr;           // their features, C apart
    Lines<kMostRows> near[kRun], far[kRun];  // dot products with the windows' columns, later their weights
    Lines<kMostSide> costs[kRun];            // results, or the incoming gradient
    explicit Run(const Problem& problem) : p(problem) {
        for (int64_t i = 0; i < kRun; ++i) {
            near[i].clear();
            far[i].clear();
            costs[i].clear();
        }
    }

    void start(const float* flow, int64_t image, int64_t y, int64_t x) {
        const int64_t plane = p.rows * p.columns, at = y * p.columns + x;
        count = p.columns - x < kRun ? p.columns - x : kRun;
        const float* along = flow + image * 2 * plane + at;
        for (int64_t i = 0; i < count; ++i) windows[i] = find_window(p, image, y, x + i, along[i], along[plane + i]);
    }

    Wide near_dots(int64_t i, int64_t n) const { return wide_load(near[i].line(n)); }
    Wide far_dots(int64_t i, int64_t n) const {
        return p.dense() ? wide_load(near[i].line(n) + 1) : wide_load(far[i].line(n));
    }

    // Dot products of the channels from..until-1.
    void fill_dots(const float* table, int64_t from, int64_t until) {
        for (int64_t c = from; c < until; c += kBlock) {
            const int64_t block = until - c < kBlock ? until - c : kBlock;
            const float* shifted = table + c * p.channel_step();
            for (int64_t i = 0; i < count; ++i) {
                const float* pixel = pixels + i * p.channels + c;
                const int64_t step = p.channel_step();
                dots(shifted, windows[i].near, p.window(), pixel, block, step, p.lanes(), c == from, near[i].line(0));
                if (!p.dense())
                    dots(shifted, windows[i].far, p.window(), pixel, block, step, p.lanes(), c == from, far[i].line(0));
            }
        }
    }
};

}  // namespace
