// What match densities say; flowzoo/operators/density_reading defines it.
#include <algorithm>
#include <cstdint>

#include "exponential.h"
#include "threads.h"
#include "transpose.h"
#include "vector.h"

namespace {

constexpr int64_t kTask = 512;  // pixels of a task

typedef int32_t Bits __attribute__((vector_size(4 * kLanes)));

// Logits of kWideLanes pixels, of which `count` exist, to `values`: a bin's beside each other. Others stay as they are.
void gather(const float* logits, int64_t bins, int64_t bin_step, int64_t pixel_step, int64_t count, float* values) {
    if (count == kWideLanes && pixel_step == 1) {
        for (int64_t bin = 0; bin < bins; ++bin) wide_store(values + bin * kWideLanes, wide_load(logits + bin * bin_step));
        return;
    }
    int64_t bin = 0;
    if (count == kWideLanes && bin_step == 1) {
        for (; bin + kWideLanes <= bins; bin += kWideLanes) {
            Wide turned[kWideLanes];
            transpose(logits + bin, pixel_step, kWideLanes, turned);
            for (int64_t i = 0; i < kWideLanes; ++i) wide_store(values + (bin + i) * kWideLanes, turned[i]);
        }
    }
    for (; bin < bins; ++bin)
        for (int64_t i = 0; i < count; ++i) values[bin * kWideLanes + i] = logits[bin * bin_step + i * pixel_step];
}

struct Reading {
    Vec x, y, mass;
};

// Of kLanes pixels whose logits are at values[bin * kWideLanes]; these become the densities.
Reading read(float* values, int64_t side) {
    const int64_t bins = side * side;
    Vec most = load(values), sum{};
    for (int64_t bin = 1; bin < bins; ++bin) {
        const Vec value = load(values + bin * kWideLanes);
        most = value > most ? value : most;
    }
    for (int64_t bin = 0; bin < bins; ++bin) {
        const Vec share = exponential<Vec, Bits>(load(values + bin * kWideLanes) - most);
        store(values + bin * kWideLanes, share);
        sum += share;
    }
    for (int64_t bin = 0; bin < bins; ++bin) store(values + bin * kWideLanes, load(values + bin * kWideLanes) / sum);
    // The first of the largest windows; where nothing is a number, the very first.
    Vec best = splat(-1.0f), row{}, column{};
    Vec left_top = load(values), right_top = left_top, left_bottom = left_top, right_bottom = left_top;
    for (int64_t top = 0; top + 1 < side; ++top) {
        const float* upper = values + top * side * kWideLanes;
        const float* lower = upper + side * kWideLanes;
        for (int64_t left = 0; left + 1 < side; ++left, upper += kWideLanes, lower += kWideLanes) {
            const Vec a = load(upper), b = load(upper + kWideLanes), c = load(lower), d = load(lower + kWideLanes);
            const Vec total = (a + b) + (c + d);
            const Bits better = total > best;
            best = better ? total : best;
            row = better ? splat(static_cast<float>(top)) : row;
            column = better ? splat(static_cast<float>(left)) : column;
            left_top = better ? a : left_top;
            right_top = better ? b : right_top;
            left_bottom = better ? c : left_bottom;
            right_bottom = better ? d : right_bottom;
        }
    }
    const Vec right = right_top + right_bottom, bottom = left_bottom + right_bottom;
    const Vec mass = right + left_top + left_bottom, radius = splat(static_cast<float>((side - 1) / 2));
    return {(column - radius) + right / mass, (row - radius) + bottom / mass, mass};
}

}  // namespace

// Bin k of pixel p of sample b is at logits[b * side * side * size + k * bin_step + p * pixel_step]. flow: (batch, 2, size),
// confidence: (batch, size).
extern "C" __attribute__((visibility("default"))) int flowzoo_density_reading(
    const float* logits, float* flow, float* confidence, int64_t batch, int64_t side, int64_t size, int64_t bin_step,
    int64_t pixel_step, int64_t threads) {
    const int64_t tasks = (size + kTask - 1) / kTask, bins = side * side;
    return run_tasks(0, batch * tasks, threads, [&](auto next) {
        Buffer buffer(bins * kWideLanes);
        float* const values = buffer.get();
        std::fill(values, values + bins * kWideLanes, 0.0f);
        for (int64_t task = next(); task >= 0; task = next()) {
            const int64_t sample = task / tasks, begin = task % tasks * kTask, end = std::min(begin + kTask, size);
            for (int64_t pixel = begin; pixel < end; pixel += kWideLanes) {
                const int64_t count = std::min<int64_t>(kWideLanes, end - pixel);
                gather(logits + sample * bins * size + pixel * pixel_step, bins, bin_step, pixel_step, count, values);
                for (int64_t first = 0; first < count; first += kLanes) {
                    const Reading reading = read(values + first, side);
                    const int64_t wanted = count - first;
                    store_some(flow + sample * 2 * size + pixel + first, reading.x, wanted);
                    store_some(flow + (sample * 2 + 1) * size + pixel + first, reading.y, wanted);
                    store_some(confidence + sample * size + pixel + first, reading.mass, wanted);
                }
            }
        }
    });
}
