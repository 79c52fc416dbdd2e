// The gradient to the weights of 3x3 convolutions of stride 1 by Winograd's F(4x4, 3x3), for channels-last maps.
// The order of all sums is fixed.

#include <algorithm>
#include <new>

#include "threads.h"
#include "winograd_tiles.h"

namespace {

constexpr int64_t kPlaces = 36;
// Tiles in a block, so that its values stay in the second-level cache.
constexpr int64_t kGradientTiles = 48;
// Tiles of a part: fewer would not be worth a result of their own.
constexpr int64_t kPartTiles = 64;
constexpr int64_t kMostParts = 4;

struct Size {
    int64_t channels, outputs, input_pixel, gradient_pixel;
};

// Tap t from channel c to channel o goes to result[(o * 9 + t) * channels + c].
template <class Number>
int weights(const Map& map, const Number* input, const Number* gradient, float* result, const Size& of, int64_t threads) {
    // The tiles are shared out in parts, by the map alone, so that sums do not depend on the threads; a part's result is
    // added to the first one's. A task has a part and up to four panels of channels, fewer where there would be too few tasks.
    const int64_t panels = (of.channels + kWide - 1) / kWide;
    const int64_t parts = std::max<int64_t>(1, std::min(map.tiles / kPartTiles, kMostParts));
    const int64_t most = threads > 1 ? panels * parts / (2 * threads) : panels;
    const int64_t step = (most < 1 ? 1 : most > 4 ? 4 : most) * kWide, groups = (of.channels + step - 1) / step;
    const int64_t tall = round_up(of.outputs, kLanes), factor_size = place_size(kGradientTiles * tall);
    const int64_t panel_size = kGradientTiles * kWide, size = place_size(step * kGradientTiles);
    const int64_t sum_size = place_size(tall * step), numbers = of.outputs * 9 * of.channels;
    Buffer others(std::max<int64_t>(1, (parts - 1) * numbers));
    const int failed = run_tasks(0, groups * parts, threads, [&](auto next) {
        Buffer seen(kPlaces * size), factors(kPlaces * factor_size), sums(kPlaces * sum_size);
        for (int64_t task = next(); task >= 0; task = next()) {
            const int64_t first = task / parts * step, part = task % parts;
            const int64_t count = first + step < of.channels ? step : of.channels - first;
            const int64_t start = map.tiles * part / parts, end = map.tiles * (part + 1) / parts;
            for (int64_t begin = start; begin < end; begin += kGradientTiles) {
                const int64_t tiles = begin + kGradientTiles < end ? kGradientTiles : end - begin;
                for (int64_t t = 0; t < tiles; ++t) {
                    spread_tile<InputTransform, 1>(
                        map, begin + t, input + first, of.input_pixel, count, seen.get() + t * kWide, size, panel_size);
                    spread_tile<GradientTransform, 0>(
                        map, begin + t, gradient, of.gradient_pixel, of.outputs, factors.get() + t * tall, factor_size, kWide);
                }
                for (int64_t p = 0; p < kPlaces; ++p)
                    for (int64_t c = 0; c < count; c += kWide)
                        multiply_panel(
                            factors.get() + p * factor_size, of.outputs, 1, tall,
                            seen.get() + p * size + c / kWide * panel_size, count - c, tiles,
                            sums.get() + p * sum_size + c, step, begin > start);
            }
            float* const own = part == 0 ? result : others.get() + (part - 1) * numbers;
            for (int64_t o = 0; o < of.outputs; ++o) {
                for (int64_t c = 0; c < count; c += kLanes) {
                    const float* const from = sums.get() + o * step + c;
                    float* const to = own + o * 9 * of.channels + first + c;
                    transform<WeightGradientTransform>(
                        [&](int i, int j) { return load(from + (i * 6 + j) * sum_size); },
                        [&](int i, int j, Vec sum) { store_some(to + (i * 3 + j) * of.channels, sum, count - c); });
                }
            }
        }
    });
    for (int64_t part = 1; part < parts; ++part)
        for (int64_t n = 0; n < numbers; ++n) result[n] += others.get()[(part - 1) * numbers + n];
    return failed;
}

}  // namespace

// The gradient to the weights. input and gradient: pixels of `channels` and `outputs` numbers, so many numbers apart, of
// float32 or, where `half`, bfloat16.
extern "C" __attribute__((visibility("default"))) int flowzoo_winograd_weights(
    const void* input, const void* gradient, float* result, int64_t batch, int64_t channels, int64_t height, int64_t width,
    int64_t outputs, int64_t dilation, int64_t input_pixel, int64_t gradient_pixel, int64_t half, int64_t threads) {
    const Map map(batch, height, width, dilation, 4);
    const Size of{channels, outputs, input_pixel, gradient_pixel};
    const auto run = [&](auto* from, auto* given) { return weights(map, from, given, result, of, threads); };
    try {
        if (half) return run(static_cast<const Half*>(input), static_cast<const Half*>(gradient));
        return run(static_cast<const float*>(input), static_cast<const float*>(gradient));
    } catch (const std::bad_alloc&) {
        return 1;
    }
}
