// Backward warping: maps read bilinearly where flow leads; flowzoo/operators/warp defines it. Arithmetic is float32's.
#include <type_traits>
#include <vector>

#include "half.h"
#include "threads.h"
#include "warp_places.h"

namespace {

// The result of a row where a pixel's channels lie beside each other.
template <class Number>
void warp_pixels(const Row& row, const Number* map, int64_t pixel, int64_t channels, Number* to) {
    for (int64_t x = 0; x < row.width; ++x, to += channels) {
        const Neighbours at = row.read<Neighbours>(x);
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

// The same of some planes, `step` numbers apart, where the row's neighbours are `found`.
template <int kCount>
void warp_planes(const Neighbours* found, int64_t width, const float* map, int64_t step, float* to) {
    for (int64_t x = 0; x < width; ++x) {
        const Neighbours at = found[x];
#pragma GCC unroll 4
        for (int c = 0; c < kCount; ++c) {
            const float* from = map + c * step;
            float sum = at.weight[0] * from[at.number[0]];
            for (int i = 1; i < 4; ++i) sum += at.weight[i] * from[at.number[i]];
            to[c * step + x] = at.any ? sum : 0.0f;
        }
    }
}

template <class Number>
int warp(
    const Number* maps, const float* flow, Number* out, int64_t batch, int64_t channels, int64_t height, int64_t width,
    int64_t pixel, int64_t threads) {
    const int64_t pixels = height * width;
    return run_tasks(0, batch * height, threads, [&](auto next) {
        std::vector<Neighbours> room(pixel == 0 ? width : 0);
        for (int64_t task = next(); task >= 0; task = next()) {
            const int64_t sample = task / height, y = task % height;
            const Row row(flow, task, height, width);
            if constexpr (std::is_same<Number, float>::value) {
                if (pixel == 0) {
                    const int64_t before = sample * channels * pixels;
                    for (int64_t x = 0; x < width; ++x) room[x] = row.read<Neighbours>(x);
                    in_groups(channels, [&](int64_t first, auto count) {
                        const int64_t plane = before + first * pixels;
                        warp_planes<count>(room.data(), width, maps + plane, pixels, out + plane + y * width);
                    });
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
