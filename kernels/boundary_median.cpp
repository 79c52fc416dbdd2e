// Weighted median of a flow where motions meet; flowzoo/blocks/boundary_median.py defines it.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "threads.h"

namespace {

constexpr int64_t kRows = 16;                             // of a task
constexpr int kReach = 2;                                 // neighbours to each side
constexpr int kSide = 2 * kReach + 1, kCount = kSide * kSide;

struct Sample {
    float value, weight;
};

// The least value up to which the weights, by rising value, sum up to half of all.
float weighted_median(Sample* samples) {
    float total = 0.0f;
    for (int i = 0; i < kCount; ++i) {
        const Sample one = samples[i];
        total += one.weight;
        int place = i;
        for (; place > 0 && samples[place - 1].value > one.value; --place) samples[place] = samples[place - 1];
        samples[place] = one;
    }
    float sum = 0.0f;
    for (int i = 0; i < kCount; ++i) {
        sum += samples[i].weight;
        if (sum >= total / 2) return samples[i].value;
    }
    return samples[kCount - 1].value;
}

// Raises `most` and lowers `least` by row `in`, read `offset` columns further; edges are replicated.
void range_row(const float* in, int64_t offset, int64_t width, float* __restrict least, float* __restrict most) {
    const int64_t from = std::clamp<int64_t>(-offset, 0, width), to = std::clamp<int64_t>(width - offset, 0, width);
    auto include = [&](int64_t x, float value) {
        least[x] = value < least[x] ? value : least[x];
        most[x] = value > most[x] ? value : most[x];
    };
    for (int64_t x = 0; x < from; ++x) include(x, in[0]);
#pragma GCC ivdep
    for (int64_t x = from; x < to; ++x) include(x, in[x + offset]);
    for (int64_t x = std::max(from, to); x < width; ++x) include(x, in[width - 1]);
}

}  // namespace

// colours: (batch, 3, height, width); flow, out: (batch, 2, height, width); trust: (batch, height, width).
extern "C" __attribute__((visibility("default"))) int flowzoo_boundary_median(
    const float* colours, const float* flow, const float* trust, float* out, int64_t batch, int64_t height,
    int64_t width, int64_t spacing, float disagreement, float likeness, int64_t threads) {
    const int64_t size = height * width, bands = (height + kRows - 1) / kRows;
    return run_tasks(0, batch * bands, threads, [&](auto next) {
        std::vector<float> least(2 * width), most(2 * width);
        for (int64_t task = next(); task >= 0; task = next()) {
            const int64_t sample = task / bands, first = task % bands * kRows;
            const float *flows = flow + 2 * sample * size, *colour = colours + 3 * sample * size;
            const float* reliable = trust + sample * size;
            for (int64_t y = first; y < std::min(first + kRows, height); ++y) {
                int64_t rows[kSide];
                for (int i = 0; i < kSide; ++i)
                    rows[i] = std::clamp<int64_t>(y + (i - kReach) * spacing, 0, height - 1) * width;
                for (int c = 0; c < 2; ++c) {
                    const float* here = flows + c * size + y * width;
                    std::copy_n(here, width, least.begin() + c * width);
                    std::copy_n(here, width, most.begin() + c * width);
                    std::copy_n(here, width, out + (2 * sample + c) * size + y * width);
                    for (int i = 0; i < kCount; ++i)
                        range_row(flows + c * size + rows[i / kSide], (i % kSide - kReach) * spacing, width,
                                  least.data() + c * width, most.data() + c * width);
                }
                for (int64_t x = 0; x < width; ++x) {
                    const float across = most[x] - least[x], down = most[width + x] - least[width + x];
                    if (!(across > disagreement || down > disagreement)) continue;
                    Sample u[kCount], v[kCount];
                    const int64_t centre = y * width + x;
                    for (int i = 0; i < kCount; ++i) {
                        const int64_t column = x + (i % kSide - kReach) * spacing;
                        const int64_t at = rows[i / kSide] + std::clamp<int64_t>(column, 0, width - 1);
                        float distance = 0.0f;
                        for (int c = 0; c < 3; ++c) {
                            const float difference = colour[c * size + at] - colour[c * size + centre];
                            distance += difference * difference;
                        }
                        const float weight = reliable[at] * std::exp(-distance / (2 * likeness * likeness));
                        u[i] = {flows[at], weight};
                        v[i] = {flows[size + at], weight};
                    }
                    out[2 * sample * size + centre] = weighted_median(u);
                    out[(2 * sample + 1) * size + centre] = weighted_median(v);
                }
            }
        }
    });
}
