// 3x3 convolutions of stride 1 with a quarter or a fifth of the multiplications, for channels-last maps: Winograd's
// F(4x4, 3x3) and F(6x6, 3x3) (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016).
// All arithmetic is float32's, maps in bfloat16 or not. The order of all sums is fixed.

#include "threads.h"
#include "transpose.h"
#include "winograd_products.h"
#include "winograd_tiles.h"

namespace {

// Of a task: with fewer tiles, factors are read more often than they are worth.
constexpr int64_t kLeastTiles = 6;

// Maps whose channels from `split` on, a multiple of kLanes, may lie elsewhere.
template <class Number>
struct Input {
    const Number* first;
    const Number* second;
    int64_t first_pixel, second_pixel, split;
};

// The values of `channels` channels from `c` on of each of `count` tiles; a row of zeros follows an odd number of them.
template <class Tile, class Number>
void see(
    const Map& map, int64_t begin, int64_t count, const Input<Number>& input, int64_t c, int64_t channels, float* seen,
    int64_t row, int64_t size) {
    const int64_t left = input.split - c, before = left < 0 ? 0 : left < channels ? left : channels;
    for (int64_t t = 0; t < count; ++t) {
        float* at = seen + t * row;
        if (before > 0)
            spread_tile<typename Tile::Input, 1>(
                map, begin + t, input.first + c, input.first_pixel, before, at, size, kWide);
        if (before < channels)
            spread_tile<typename Tile::Input, 1>(
                map, begin + t, input.second + (c + before - input.split), input.second_pixel, channels - before,
                at + before, size, kWide);
    }
    if (count % 2)
        for (int64_t p = 0; p < Tile::kPlaces; ++p) std::memset(seen + p * size + count * row, 0, row * sizeof(float));
}

// Values of tap t from channel c to channel o are at from[t * tap + c * channel_step + o * output_step]; one of the two
// steps is 1.
struct Weights {
    const float* from;
    int64_t tap, channel_step, output_step;
};

// Transforms the weights from `count` channels from `channel` on, at most kWideLanes, to the first kLanes of `outputs` ones
// from `output` on, which may be none; those of channel c go to to[p * size + c * kWide].
template <class Tile>
void spread_weights(
    const Weights& of, int64_t channel, int64_t output, int64_t count, int64_t outputs, float* to, int64_t size) {
    const int64_t tap = of.tap, channel_step = of.channel_step, output_step = of.output_step;
    const float* const weights = of.from + channel * channel_step + output * output_step;
    float turned[9][kWideLanes * kLanes];  // a channel's outputs beside each other
    if (output_step != 1) {
        for (int t = 0; t < 9; ++t) {
            const float* from = weights + t * tap;
            if (kLanes == kWideLanes && count == kWideLanes && outputs >= kLanes) {
                Wide lines[kWideLanes];
                transpose(from, output_step, kWideLanes, lines);
                for (int64_t c = 0; c < count; ++c) wide_store(turned[t] + c * kWideLanes, lines[c]);
                continue;
            }
            for (int64_t o = 0; o < kLanes; ++o)
                for (int64_t c = 0; c < count; ++c)
                    turned[t][c * kLanes + o] = o < outputs ? from[o * output_step + c * channel_step] : 0.0f;
        }
    }
    for (int64_t c = 0; c < count; ++c) {
        transform<typename Tile::Weight>(
            [&](int i, int j) {
                const int t = 3 * i + j;
                if (output_step != 1) return load(turned[t] + c * kLanes);
                return outputs > 0 ? load_some(weights + t * tap + c * channel_step, outputs) : Vec{};
            },
            [&](int i, int j, Vec value) { store(to + (i * Tile::kSeen + j) * size + c * kWide, value); });
    }
}

// From a tile's sums to its pixels of the result.
template <class Tile, class Number>
void finish_tile(
    const Map& map, int64_t tile, const float* sums, int64_t size, const float* bias, float slope, int64_t outputs,
    Number* result, int64_t pixel) {
    const Pixels<Tile::kSide, 0> pixels(map, tile);
    pixels.with([&](auto number, auto whole) {
        for (int64_t o = 0; o < outputs; o += kLanes) {
            const Vec shift = bias ? load_some(bias + o, outputs - o) : Vec{};
            transform<typename Tile::Result>(
                [&](int i, int j) { return load(sums + (i * Tile::kSeen + j) * size + o); },
                [&](int i, int j, Vec sum) {
                    const int64_t n = number(i, j);
                    const Vec value = sum + shift;
                    if (whole || n >= 0)
                        store_some(result + n * pixel + o, value > 0 ? value : slope * value, outputs - o);
                });
        }
    });
}

// How many tiles a task has, an even number: at most `most`, and so that all threads end at about the same time.
int64_t block_size(int64_t tiles, int64_t most, int64_t threads) {
    const int64_t tasks = round_up((tiles + most - 1) / most, threads), size = round_up((tiles + tasks - 1) / tasks, 2);
    return size < kLeastTiles ? kLeastTiles : size;
}

template <class Tile, class Number, class Result>
int convolve(
    const Map& map, const Input<Number>& input, int64_t channels, const Weights& weights, const float* bias, Result* result,
    int64_t outputs, int64_t result_pixel, float slope, int64_t threads) {
    const int64_t panels = (outputs + kWide - 1) / kWide, wide = round_up(channels, kLanes);
    const int64_t factor_size = place_size(panels * channels * kWide);
    Buffer buffer(Tile::kPlaces * factor_size);
    float* const factors = buffer.get();
    // Factors are laid out as panels of kWide outputs.
    int status = run_tasks(0, panels * 4, threads, [&](auto next) {
        for (int64_t task = next(); task >= 0; task = next()) {
            const int64_t panel = task / 4, first = channels * (task % 4) / 4, last = channels * (task % 4 + 1) / 4;
            for (int64_t c = first; c < last; c += kWideLanes) {
                const int64_t count = last - c < kWideLanes ? last - c : kWideLanes;
                for (int64_t v = 0; v < kWide; v += kLanes) {
                    const int64_t o = panel * kWide + v;
                    float* at = factors + (panel * channels + c) * kWide + v;
                    spread_weights<Tile>(weights, c, o, count, outputs - o, at, factor_size);
                }
            }
        }
    });
    if (status != 0) return status;
    const int64_t block = block_size(map.tiles, Tile::kTiles, threads);
    // The fewer channels are all kept, the others are taken in turns.
    const int64_t together = channels > outputs ? Tile::kChunk : wide;
    const int64_t made = channels > outputs ? panels * kWide : Tile::kChunk;
    const int64_t size = place_size(block * together), sum_size = place_size(block * made);
    return run_tasks(0, (map.tiles + block - 1) / block, threads, [&](auto next) {
        Buffer seen(Tile::kPlaces * size), sums(Tile::kPlaces * sum_size);
        for (int64_t task = next(); task >= 0; task = next()) {
            const int64_t begin = task * block;
            const int64_t count = begin + block < map.tiles ? block : map.tiles - begin;
            for (int64_t o = 0; o < outputs; o += made) {
                for (int64_t c = 0; c < channels; c += together) {
                    const int64_t length = c + together < channels ? together : channels - c;
                    if (o == 0) see<Tile>(map, begin, count, input, c, length, seen.get(), together, size);
                    for (int64_t p = 0; p < Tile::kPlaces; ++p)
                        for (int64_t i = 0; i < made && o + i < outputs; i += kWide)
                            multiply_panel(
                                seen.get() + p * size, count, together, 1,
                                factors + p * factor_size + ((o + i) / kWide * channels + c) * kWide, outputs - o - i,
                                length, sums.get() + p * sum_size + i, made, c > 0);
                }
                const int64_t last = o + made < outputs ? o + made : outputs;
                for (int64_t t = 0; t < count; ++t)
                    finish_tile<Tile>(
                        map, begin + t, sums.get() + t * made, sum_size, bias ? bias + o : nullptr, slope, last - o,
                        result + o, result_pixel);
            }
        }
    });
}

}  // namespace

// Tiles have `side` x `side` pixels: 4 or 6.
// maps: (batch, height, width) pixels of float32 numbers, or bfloat16 ones where `maps_half`; the result alike.
// Weights of tap t from channel c to output o are at weights[t * tap + c * channel_step + o * output_step]; one of the two
// steps is 1. The result is act(convolution + bias): act(x) = x for x > 0, else slope * x. `bias` may be null.
// Channels from `split` on are in `second`; it may be null where `split` is `channels`.
extern "C" __attribute__((visibility("default"))) int flowzoo_winograd(
    const void* first, const void* second, const float* weights, const float* bias, void* result, int64_t batch,
    int64_t channels, int64_t height, int64_t width, int64_t outputs, int64_t dilation, int64_t split,
    int64_t first_pixel, int64_t second_pixel, int64_t result_pixel, int64_t tap, int64_t channel_step,
    int64_t output_step, int64_t side, int64_t maps_half, int64_t result_half, float slope, int64_t threads) {
    const Map map(batch, height, width, dilation, side);
    const auto run = [&](auto number, auto* to) {
        typedef decltype(number) Number;
        const Input<Number> input{
            static_cast<const Number*>(first), static_cast<const Number*>(second), first_pixel, second_pixel, split};
        const Weights from{weights, tap, channel_step, output_step};
        const auto by = [&](auto tile) {
            return convolve<decltype(tile)>(
                map, input, channels, from, bias, to, outputs, result_pixel, slope, threads);
        };
        return side == 6 ? by(Six()) : by(Four());
    };
    try {
        if (maps_half && result_half) return run(Half(), static_cast<Half*>(result));
        if (maps_half) return run(Half(), static_cast<float*>(result));
        if (result_half) return run(float(), static_cast<Half*>(result));
        return run(float(), static_cast<float*>(result));
    } catch (const std::bad_alloc&) {
        return 1;
    }
}
