// Rows or columns of maps as weighted sums of others; flowzoo/operators/weighted_sums defines it.
#include <algorithm>
#include <cstdint>

#include "threads.h"

namespace {

constexpr int64_t kColumns = 1024;  // whose sums stay in the first-level cache

void sum_rows(const float* plane, int64_t width, int64_t outputs, int64_t taps, const int32_t* index,
              const float* weights, float* to) {
    for (int64_t x = 0; x < width; x += kColumns) {
        const int64_t count = std::min(kColumns, width - x);
        for (int64_t t = 0; t < taps; ++t) {
            const float* from = plane + index[t * outputs] * width + x;
            const float weight = weights[t * outputs];
            if (t == 0)
                for (int64_t i = 0; i < count; ++i) to[x + i] = from[i] * weight;
            else
                for (int64_t i = 0; i < count; ++i) to[x + i] += from[i] * weight;
        }
    }
}

void sum_columns(const float* row, int64_t outputs, int64_t taps, const int32_t* index, const float* weights, float* to) {
    for (int64_t t = 0; t < taps; ++t, index += outputs, weights += outputs) {
        if (t == 0)
            for (int64_t i = 0; i < outputs; ++i) to[i] = row[index[i]] * weights[i];
        else
            for (int64_t i = 0; i < outputs; ++i) to[i] += row[index[i]] * weights[i];
    }
}

}  // namespace

// maps: (planes, height, width); index, weights: (taps, outputs), of places along a column where `down`, else along a row.
// out: (planes, outputs, width) or (planes, height, outputs).
extern "C" __attribute__((visibility("default"))) int flowzoo_weighted_sums(
    const float* maps, const int32_t* index, const float* weights, float* out, int64_t planes, int64_t height,
    int64_t width, int64_t taps, int64_t outputs, int64_t down, int64_t threads) {
    const int64_t rows = down ? outputs : height, columns = down ? width : outputs;
    return run_tasks(0, planes * rows, threads, [&](auto next) {
        for (int64_t task = next(); task >= 0; task = next()) {
            const float* plane = maps + task / rows * height * width;
            const int64_t y = task % rows;
            if (down)
                sum_rows(plane, width, outputs, taps, index + y, weights + y, out + task * columns);
            else
                sum_columns(plane + y * width, outputs, taps, index, weights, out + task * columns);
        }
    });
}
