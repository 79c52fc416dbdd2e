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
constexpr float kLeast = -80;  // of weights' logarithms: they count for nothing, but subnormal products take very long

typedef int32_t Whole __attribute__((vector_size(4 * kLanes)));

// Of two values, the lower one's weight counts for the higher one: of equal ones, for one of them.
inline __attribute__((always_inline)) void compare(Vec a, Vec b, Vec weight_a, Vec weight_b, Vec& sum_a, Vec& sum_b) {
    const auto up = a <= b;
    sum_b = up ? sum_b + weight_a : sum_b;
    sum_a = up ? sum_a : sum_a + weight_b;
}

// For each lane the least value up to which the weights, by rising value, sum up to half of all. Nothing is sorted, every
// two values are compared. Five sums at a time stay in registers.
Vec weighted_median(const Vec* value, const Vec* weight) {
    Vec sum[kCount], total = {};
    for (int first = 0; first < kCount; first += kSide) {
        Vec values[kSide], weights[kSide], sums[kSide];
#pragma GCC unroll 5
        for (int k = 0; k < kSide; ++k) {
            values[k] = value[first + k];
            sums[k] = weights[k] = weight[first + k];
            total += weights[k];
        }
        for (int j = 0; j < first; ++j) {
            const Vec other = value[j], weight_of_other = weight[j];
            Vec sum_of_other = sum[j];
#pragma GCC unroll 5
            for (int k = 0; k < kSide; ++k)
                compare(other, values[k], weight_of_other, weights[k], sum_of_other, sums[k]);
            sum[j] = sum_of_other;
        }
#pragma GCC unroll 5
        for (int k = 0; k < kSide; ++k)
#pragma GCC unroll 5
            for (int j = 0; j < k; ++j) compare(values[j], values[k], weights[j], weights[k], sums[j], sums[k]);
#pragma GCC unroll 5
        for (int k = 0; k < kSide; ++k) sum[first + k] = sums[k];
    }
    Vec best = splat(std::numeric_limits<float>::infinity());
    for (int i = 0; i < kCount; ++i) {
        const Vec candidate = sum[i] >= total / 2 ? value[i] : best;
        best = candidate < best ? candidate : best;
    }
    return best;
}

// Numbers of a row from column x on; beyond its ends the last one is repeated.
Vec load_replicated(const float* row, int64_t x, int64_t width) {
    if (x >= 0 && x + kLanes <= width) return load(row + x);
    float lanes[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = row[std::clamp<int64_t>(x + lane, 0, width - 1)];
    return load(lanes);
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

struct Sample {
    const float *colours, *flow, *trust;
    int64_t size, width, spacing;
    float steepness;
};

// Medians of both components of the flow for pixels x, x + 1, ... of row y; `rows` begin the rows of their neighbours.
void find_medians(const Sample& sample, const int64_t* rows, int64_t y, int64_t x, Vec* medians) {
    const auto [colours, flow, trust, size, width, spacing, steepness] = sample;
    Vec weight[kCount], value[kCount], centre[3];
    for (int c = 0; c < 3; ++c) centre[c] = load_replicated(colours + c * size + y * width, x, width);
    for (int i = 0; i < kCount; ++i) {
        const int64_t row = rows[i / kSide], column = x + (i % kSide - kReach) * spacing;
        Vec distance = {};
        for (int c = 0; c < 3; ++c) {
            const Vec difference = load_replicated(colours + c * size + row, column, width) - centre[c];
            distance += difference * difference;
        }
        const Vec exponent = distance * steepness, kept = exponent < kLeast ? splat(kLeast) : exponent;
        weight[i] = load_replicated(trust + row, column, width) * exponential<Vec, Whole>(kept);
    }
    for (int component = 0; component < 2; ++component) {
        for (int i = 0; i < kCount; ++i) {
            const int64_t row = component * size + rows[i / kSide], column = x + (i % kSide - kReach) * spacing;
            const Vec found = load_replicated(flow + row, column, width);
            value[i] = found == found ? found : splat(std::numeric_limits<float>::infinity());
        }
        medians[component] = weighted_median(value, weight);
    }
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
        for (int64_t task = next(); task >= 0; task = next()) {
            const int64_t number = task / bands, first = task % bands * kRows;
            const float* flows = flow + 2 * number * size;
            const Sample sample{colours + 3 * number * size, flows, trust + number * size, size, width, spacing, steepness};
            for (int64_t y = first; y < std::min(first + kRows, height); ++y) {
                float* row = out + 2 * number * size + y * width;
                int64_t rows[kSide];
                for (int i = 0; i < kSide; ++i)
                    rows[i] = std::clamp<int64_t>(y + (i - kReach) * spacing, 0, height - 1) * width;
                for (int c = 0; c < 2; ++c) {
                    std::copy_n(flows + c * size + y * width, width, row + c * size);
                    range_down(flows + c * size, rows, width, least.data(), most.data());
                    spread_across(least.data(), most.data(), spacing, width, spread.data() + c * width);
                }
                auto meet = [&](int64_t x) { return spread[x] > disagreement || spread[width + x] > disagreement; };
                for (int64_t x = 0; x < width; ++x) {
                    if (!meet(x)) continue;
                    // Where motions meet at one pixel they do at its neighbours, too: all of these are tried at once.
                    Vec medians[2];
                    find_medians(sample, rows, y, x, medians);
                    const int64_t count = std::min<int64_t>(kLanes, width - x);
                    for (int64_t lane = 0; lane < count; ++lane) {
                        if (!meet(x + lane)) continue;
                        for (int c = 0; c < 2; ++c) row[c * size + x + lane] = medians[c][lane];
                    }
                    x += count - 1;
                }
            }
        }
    });
}
