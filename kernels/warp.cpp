// Backward warping: maps read bilinearly where flow leads; flowzoo/operators/warp defines it. Arithmetic is float32's.
#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include "half.h"
#include "threads.h"

namespace {

// The four neighbours of a place, by pixel numbers, and their weights. One outside the map has weight 0, and the number of
// its nearest pixel inside, which another neighbour is; where all are outside, or flow is not a number, `any` is false.
struct Neighbours {
    int64_t number[4];
    float weight[4];
    bool any;

    Neighbours(float x, float y, int64_t height, int64_t width) {
        any = x > -1 && x < static_cast<float>(width) && y > -1 && y < static_cast<float>(height);
        if (!any) x = y = 0;
        const float left = std::floor(x), top = std::floor(y), to_right = x - left, to_below = y - top;
        const int64_t column = static_cast<int64_t>(left), row = static_cast<int64_t>(top);
        const float across[2] = {column >= 0 ? 1 - to_right : 0.0f, column + 1 < width ? to_right : 0.0f};
        const float down[2] = {row >= 0 ? 1 - to_below : 0.0f, row + 1 < height ? to_below : 0.0f};
        for (int64_t i = 0; i < 4; ++i) {
            const int64_t y_inside = std::min(std::max<int64_t>(row + i / 2, 0), height - 1);
            number[i] = y_inside * width + std::min(std::max<int64_t>(column + i % 2, 0), width - 1);
            weight[i] = down[i / 2] * across[i % 2];
        }
    }
};

// A row of pixels and the flow from them.
struct Row {
    const float *flow_x, *flow_y;
    int64_t y, height, width;

    Neighbours neighbours(int64_t x) const {
        return Neighbours(static_cast<float>(x) + flow_x[x], static_cast<float>(y) + flow_y[x], height, width);
    }
};

// The result of a row where a pixel's channels lie beside each other.
template <class Number>
void warp_pixels(const Row& row, const Number* map, int64_t pixel, int64_t channels, Number* to) {
    for (int64_t x = 0; x < row.width; ++x, to += channels) {
        const Neighbours at = row.neighbours(x);
        if (!at.any) {
            std::memset(to, 0, channels * sizeof(Number));
            continue;
        }
        const Number* from[4];
        Vec weight[4];
        for (int i = 0; i < 4; ++i) {
            from[i] = map + at.number[i] * pixel;
            weight[i] = splat(at.weight[i]);
        }
        for (int64_t c = 0; c < channels; c += kLanes) {
            Vec sum = weight[0] * load_some(from[0] + c, channels - c);
            for (int i = 1; i < 4; ++i) sum += weight[i] * load_some(from[i] + c, channels - c);
            store_some(to + c, sum, channels - c);
        }
    }
}

// The same in planes, `step` numbers apart.
void warp_planes(const Row& row, const float* map, int64_t step, int64_t channels, Neighbours* room, float* to) {
    for (int64_t x = 0; x < row.width; ++x) room[x] = row.neighbours(x);
    for (int64_t c = 0; c < channels; ++c, map += step, to += step)
        for (int64_t x = 0; x < row.width; ++x) {
            const Neighbours& at = room[x];
            float sum = at.weight[0] * map[at.number[0]];
            for (int i = 1; i < 4; ++i) sum += at.weight[i] * map[at.number[i]];
            to[x] = at.any ? sum : 0.0f;
        }
}

template <class Number>
int warp(
    const Number* maps, const float* flow, Number* out, int64_t batch, int64_t channels, int64_t height, int64_t width,
    int64_t pixel, int64_t threads) {
    const int64_t pixels = height * width;
    return run_tasks(0, batch * height, threads, [&](auto next) {
        std::vector<Neighbours> room(pixel == 0 ? width : 0, Neighbours(0, 0, 1, 1));
        for (int64_t task = next(); task >= 0; task = next()) {
            const int64_t sample = task / height, y = task % height;
            const float* flow_x = flow + sample * 2 * pixels + y * width;
            const Row row{flow_x, flow_x + pixels, y, height, width};
            if constexpr (std::is_same<Number, float>::value) {
                if (pixel == 0) {
                    const int64_t before = sample * channels * pixels;
                    warp_planes(row, maps + before, pixels, channels, room.data(), out + before + y * width);
                    continue;
                }
            }
            warp_pixels(row, maps + sample * pixels * pixel, pixel, channels, out + task * width * channels);
        }
    });
}

}  // namespace

// maps: (batch, height, width) pixels of `channels` numbers, `pixel` numbers apart, float32 or, where `half`, bfloat16; or
// where `pixel` is 0, (batch, channels, height, width) numbers of float32. flow: (batch, 2, height, width). out: like maps,
// without gaps.
extern "C" __attribute__((visibility("default"))) int flowzoo_warp(
    const void* maps, const float* flow, void* out, int64_t batch, int64_t channels, int64_t height, int64_t width,
    int64_t pixel, int64_t half, int64_t threads) {
    const auto run = [&](auto* from, auto* to) {
        return warp(from, flow, to, batch, channels, height, width, pixel, threads);
    };
    if (half && pixel == 0) return 2;
    if (half) return run(static_cast<const Half*>(maps), static_cast<Half*>(out));
    return run(static_cast<const float*>(maps), static_cast<float*>(out));
}
