// Gradients of backward warping, in float32; flowzoo/operators/warp defines it.
#include <algorithm>
#include <cstring>
#include <vector>

#include "half.h"
#include "threads.h"
#include "warp_places.h"

namespace {

constexpr int64_t kTask = 8;  // planes of a task

struct Sizes {
    int64_t batch, channels, height, width;
    int64_t pixels() const { return height * width; }
};

// To flow: products of each neighbour with the gradient, summed over channels, times the change of its weight.

// A row whose pixels' channels lie beside each other, `pixel` and `step` numbers from one pixel to the next.
template <class Number>
void flow_of_pixels(const Row& row, const Number* map, int64_t pixel, const Number* gradient, int64_t step, int64_t channels,
                    float* to_x, float* to_y) {
    for (int64_t x = 0; x < row.width; ++x, gradient += step) {
        const Changes at = row.read<Changes>(x);
        Wide by_x{}, by_y{};
        for (int i = 0; i < 4; ++i) {
            if (!at.counts[i]) continue;
            const Number* from = map + at.number[i] * pixel;
            Vec product{};
            for (int64_t c = 0; c < channels; c += kLanes)
                product += load_some(from + c, channels - c) * load_some(gradient + c, channels - c);
            by_x.part[0] += splat(at.by_x[i]) * product;
            by_y.part[0] += splat(at.by_y[i]) * product;
        }
        to_x[x] = wide_sum(by_x);
        to_y[x] = wide_sum(by_y);
    }
}

// Some planes, `step` numbers apart, of a row whose places are `found`.
template <int kCount>
void flow_of_planes(const Changes* found, int64_t width, const float* map, const float* gradient, int64_t step, float* to_x,
                    float* to_y) {
    for (int64_t x = 0; x < width; ++x) {
        const Changes at = found[x];
        float product[4] = {};
#pragma GCC unroll 4
        for (int c = 0; c < kCount; ++c)
            for (int i = 0; i < 4; ++i) product[i] += map[c * step + at.number[i]] * gradient[c * step + x];
        for (int i = 0; i < 4; ++i) {
            if (!at.counts[i]) continue;
            to_x[x] += at.by_x[i] * product[i];
            to_y[x] += at.by_y[i] * product[i];
        }
    }
}

template <class Number>
int to_flow(const Number* maps, int64_t pixel, const float* flow, const Number* gradient, int64_t step, float* out,
            const Sizes& of, int64_t threads) {
    return run_tasks(0, of.batch * of.height, threads, [&](auto next) {
        std::vector<Changes> room(pixel == 0 ? of.width : 0);
        for (int64_t task = next(); task >= 0; task = next()) {
            const int64_t sample = task / of.height, y = task % of.height;
            const Row row(flow, task, of.height, of.width);
            float* to_x = out + sample * 2 * of.pixels() + y * of.width;
            float* to_y = to_x + of.pixels();
            if constexpr (std::is_same<Number, float>::value) {
                if (pixel == 0) {
                    for (int64_t x = 0; x < of.width; ++x) {
                        room[x] = row.read<Changes>(x);
                        to_x[x] = to_y[x] = 0;
                    }
                    in_groups(of.channels, [&](int64_t first, auto count) {
                        const int64_t plane = (sample * of.channels + first) * of.pixels();
                        const float* const given = gradient + plane + y * of.width;
                        flow_of_planes<count>(room.data(), of.width, maps + plane, given, of.pixels(), to_x, to_y);
                    });
                    continue;
                }
            }
            flow_of_pixels(row, maps + sample * of.pixels() * pixel, pixel, gradient + task * of.width * step, step,
                           of.channels, to_x, to_y);
        }
    });
}

// To the maps: each pixel's gradient is added to its four neighbours. Tasks have channels of their own, so that no two add to
// one number, and every number is a sum in the order of the pixels.

template <class Number>
void maps_of_pixels(const Row& row, const Number* gradient, int64_t step, int64_t channels, float* to, int64_t pixel) {
    for (int64_t x = 0; x < row.width; ++x, gradient += step) {
        const Neighbours at = row.read<Neighbours>(x);
        for (int i = 0; at.any && i < 4; ++i) {
            if (at.weight[i] == 0) continue;
            const Vec weight = splat(at.weight[i]);
            float* sums = to + at.number[i] * pixel;
            for (int64_t c = 0; c < channels; c += kLanes) {
                const int64_t left = channels - c;
                store_some(sums + c, load_some(sums + c, left) + weight * load_some(gradient + c, left), left);
            }
        }
    }
}

template <int kCount>
void maps_of_planes(const Neighbours* found, int64_t width, const float* gradient, int64_t step, float* to) {
    for (int64_t x = 0; x < width; ++x) {
        const Neighbours at = found[x];
        for (int i = 0; at.any && i < 4; ++i) {
            if (at.weight[i] == 0) continue;
#pragma GCC unroll 4
            for (int c = 0; c < kCount; ++c) to[c * step + at.number[i]] += at.weight[i] * gradient[c * step + x];
        }
    }
}

template <class Number>
int to_maps(const float* flow, const Number* gradient, int64_t step, float* out, const Sizes& of, int64_t threads) {
    const int64_t pieces = std::max<int64_t>(1, (threads + of.batch - 1) / of.batch);
    const int64_t share = ((of.channels + pieces - 1) / pieces + kLanes - 1) / kLanes * kLanes;
    const int64_t block = step == 0 ? kTask : share, blocks = (of.channels + block - 1) / block;
    return run_tasks(0, of.batch * blocks, threads, [&](auto next) {
        std::vector<Neighbours> room(step == 0 ? of.width : 0);
        for (int64_t task = next(); task >= 0; task = next()) {
            const int64_t sample = task / blocks, first = task % blocks * block;
            const int64_t channels = std::min(block, of.channels - first), before = sample * of.channels * of.pixels();
            for (int64_t y = 0; y < of.height; ++y) {
                const int64_t number = sample * of.height + y;
                const Row row(flow, number, of.height, of.width);
                if constexpr (std::is_same<Number, float>::value) {
                    if (step == 0) {
                        for (int64_t x = 0; x < of.width; ++x) room[x] = row.read<Neighbours>(x);
                        in_groups(channels, [&](int64_t c, auto count) {
                            const int64_t plane = before + (first + c) * of.pixels();
                            const float* const given = gradient + plane + y * of.width;
                            maps_of_planes<count>(room.data(), of.width, given, of.pixels(), out + plane);
                        });
                        continue;
                    }
                }
                maps_of_pixels(row, gradient + number * of.width * step + first, step, channels, out + before + first,
                               of.channels);
            }
        }
    });
}

}  // namespace

// maps, gradient: (batch, height, width) pixels of `channels` numbers, `pixel` and `step` numbers apart, float32 or, where
// `half`, bfloat16; or where both are 0, (batch, channels, height, width) numbers of float32. flow: (batch, 2, height, width).
// to_maps: like maps, without gaps, float32, and 0 before; to_flow: like flow. Either may be null.
extern "C" __attribute__((visibility("default"))) int flowzoo_warp_gradients(
    const void* maps, const float* flow, const void* gradient, float* maps_gradient, float* flow_gradient, int64_t batch,
    int64_t channels, int64_t height, int64_t width, int64_t pixel, int64_t step, int64_t half, int64_t threads) {
    if ((pixel == 0) != (step == 0) || (half && pixel == 0)) return 2;
    const Sizes of{batch, channels, height, width};
    const auto run = [&](auto* from, auto* given) {
        const int failed = flow_gradient ? to_flow(from, pixel, flow, given, step, flow_gradient, of, threads) : 0;
        return failed || !maps_gradient ? failed : to_maps(flow, given, step, maps_gradient, of, threads);
    };
    if (half) return run(static_cast<const Half*>(maps), static_cast<const Half*>(gradient));
    return run(static_cast<const float*>(maps), static_cast<const float*>(gradient));
}
