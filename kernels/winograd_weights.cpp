// The gradient to the weights of 3x3 convolutions of stride 1 by Winograd's F(4x4, 3x3), for channels-last maps.
// The order of all sums is fixed.

#include "threads.h"
#include "winograd_tiles.h"

namespace {

constexpr int64_t kPlaces = 36;
// Tiles in a block, so that its values stay in the second-level cache.
constexpr int64_t kGradientTiles = 48;

}  // namespace

// The gradient to the weights: tap t from channel c to channel o goes to result[(o * 9 + t) * channels + c].
extern "C" __attribute__((visibility("default"))) int flowzoo_winograd_weights(
    const float* input, const float* gradient, float* result, int64_t batch, int64_t channels, int64_t height,
    int64_t width, int64_t outputs, int64_t dilation, int64_t input_pixel, int64_t gradient_pixel, int64_t threads) {
    const Map map(batch, height, width, dilation, 4);
    // A task has up to four panels of channels, fewer where there would be too few tasks.
    const int64_t panels = (channels + kWide - 1) / kWide, most = threads > 1 ? panels / (2 * threads) : panels;
    const int64_t step = (most < 1 ? 1 : most > 4 ? 4 : most) * kWide;
    const int64_t tall = round_up(outputs, kLanes), factor_size = place_size(kGradientTiles * tall);
    const int64_t panel_size = kGradientTiles * kWide, size = place_size(step * kGradientTiles);
    const int64_t sum_size = place_size(tall * step);
    return run_tasks(0, (channels + step - 1) / step, threads, [&](auto next) {
        Buffer seen(kPlaces * size), factors(kPlaces * factor_size), sums(kPlaces * sum_size);
        for (int64_t task = next(); task >= 0; task = next()) {
            const int64_t first = task * step, count = first + step < channels ? step : channels - first;
            for (int64_t begin = 0; begin < map.tiles; begin += kGradientTiles) {
                const int64_t tiles = begin + kGradientTiles < map.tiles ? kGradientTiles : map.tiles - begin;
                for (int64_t t = 0; t < tiles; ++t) {
                    spread_tile<InputTransform, 1>(
                        map, begin + t, input + first, input_pixel, count, seen.get() + t * kWide, size, panel_size);
                    spread_tile<GradientTransform, 0>(
                        map, begin + t, gradient, gradient_pixel, outputs, factors.get() + t * tall, factor_size, kWide);
                }
                for (int64_t p = 0; p < kPlaces; ++p)
                    for (int64_t c = 0; c < count; c += kWide)
                        multiply_panel(
                            factors.get() + p * factor_size, outputs, 1, tall,
                            seen.get() + p * size + c / kWide * panel_size, count - c, tiles,
                            sums.get() + p * sum_size + c, step, begin > 0);
            }
            for (int64_t o = 0; o < outputs; ++o) {
                for (int64_t c = 0; c < count; c += kLanes) {
                    const float* const from = sums.get() + o * step + c;
                    float* const to = result + o * 9 * channels + first + c;
                    transform<WeightGradientTransform>(
                        [&](int i, int j) { return load(from + (i * 6 + j) * sum_size); },
                        [&](int i, int j, Vec sum) { store_some(to + (i * 3 + j) * channels, sum, count - c); });
                }
            }
        }
    });
}
