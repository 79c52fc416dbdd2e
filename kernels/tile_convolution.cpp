// Convolutions of channels-last maps as products of bfloat16 matrices, with sums, bias and leaky ReLU in float32.
//
// A block is up to 8 rows of 16 pixels of the result. What they see of the maps is packed into a small map of its own,
// 32 channels after the other, zeros around the image included; a tile of a product is 16 pixels in a row of it, by 32
// channels. The weights are packed into tiles of 32 channels by 16 outputs. Maps of few channels have those of a row of
// the window side by side. A dilated problem is dilation^2 undilated ones on the phases of the map.
//
// With two terms, numbers and weights are split in what bfloat16 holds of them and what it holds of the rest; three of
// the four products count, which leaves errors of 2^-17 of a product: float32 for most purposes.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "matrix_tiles.h"
#include "threads.h"
#include "transpose.h"
#include "vector.h"

namespace {

constexpr int64_t kMostRows = 8, kMostBytes = 640 << 10;  // of a block, which must stay in the second-level cache

// Some bfloat16 numbers, and what they leave of the numbers that they stand for.
struct Terms {
    Half* first;
    Half* rest;  // null where it is not wanted
};

inline void split(float value, int64_t place, Terms to) {
    const Half first = narrow(value);
    to.first[place] = first;
    if (to.rest) to.rest[place] = narrow(value - widen(first));
}

#if defined(FLOWZOO_PAIRS)
inline __m512 widened(__m256i halves) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16)); }

// 32 numbers.
inline void split_line(__m512 low, __m512 high, int64_t place, Terms to) {
    const __m512i first = (__m512i)_mm512_cvtne2ps_pbh(high, low);
    _mm512_storeu_si512(to.first + place, first);
    if (!to.rest) return;
    low = _mm512_sub_ps(low, widened(_mm512_castsi512_si256(first)));
    high = _mm512_sub_ps(high, widened(_mm512_extracti64x4_epi64(first, 1)));
    _mm512_storeu_si512(to.rest + place, (__m512i)_mm512_cvtne2ps_pbh(high, low));
}

inline __mmask32 lanes(int64_t count) { return count >= kDepth ? ~__mmask32(0) : (__mmask32(1) << count) - 1; }

// The first `count` of kDepth numbers; the others are 0.
inline void pack(const float* from, int64_t count, int64_t place, Terms to) {
    const __mmask32 wanted = lanes(count);
    split_line(
        _mm512_maskz_loadu_ps(static_cast<__mmask16>(wanted), from),
        _mm512_maskz_loadu_ps(static_cast<__mmask16>(wanted >> 16), from + 16), place, to);
}
inline void pack(const Half* from, int64_t count, int64_t place, Terms to) {
    _mm512_storeu_si512(to.first + place, _mm512_maskz_loadu_epi16(lanes(count), from));
}
#else
inline void pack(const float* from, int64_t count, int64_t place, Terms to) {
    for (int64_t i = 0; i < kDepth; ++i) split(i < count ? from[i] : 0.0f, place + i, to);
}
inline void pack(const Half* from, int64_t count, int64_t place, Terms to) {
    for (int64_t i = 0; i < kDepth; ++i) to.first[place + i] = i < count ? from[i] : 0;
}
#endif

inline void pack_nothing(int64_t place, Terms to) {
    std::memset(to.first + place, 0, kDepth * sizeof(Half));
    if (to.rest) std::memset(to.rest + place, 0, kDepth * sizeof(Half));
}

struct Sizes {
    int64_t batch, channels, height, width, outputs, rows, columns;  // rows, columns: of the result
    int64_t tall, wide, stride, dilation, above, before;             // window; zeros above and before the maps
    int64_t pixel, result_pixel;                                     // numbers from pixel to pixel
};

// How the work is cut up.
struct Plan {
    Sizes of;
    bool folded;               // a row of the window side by side
    int64_t depth, chunks;     // numbers of a packed pixel, and by kDepth
    int64_t across;            // columns of the window that are steps of their own
    int64_t step;              // pixels of the block from tile row to tile row
    int64_t block_rows, pack_rows, pack_columns;
    int64_t down, along, blocks;  // blocks of a phase, and of everything
    int64_t chunk_size, panels;   // numbers of a chunk of a block; kSide outputs each

    Plan(const Sizes& sizes, int64_t terms) : of(sizes) {
        folded = of.channels < kDepth && of.wide > 1 && of.wide <= kDepth;
        depth = folded ? of.channels * of.wide : of.channels;
        chunks = (depth + kDepth - 1) / kDepth;
        across = folded ? 1 : of.wide;
        step = folded ? 1 : of.stride;
        pack_columns = (kSide - 1) * step + across;
        const int64_t phase_rows = (of.rows + of.dilation - 1) / of.dilation;
        block_rows = std::min(kMostRows, (phase_rows + 1) / 2 * 2);
        while (block_rows > 2 && chunks * pack_size(block_rows) * terms * 2 > kMostBytes) block_rows -= 2;
        pack_rows = (block_rows - 1) * of.stride + of.tall;
        chunk_size = pack_size(block_rows);
        down = (phase_rows + block_rows - 1) / block_rows;
        along = ((of.columns + of.dilation - 1) / of.dilation + kSide - 1) / kSide;
        blocks = of.batch * of.dilation * of.dilation * down * along;
        panels = (of.outputs + kSide - 1) / kSide;
    }

    int64_t pack_size(int64_t rows) const { return ((rows - 1) * of.stride + of.tall) * pack_columns * kDepth; }
    int64_t panel_size() const { return chunks * of.tall * across * kTile; }
};

// Where a block is: sample, phase, and the first of its rows and columns of that phase.
struct Place {
    int64_t sample, phase_row, phase_column, row, column;

    Place(const Plan& plan, int64_t block) {
        const int64_t d = plan.of.dilation;
        column = block % plan.along * kSide;
        row = block / plan.along % plan.down * plan.block_rows;
        const int64_t phase = block / (plan.along * plan.down) % (d * d);
        sample = block / (plan.along * plan.down * d * d);
        phase_row = phase / d;
        phase_column = phase % d;
    }
};

// What a block sees.
template <class Number>
void pack_block(const Plan& plan, const Place& place, const Number* maps, Terms to) {
    const Sizes& of = plan.of;
    const int64_t first_row = place.phase_row + place.row * of.stride * of.dilation - of.above;
    const int64_t first_column = place.phase_column + place.column * of.stride * of.dilation - of.before;
    const bool joined = of.dilation == 1 && of.pixel == of.channels;  // a row of the window lies in one piece
    const int64_t between = plan.folded ? of.stride * of.dilation : of.dilation;
    for (int64_t i = 0; i < plan.pack_rows; ++i) {
        const int64_t y = first_row + i * of.dilation;
        const Number* line = maps + (place.sample * of.height + y) * of.width * of.pixel;
        for (int64_t j = 0; j < plan.pack_columns; ++j) {
            const int64_t x = first_column + j * between, at = (i * plan.pack_columns + j) * kDepth;
            if (y < 0 || y >= of.height) {
                for (int64_t c = 0; c < plan.chunks; ++c) pack_nothing(at + c * plan.chunk_size, to);
            } else if (!plan.folded) {
                const bool inside = x >= 0 && x < of.width;
                for (int64_t c = 0; c < plan.chunks; ++c) {
                    const int64_t target = at + c * plan.chunk_size;
                    if (inside)
                        pack(line + x * of.pixel + c * kDepth, of.channels - c * kDepth, target, to);
                    else
                        pack_nothing(target, to);
                }
            } else if (joined && x >= 0 && x + of.wide <= of.width) {
                for (int64_t c = 0; c < plan.chunks; ++c)
                    pack(line + x * of.pixel + c * kDepth, plan.depth - c * kDepth, at + c * plan.chunk_size, to);
            } else {
                Number side[kDepth * kDepth] = {};
                for (int64_t k = 0; k < of.wide; ++k) {
                    const int64_t seen = x + k * of.dilation;
                    if (seen >= 0 && seen < of.width)
                        std::memcpy(side + k * of.channels, line + seen * of.pixel, of.channels * sizeof(Number));
                }
                for (int64_t c = 0; c < plan.chunks; ++c)
                    pack(side + c * kDepth, plan.depth - c * kDepth, at + c * plan.chunk_size, to);
            }
        }
    }
}

// Of an output's weights, tap t of channel c is at from[t * tap + c * channel].
struct Weights {
    const float* from;
    int64_t tap, channel;
};

// Tiles of one panel's weights.
void pack_weights(const Plan& plan, const Weights& weights, int64_t panel, Terms to) {
    const Sizes& of = plan.of;
    const int64_t output = of.tall * of.wide * of.channels, taps = of.tall * plan.across;
    const int64_t outputs = std::min(kSide, of.outputs - panel * kSide);
    const bool beside = weights.channel == 1 && weights.tap == of.channels;
    Half lines[2][kSide * kDepth];
    const Terms turned{lines[0], to.rest ? lines[1] : nullptr};
    for (int64_t c = 0; c < plan.chunks; ++c)
        for (int64_t t = 0; t < taps; ++t) {
            const int64_t count = std::min(kDepth, plan.depth - c * kDepth);
            for (int64_t o = 0; o < kSide; ++o) {
                const float* from = weights.from + (panel * kSide + o) * output;
                if (o >= outputs) {
                    pack_nothing(o * kDepth, turned);
                } else if (beside) {
                    pack(from + t * plan.depth + c * kDepth, count, o * kDepth, turned);
                } else {
                    float line[kDepth];
                    const int64_t first = plan.folded ? t * of.wide : t;
                    for (int64_t k = 0; k < count; ++k) {
                        const int64_t number = c * kDepth + k, beyond = plan.folded ? number / of.channels : 0;
                        line[k] = from[(first + beyond) * weights.tap + (number - beyond * of.channels) * weights.channel];
                    }
                    pack(line, count, o * kDepth, turned);
                }
            }
            // Two numbers of an output beside each other are moved as one of 32 bits.
            const int64_t tile = (c * taps + t) * kTile;
            for (int term = 0; term < (to.rest ? 2 : 1); ++term) {
                Wide columns[kWideLanes];
                transpose(reinterpret_cast<const float*>(lines[term]), kDepth / 2, kWideLanes, columns);
                Half* target = (term ? to.rest : to.first) + tile;
                std::memcpy(target, columns, sizeof columns);
            }
        }
}

#if defined(FLOWZOO_PAIRS)
inline void put(float* to, __m512 value, __mmask16 wanted) { _mm512_mask_storeu_ps(to, wanted, value); }
inline void put(Half* to, __m512 value, __mmask16 wanted) {
    _mm256_mask_storeu_epi16(to, wanted, (__m256i)_mm512_cvtneps_pbh(value));
}
inline __m512 there(const float* from, __mmask16 wanted) { return _mm512_maskz_loadu_ps(wanted, from); }
inline __m512 there(const Half* from, __mmask16 wanted) { return widened(_mm256_maskz_loadu_epi16(wanted, from)); }

// Adds to what is there where `add`.
template <class Number>
inline void put_line(const float* sums, const float* shift, bool add, float slope, int64_t count, Number* to) {
    const __mmask16 wanted = static_cast<__mmask16>(lanes(count));
    Vec value = load(sums) + load(shift);
    if (add) value += (Vec)there(to, wanted);
    put(to, (__m512)(value > 0 ? value : slope * value), wanted);
}
#else
inline void put(float* to, float value) { *to = value; }
inline void put(Half* to, float value) { *to = narrow(value); }
inline float there(const float* from) { return *from; }
inline float there(const Half* from) { return widen(*from); }

template <class Number>
inline void put_line(const float* sums, const float* shift, bool add, float slope, int64_t count, Number* to) {
    for (int64_t i = 0; i < count; ++i) {
        const float value = sums[i] + shift[i] + (add ? there(to + i) : 0.0f);
        put(to + i, value > 0 ? value : slope * value);
    }
}
#endif

// A tile of sums, with bias and leaky ReLU, to the result's pixels.
template <class Number>
void finish(const Plan& plan, const Place& place, int64_t row, int64_t output, const float* sums, const float* shift,
            bool add, float slope, Number* result) {
    const Sizes& of = plan.of;
    const int64_t y = place.phase_row + (place.row + row) * of.dilation;
    if (y >= of.rows) return;
    const int64_t outputs = std::min(kSide, of.outputs - output);
    const int64_t x = place.phase_column + place.column * of.dilation, step = of.dilation * of.result_pixel;
    const int64_t count = std::min(kSide, (of.columns - x + of.dilation - 1) / of.dilation);
    Number* to = result + ((place.sample * of.rows + y) * of.columns + x) * of.result_pixel + output;
    for (int64_t i = 0; i < count; ++i) put_line(sums + i * kSide, shift + output, add, slope, outputs, to + i * step);
}

// The lines of the maps that a block sees.
template <class Number>
Lines seen_lines(const Plan& plan, const Place& place, const Number* maps) {
    const Sizes& of = plan.of;
    const int64_t y = place.phase_row + place.row * of.stride * of.dilation - of.above;
    const int64_t x = place.phase_column + place.column * of.stride * of.dilation - of.before;
    const int64_t pixel = of.pixel * sizeof(Number);
    Lines lines;
    lines.at = reinterpret_cast<uintptr_t>(maps) + ((place.sample * of.height + y) * of.width + x) * pixel;
    lines.row_step = of.dilation * of.width * pixel;
    lines.pixel_step = (plan.folded ? of.stride : 1) * of.dilation * pixel;
    lines.bytes = of.channels * sizeof(Number);
    lines.rows = std::min(plan.pack_rows, (of.height - y + of.dilation - 1) / of.dilation);
    lines.pixels = plan.pack_columns;
    return lines;
}

// The lines of the result of two rows of a block and two panels.
template <class Number>
Lines written_lines(const Plan& plan, const Place& place, int64_t row, int64_t output, Number* result) {
    const Sizes& of = plan.of;
    const int64_t y = place.phase_row + (place.row + row) * of.dilation;
    const int64_t x = place.phase_column + place.column * of.dilation, pixel = of.result_pixel * sizeof(Number);
    Lines lines;
    lines.at = reinterpret_cast<uintptr_t>(result + output) + ((place.sample * of.rows + y) * of.columns + x) * pixel;
    lines.row_step = of.dilation * of.columns * pixel;
    lines.pixel_step = of.dilation * pixel;
    lines.bytes = std::min(2 * kSide, of.outputs - output) * sizeof(Number);
    lines.rows = y + of.dilation < of.rows ? 2 : 1;
    lines.pixels = std::min(kSide, (of.columns - x + of.dilation - 1) / of.dilation);
    return lines;
}

template <class Number, class Result>
int convolve(const Plan& plan, const Number* maps, const Weights& weights, const float* bias, Result* result, int64_t terms,
             bool add, float slope, int64_t threads) {
    const Sizes& of = plan.of;
    const int64_t panel_size = plan.panel_size(), taps = of.tall * plan.across, block_size = plan.chunks * plan.chunk_size;
    const int64_t seen_terms = std::is_same<Number, Half>::value ? 1 : terms;  // nothing is left of these
    Buffer factor_buffer(plan.panels * panel_size * terms / 2);
    Half* const factors = reinterpret_cast<Half*>(factor_buffer.get());
    Half* const factors_rest = terms == 2 ? factors + plan.panels * panel_size : nullptr;
    int status = run_tasks(0, plan.panels, threads, [&](auto next) {
        for (int64_t panel = next(); panel >= 0; panel = next())
            pack_weights(plan, weights, panel,
                         {factors + panel * panel_size, factors_rest ? factors_rest + panel * panel_size : nullptr});
    });
    if (status != 0) return status;
    Buffer shift(plan.panels * kSide), offset_buffer(2 * taps);
    for (int64_t o = 0; o < plan.panels * kSide; ++o) shift.get()[o] = bias && o < of.outputs ? bias[o] : 0.0f;
    int64_t* const offset = reinterpret_cast<int64_t*>(offset_buffer.get());
    for (int64_t t = 0; t < taps; ++t) offset[t] = (t / plan.across * plan.pack_columns + t % plan.across) * kDepth;
    const Steps steps{plan.chunks, taps, plan.chunk_size, plan.step * kDepth, offset};
    // Where there are few blocks, several tasks share one block's outputs.
    const int64_t pairs = (plan.panels + 1) / 2;
    const int64_t shares = std::min(pairs, std::max<int64_t>(1, 3 * threads / plan.blocks));
    return run_tasks(0, plan.blocks * shares, threads, [&](auto next) {
        Buffer seen_buffer(block_size * seen_terms / 2), sums(4 * kSide * kSide);
        Half* const seen = reinterpret_cast<Half*>(seen_buffer.get());
        Half* const seen_rest = seen_terms == 2 ? seen + block_size : nullptr;
        const TilesInUse in_use;
        for (int64_t task = next(), after; task >= 0; task = after) {
            after = next();
            const Place place(plan, task / shares);
            Ahead ahead;
            if (after >= 0) ahead.read = seen_lines(plan, Place(plan, after / shares), maps);
            ahead.reads = ahead.read.count() / (plan.block_rows / 2 * pairs / shares * plan.chunks * taps) + 1;
            pack_block(plan, place, maps, {seen, seen_rest});
            const int64_t left_rows = (of.rows - place.phase_row + of.dilation - 1) / of.dilation - place.row;
            const int64_t last = pairs * (task % shares + 1) / shares;
            for (int64_t pair = pairs * (task % shares) / shares; pair < last; ++pair) {
                const int64_t columns = std::min<int64_t>(2, plan.panels - 2 * pair);
                for (int64_t row = 0; row < std::min(plan.block_rows, left_rows); row += 2) {
                    Operands operands = {};
                    for (int64_t i = 0; i < 2; ++i) {
                        const int64_t at = (row + i) * of.stride * plan.pack_columns * kDepth;
                        operands.left[i] = seen + at;
                        if (seen_rest) operands.left_rest[i] = seen_rest + at;
                        const int64_t panel = (2 * pair + std::min(i, columns - 1)) * panel_size;
                        operands.right[i] = factors + panel;
                        if (factors_rest) operands.right_rest[i] = factors_rest + panel;
                    }
                    ahead.written = written_lines(plan, place, row, 2 * pair * kSide, result);
                    if (columns == 2)
                        multiply_tiles<2>(operands, steps, ahead, sums.get());
                    else
                        multiply_tiles<1>(operands, steps, ahead, sums.get());
                    for (int64_t i = 0; i < 2; ++i)
                        for (int64_t j = 0; j < columns; ++j)
                            finish(plan, place, row + i, (2 * pair + j) * kSide,
                                   sums.get() + (i * columns + j) * kSide * kSide, shift.get(), add, slope, result);
                }
            }
        }
    });
}

}  // namespace

// 0 where the processor multiplies bfloat16 numbers, and this process may have it done.
extern "C" __attribute__((visibility("default"))) int flowzoo_multiplies_halves(int64_t) { return products_allowed() ? 0 : 1; }

// 0 where that is done by matrix tiles.
extern "C" __attribute__((visibility("default"))) int flowzoo_has_matrix_tiles(int64_t) {
#if defined(FLOWZOO_TILES)
    return products_allowed() ? 0 : 1;
#else
    return 1;
#endif
}

// maps: (batch, height, width) pixels of `channels` float32 numbers, or bfloat16 ones where `maps_half`; result:
// (batch, rows, columns) pixels alike. Weights of tap t from channel c to output o are at
// weights[o * tall * wide * channels + t * tap + c * channel]; `bias` may be null. Of stride and dilation
// one is 1. The result is act(convolution + bias), with what is there already as one more summand
// where `add`: act(x) = x for x > 0, else slope * x.
extern "C" __attribute__((visibility("default"))) int flowzoo_tile_convolution(
    const void* maps, const float* weights, const float* bias, void* result, int64_t batch, int64_t channels,
    int64_t height, int64_t width, int64_t outputs, int64_t rows, int64_t columns, int64_t tall, int64_t wide,
    int64_t stride, int64_t dilation, int64_t above, int64_t before, int64_t pixel, int64_t result_pixel,
    int64_t tap, int64_t channel, int64_t maps_half, int64_t result_half, int64_t terms, int64_t add,
    float slope, int64_t threads) {
#if defined(FLOWZOO_TILES)
    if (!products_allowed()) return 2;
#endif
    const Plan plan(
        {batch, channels, height, width, outputs, rows, columns, tall, wide, stride, dilation, above, before, pixel,
         result_pixel},
        terms);
    const auto run = [&](auto* from, auto* to) { return convolve(plan, from, {weights, tap, channel}, bias, to, terms, add != 0, slope, threads); };
    try {
        if (maps_half && result_half) return run(static_cast<const Half*>(maps), static_cast<Half*>(result));
        if (maps_half) return run(static_cast<const Half*>(maps), static_cast<float*>(result));
        if (result_half) return run(static_cast<const float*>(maps), static_cast<Half*>(result));
        return run(static_cast<const float*>(maps), static_cast<float*>(result));
    } catch (const std::bad_alloc&) {
        return 1;
    }
}
