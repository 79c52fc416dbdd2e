// Maps at twice their size, each channel by a window of 4x4; flowzoo/operators/channel_doubling defines it. All in float32.
#include <algorithm>

#include "half.h"
#include "threads.h"

namespace {

inline void put(float value, float* to) { *to = value; }
inline void put(float value, Half* to) { *to = narrow(value); }

// One channel of a row of the result, `step` numbers from pixel to pixel, from two rows of the map of which either may be
// null: `near` is as far from it as half a row of the result, `far` three halves.
template <class Number>
void double_row(
    const float* near, const float* far, const float* near_taps, const float* far_taps, int64_t width, int64_t step,
    float* room, Number* to) {
    // room[2x + j] takes what pixel x - 1 gives to the right and pixel x to the left; a pixel of zeros on either side.
    std::memset(room, 0, (2 * width + 2) * sizeof(float));
    for (int64_t i = 0; i < 2; ++i) {
        const float *row = i == 0 ? near : far, *taps = i == 0 ? near_taps : far_taps;
        if (!row) continue;
        for (int64_t x = 0; x < width; ++x) {
            room[2 * x] += row[x] * taps[0];
            room[2 * x + 1] += row[x] * taps[1];
        }
        for (int64_t x = 0; x < width; ++x) {
            room[2 * x + 2] += row[x] * taps[2];
            room[2 * x + 3] += row[x] * taps[3];
        }
    }
    for (int64_t x = 0; x < 2 * width; ++x) put(room[x + 1], to + x * step);
}

template <class Number>
int enlarge(
    const float* maps, const float* weights, Number* out, int64_t batch, int64_t channels, int64_t height, int64_t width,
    int64_t threads) {
    return run_tasks(0, batch * 2 * height, threads, [&](auto next) {
        Buffer room(2 * width + 2);
        for (int64_t task = next(); task >= 0; task = next()) {
            const int64_t sample = task / (2 * height), y = task % (2 * height), odd = y % 2, at = y / 2;
            const int64_t other = odd ? at + 1 : at - 1;  // row r of the map meets row 2 r + i - 1 by tap i
            for (int64_t c = 0; c < channels; ++c) {
                const float* plane = maps + (sample * channels + c) * height * width;
                const float* far = other >= 0 && other < height ? plane + other * width : nullptr;
                const float* window = weights + c * 16;
                double_row(plane + at * width, far, window + (odd ? 2 : 1) * 4, window + (odd ? 0 : 3) * 4, width, channels,
                           room.get(), out + task * 2 * width * channels + c);
            }
        }
    });
}

}  // namespace

// maps: (batch, channels, height, width); weights: (channels, 4, 4); out: (batch, 2 height, 2 width) pixels of `channels`
// numbers, bfloat16 where `half`, else float32.
extern "C" __attribute__((visibility("default"))) int flowzoo_channel_doubling(
    const float* maps, const float* weights, void* out, int64_t batch, int64_t channels, int64_t height, int64_t width,
    int64_t half, int64_t threads) {
    if (half) return enlarge(maps, weights, static_cast<Half*>(out), batch, channels, height, width, threads);
    return enlarge(maps, weights, static_cast<float*>(out), batch, channels, height, width, threads);
}
