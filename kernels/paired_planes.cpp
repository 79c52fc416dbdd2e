// Both images' maps of a pair beside each other, a plane each; flowzoo/operators/paired_planes defines it.
#include <algorithm>
#include <cstdint>

#include "threads.h"
#include "transpose.h"
#include "vector.h"

namespace {

constexpr int64_t kTask = 1024;  // pixels of a task

// Channels `first`.. of `count` pixels, a pixel's beside each other, to planes that are `step` numbers apart.
void turn(const float* pixels, int64_t channels, int64_t first, int64_t count, float* planes, int64_t step) {
    const int64_t wanted = std::min<int64_t>(kWideLanes, channels - first);
    if (count < kWideLanes || wanted < kWideLanes) {
        for (int64_t c = 0; c < wanted; ++c)
            for (int64_t i = 0; i < count; ++i) planes[c * step + i] = pixels[i * channels + first + c];
        return;
    }
    Wide turned[kWideLanes];
    transpose(pixels + first, channels, kWideLanes, turned);
    for (int64_t c = 0; c < kWideLanes; ++c) wide_store(planes + c * step, turned[c]);
}

}  // namespace

// maps: (2 batch, size, channels), the first images before the second ones. out: (batch, channels, 2, size).
extern "C" __attribute__((visibility("default"))) int flowzoo_paired_planes(const float* maps, float* out, int64_t batch,
                                                                            int64_t channels, int64_t size,
                                                                            int64_t threads) {
    const int64_t tasks = (size + kTask - 1) / kTask;
    return run_tasks(0, 2 * batch * tasks, threads, [&](auto next) {
        for (int64_t task = next(); task >= 0; task = next()) {
            const int64_t image = task / tasks, begin = task % tasks * kTask, end = std::min(begin + kTask, size);
            float* target = out + (image % batch * channels * 2 + image / batch) * size;
            for (int64_t pixel = begin; pixel < end; pixel += kWideLanes)
                for (int64_t first = 0; first < channels; first += kWideLanes)
                    turn(maps + (image * size + pixel) * channels, channels, first,
                         std::min<int64_t>(kWideLanes, end - pixel), target + first * 2 * size + pixel, 2 * size);
        }
    });
}
