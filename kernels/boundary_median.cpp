// Weighted median of a flow where motions meet; flowzoo/operators/boundary_median defines it.
#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "exponential.h"
#include "threads.h"
#include "vector.h"

namespace {

constexpr int64_t kRows = 16;  // of a task
constexpr int kReach = 2;      // neighbours to each side
constexpr int kSide = 2 * kReach + 1, kCount = kSide * kSide;

typedef int32_t Whole __attribute__((vector_size(4 * kLanes)));

// For each lane the least value up to which the weights, by rising value, sum up to half of all. Nothing is sorted: every
// value is tried, for many pixels at once.
Vec weighted_median(const Vec* value, const Vec* weight) {
    Vec total = {};
    for (int i = 0; i < kCount; ++i) total += weight[i];
    Vec best = splat(std::numeric_limits<float>::infinity());
    for (int i = 0; i < kCount; ++i) {
        Vec sum = {};
        for (int j = 0; j < kCount; ++j) sum += value[j] <= value[i] ? weight[j] : Vec{};
        const Vec candidate = sum >= total / 2 ? value[i] : best;
        best = candidate < best ? candidate : best;
    }
    return best;
}

// The least and the largest of five rows at every column.
void range_down(const float* map, const int64_t* rows, int64_t width, float* __restrict least, float* __restrict most) {
    static_assert(kSide == 5);
    const float *a = map + rows[0], *b = map + rows[1], *c = map + rows[2], *d = map + rows[3], *e = map + rows[4];
#pragma GCC ivdep
    for (int64_t x = 0; x < width; ++x) {
        float low = c[x], high = c[x];
        for (const float value : {a[x], b[x], d[x], e[x]}) {
            low = value < low ? value : low;
            high = value > high ? value : high;
        }
        least[x] = low;
        most[x] = high;
    }
}

// How much the largest exceeds the least among columns x - 2 spacing, ..., x + 2 spacing; edges are replicated.
void spread_across(const float* least, const float* most, int64_t spacing, int64_t width, float* __restrict spread) {
    auto spread_of = [&](int64_t x, auto column) {
        float low = least[x], high = most[x];
        for (int64_t step = -kReach; step <= kReach; ++step) {
            const int64_t at = column(x + step * spacing);
            low = least[at] < low ? least[at] : low;
            high = most[at] > high ? most[at] : high;
        }
        spread[x] = high - low;
    };
    auto replicated = [&](int64_t x) { return std::clamp<int64_t>(x, 0, width - 1); };
    const int64_t from = std::min(kReach * spacing, width), to = std::max(from, width - kReach * spacing);
    for (int64_t x = 0; x < from; ++x) spread_of(x, replicated);
#pragma GCC ivdep
    for (int64_t x = from; x < to; ++x) spread_of(x, [](int64_t at) { return at; });
    for (int64_t x = to; x < width; ++x) spread_of(x, replicated);
}

}  // namespace

// colours: (batch, 3, height, width); flow, out: (batch, 2, height, width); trust: (batch, height, width).
extern "C" __attribute__((visibility("default"))) int flowzoo_boundary_median(
    const float* colours, const float* flow, const float* trust, float* out, int64_t batch, int64_t height,
    int64_t width, int64_t spacing, float disagreement, float likeness, int64_t threads) {
    const int64_t size = height * width, bands = (height + kRows - 1) / kRows;
    const float steepness = -1.0f / (2 * likeness * likeness);
    return run_tasks(0, batch * bands, threads, [&](auto next) {
        std::vector<float> least(width), most(width), spread(2 * width);
        std::vector<int64_t> chosen;
        for (int64_t task = next(); task >= 0; task = next()) {
            const int64_t sample = task / bands, first = task % bands * kRows;
            const float *flows = flow + 2 * sample * size, *colour = colours + 3 * sample * size;
            const float* trusted = trust + sample * size;
            for (int64_t y = first; y < std::min(first + kRows, height); ++y) {
                int64_t rows[kSide];
                for (int i = 0; i < kSide; ++i)
                    rows[i] = std::clamp<int64_t>(y + (i - kReach) * spacing, 0, height - 1) * width;
                for (int c = 0; c < 2; ++c) {
                    const float* here = flows + c * size + y * width;
                    std::copy_n(here, width, out + (2 * sample + c) * size + y * width);
                    range_down(flows + c * size, rows, width, least.data(), most.data());
                    spread_across(least.data(), most.data(), spacing, width, spread.data() + c * width);
                }
                chosen.clear();
                for (int64_t x = 0; x < width; ++x)
                    if (spread[x] > disagreement || spread[width + x] > disagreement) chosen.push_back(x);
                for (size_t begin = 0; begin < chosen.size(); begin += kLanes) {
                    const int64_t lanes = std::min<int64_t>(kLanes, chosen.size() - begin);
                    float distance[kCount][kLanes] = {}, reliable[kCount][kLanes] = {}, values[2][kCount][kLanes] = {};
                    for (int64_t lane = 0; lane < lanes; ++lane) {
                        const int64_t x = chosen[begin + lane], centre = y * width + x;
                        int64_t columns[kSide];
                        for (int i = 0; i < kSide; ++i)
                            columns[i] = std::clamp<int64_t>(x + (i - kReach) * spacing, 0, width - 1);
                        for (int i = 0; i < kCount; ++i) {
                            const int64_t at = rows[i / kSide] + columns[i % kSide];
                            for (int c = 0; c < 3; ++c) {
                                const float difference = colour[c * size + at] - colour[c * size + centre];
                                distance[i][lane] += difference * difference;
                            }
                            reliable[i][lane] = trusted[at];
                            for (int c = 0; c < 2; ++c) values[c][i][lane] = flows[c * size + at];
                        }
                    }
                    Vec weight[kCount], value[kCount];
                    for (int i = 0; i < kCount; ++i)
                        weight[i] = load(reliable[i]) * exponential<Vec, Whole>(load(distance[i]) * steepness);
                    for (int c = 0; c < 2; ++c) {
                        for (int i = 0; i < kCount; ++i) value[i] = load(values[c][i]);
                        float medians[kLanes];
                        store(medians, weighted_median(value, weight));
                        float* row = out + (2 * sample + c) * size + y * width;
                        for (int64_t lane = 0; lane < lanes; ++lane) row[chosen[begin + lane]] = medians[lane];
                    }
                }
            }
        }
    });
}
