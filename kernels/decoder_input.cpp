// A decoder's input from its parts, channels last; flowzoo/operators/decoder_input defines it.
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "threads.h"
#include "transpose.h"
#include "vector.h"

namespace {

constexpr int64_t kPixels = 64;  // of a block, which stays in the cache next to the core
constexpr int64_t kTask = 1024;  // pixels of a task

// Some channels of one sample: a plane each, or beside each other in pixels that are `pixel` numbers apart.
struct Part {
    const float* from;
    int64_t channels;
    bool active;    // has the activation
    int64_t pixel;  // 0: planes
};

struct Activation {
    float slope, gain;
    float operator()(float value) const { return (value > 0 ? value : value * slope) * gain; }
    Vec operator()(Vec value) const { return (value > 0 ? value : value * slope) * gain; }
};

// Channels `first`.. of `count` pixels from `pixel` on; `out` is where their first number goes, `stride` from pixel to pixel.
void turn(const Part& part, int64_t first, int64_t size, int64_t pixel, int64_t count, Activation activation, float* out,
          int64_t stride) {
    const float* from = part.from + first * size + pixel;
    if (count < kWideLanes || part.channels - first < kWideLanes) {
        for (int64_t c = 0; c < std::min<int64_t>(kWideLanes, part.channels - first); ++c)
            for (int64_t i = 0; i < count; ++i) {
                const float value = from[c * size + i];
                out[i * stride + c] = part.active ? activation(value) : value;
            }
        return;
    }
    Wide turned[kWideLanes];
    transpose(from, size, kWideLanes, turned);
    for (int64_t lane = 0; lane < kWideLanes; ++lane) {
        Wide values = turned[lane];
        if (part.active) WIDE_LOOP values.part[i] = activation(values.part[i]);
        wide_store(out + lane * stride, values);
    }
}

}  // namespace

// cost, features, others: (batch, their channels, size) planes; features are pixels, `feature_pixel` numbers apart, where
// that is not 0. out: (batch, size, all channels).
extern "C" __attribute__((visibility("default"))) int flowzoo_decoder_input(
    const float* cost, const float* features, const float* others, float* out, int64_t batch, int64_t costs,
    int64_t feature_channels, int64_t other_channels, int64_t size, int64_t feature_pixel, float slope, float gain, int64_t threads) {
    const int64_t stride = costs + feature_channels + other_channels, tasks = (size + kTask - 1) / kTask;
    const Activation activation{slope, gain};
    return run_tasks(0, batch * tasks, threads, [&](auto next) {
        for (int64_t task = next(); task >= 0; task = next()) {
            const int64_t sample = task / tasks, begin = task % tasks * kTask, end = std::min(begin + kTask, size);
            const Part parts[] = {
                {cost + sample * costs * size, costs, true, 0},
                {features + sample * (feature_pixel ? feature_pixel : feature_channels) * size, feature_channels, false,
                 feature_pixel},
                {others + sample * other_channels * size, other_channels, false, 0},
            };
            for (int64_t block = begin; block < end; block += kPixels) {
                const int64_t last = std::min(block + kPixels, end);
                float* target = out + sample * size * stride;
                for (const Part& part : parts) {
                    for (int64_t pixel = block; part.pixel && pixel < last; ++pixel)
                        std::memcpy(target + pixel * stride, part.from + pixel * part.pixel, part.channels * sizeof(float));
                    for (int64_t first = 0; !part.pixel && first < part.channels; first += kWideLanes)
                        for (int64_t pixel = block; pixel < last; pixel += kWideLanes)
                            turn(part, first, size, pixel, std::min<int64_t>(kWideLanes, last - pixel), activation,
                                 target + pixel * stride + first, stride);
                    target += part.channels;
                }
            }
        }
    });
}
