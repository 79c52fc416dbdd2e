// Convolutions of maps with few channels, such as images, to many outputs.
//
// Rows of the maps are first brought into lines: pixel after pixel, channels side by side, with the zeros around the maps.
// There a row of the window is one run of numbers wherever the window stands, and the sums of some pixels beside each
// other for some vectors of outputs stay in registers from the first number of the window to the last. Sums are float32's,
// of float32 numbers or of products of bfloat16 ones, which the processor adds in pairs; their order is fixed.
#include <algorithm>

#include "half.h"
#include "matrix_tiles.h"
#include "threads.h"

namespace {

constexpr int kPixels = kManyRegisters ? 12 : 5;  // of the result, whose sums the registers hold for two vectors
constexpr int64_t kMostRows = 16, kMostBytes = 256 << 10;  // of the result, and of lines, a task

struct Sizes {
    int64_t batch, channels, height, width, outputs, rows, columns;  // rows, columns: of the result
    int64_t tall, wide, stride, above, before;                       // window; zeros above and before the maps
    int64_t sample_step, channel_step, row_step, pixel_step;         // of the maps, in numbers

    int64_t run() const { return wide * channels; }  // numbers of a row of the window
    int64_t steps(int64_t together) const { return (run() + together - 1) / together; }
    int64_t line() const {  // numbers of a line, which holds what all windows of whole blocks see
        const int64_t blocks = (columns + kPixels - 1) / kPixels * kPixels;
        return std::max((blocks - 1) * stride + wide, before + width) * channels;
    }
};

// Numbers of the line that a step multiplies, each lane's beside each other.
template <class Number>
constexpr int64_t kTogether = sizeof(float) / sizeof(Number);

// Row `y` of a sample's channels as a line; zeros where it is outside.
void bring(const Sizes& of, const float* sample, int64_t y, float* line) {
    std::memset(line, 0, of.line() * sizeof(float));
    if (y < 0 || y >= of.height) return;
    for (int64_t c = 0; c < of.channels; ++c) {
        const float* from = sample + c * of.channel_step + y * of.row_step;
        float* to = line + of.before * of.channels + c;
        for (int64_t x = 0; x < of.width; ++x) to[x * of.channels] = from[x * of.pixel_step];
    }
}
void bring(const Sizes& of, const float* sample, int64_t y, float* room, float* line) { (void)room, bring(of, sample, y, line); }
void bring(const Sizes& of, const float* sample, int64_t y, float* room, Half* line) {
    bring(of, sample, y, room);
    const int64_t count = of.line();
    for (int64_t i = 0; i < count; i += kLanes) store_some(line + i, load_some(room + i, count - i), count - i);
}

// The sums of some pixels for vectors of outputs, and perhaps half a vector more.
template <int VECTORS, bool HALF>
struct Sums {
    static constexpr int64_t kOutputs = VECTORS * kLanes + (HALF ? kLanes / 2 : 0);
    Vec whole[kPixels][VECTORS] = {};
    HalfVec half[HALF ? kPixels : 1] = {};
};

// Adds what a row of the window sees.
template <int VECTORS, bool HALF>
WIDE_INLINE void add_run(const Sizes& of, const float* seen, const float* factors, Sums<VECTORS, HALF>& sums) {
    const int64_t pixel = of.stride * of.channels, count = of.run();
    for (int64_t k = 0; k < count; ++k, factors += sums.kOutputs) {
        HalfVec others{};
        if (HALF) others = *reinterpret_cast<const HalfVecUnaligned*>(factors + VECTORS * kLanes);
        Vec line[VECTORS];
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; ++v) {
            line[v] = load(factors + v * kLanes);
            pin(line[v]);
        }
#pragma GCC unroll 12
        for (int p = 0; p < kPixels; ++p) {
            const Vec number = splat(seen[p * pixel + k]);
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; ++v) sums.whole[p][v] += number * line[v];
            if (HALF) sums.half[p] += (seen[p * pixel + k] - HalfVec{}) * others;
        }
    }
}

#if defined(FLOWZOO_PAIRS)
inline __attribute__((always_inline)) __m512 add_pairs(__m512 sum, __m512i numbers, __m512i factors) {
    return _mm512_dpbf16_ps(sum, (__m512bh)numbers, (__m512bh)factors);
}

template <int VECTORS>
WIDE_INLINE void add_run(const Sizes& of, const Half* seen, const float* factors, Sums<VECTORS, false>& sums) {
    const int64_t pixel = of.stride * of.channels, count = of.run();
    for (int64_t k = 0; k < count; k += 2, factors += VECTORS * kLanes) {
        __m512i line[VECTORS];
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; ++v) line[v] = _mm512_loadu_si512(factors + v * kLanes);
#pragma GCC unroll 12
        for (int p = 0; p < kPixels; ++p) {
            uint32_t pair = seen[p * pixel + k];  // the number behind the last one is another window's
            if (k + 1 < count) std::memcpy(&pair, seen + p * pixel + k, sizeof pair);
            const __m512i numbers = _mm512_set1_epi32(static_cast<int>(pair));
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; ++v) sums.whole[p][v] = (Vec)add_pairs((__m512)sums.whole[p][v], numbers, line[v]);
        }
    }
}
#endif

// Up to kPixels pixels of the result, `count` of them wanted, and `outputs` of the sums'.
template <int VECTORS, bool HALF, class Number, class Result>
void convolve_block(
    const Sizes& of, const Number* seen, int64_t line, const float* factors, const float* bias, float slope, int64_t count,
    int64_t outputs, Result* result) {
    Sums<VECTORS, HALF> sums;
    const int64_t panel_row = of.steps(kTogether<Number>) * sums.kOutputs;
    for (int64_t i = 0; i < of.tall; ++i) add_run(of, seen + i * line, factors + i * panel_row, sums);
#pragma GCC unroll 12
    for (int p = 0; p < kPixels; ++p) {
        if (p >= count) continue;
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; ++v) {
            const Vec value = sums.whole[p][v] + load(bias + v * kLanes);
            const int64_t left = outputs - v * kLanes;
            store_some(result + p * of.outputs + v * kLanes, value > 0 ? value : slope * value, left);
        }
        if constexpr (HALF) {
            const int64_t first = VECTORS * kLanes, left = outputs - first;
            HalfVec value = sums.half[p] + *reinterpret_cast<const HalfVecUnaligned*>(bias + first);
            value = value > 0 ? value : slope * value;
            if (left >= kLanes / 2)
                *reinterpret_cast<HalfVecUnaligned*>(result + p * of.outputs + first) = value;
            else
                std::memcpy(result + p * of.outputs + first, &value, left * sizeof(float));
        }
    }
}

// Where weights lie: of tap t from channel c to output o at from[o * output + t * tap + c * channel].
struct Weights {
    const float* from;
    int64_t output, tap, channel;
};

void put(float value, int64_t place, float* to) { to[place] = value; }
void put(float value, int64_t place, Half* to) { to[place] = narrow(value); }

// Those of `lanes` outputs from `first` on, in the order in which they are multiplied.
template <class Number>
void arrange(const Sizes& of, const Weights& weights, int64_t first, int64_t lanes, Number* to) {
    constexpr int64_t together = kTogether<Number>;
    std::memset(to, 0, of.tall * of.steps(together) * lanes * sizeof(float));
    for (int64_t i = 0; i < of.tall; ++i)
        for (int64_t k = 0; k < of.run(); ++k)
            for (int64_t o = 0; o < lanes && first + o < of.outputs; ++o) {
                const int64_t tap = i * of.wide + k / of.channels, c = k % of.channels;
                const float value = weights.from[(first + o) * weights.output + tap * weights.tap + c * weights.channel];
                put(value, ((i * of.steps(together) + k / together) * lanes + o) * together + k % together, to);
            }
}

template <class Number, class Result>
int convolve(
    const Sizes& of, const float* maps, const Weights& weights, const float* bias, Result* result, float slope,
    int64_t threads) {
    constexpr int64_t together = kTogether<Number>, wide = 2 * kLanes;
    constexpr bool halves = kHalvesSave && together == 1;
    const auto halved = [](int64_t left) { return halves && left > kLanes && 2 * left <= 3 * kLanes; };
    const int64_t panels = (of.outputs + wide - 1) / wide, panel = of.tall * of.steps(together) * wide;
    Buffer factors(panels * panel), shift(panels * wide);
    for (int64_t o = 0; o < panels * wide; ++o) shift.get()[o] = bias && o < of.outputs ? bias[o] : 0.0f;
    for (int64_t i = 0; i < panels; ++i) {
        const int64_t left = of.outputs - i * wide, lanes = left <= kLanes ? kLanes : halved(left) ? kLanes * 3 / 2 : wide;
        arrange(of, weights, i * wide, lanes, reinterpret_cast<Number*>(factors.get() + i * panel));
    }
    const int64_t line = of.line(), line_size = (line * static_cast<int64_t>(sizeof(Number)) + 63) / 64 * 16;  // floats
    int64_t band = std::max<int64_t>(1, std::min(kMostRows, (of.rows + 2 * threads - 1) / (2 * threads)));
    while (band > 2 && ((band - 1) * of.stride + of.tall) * line_size * 4 > kMostBytes) band /= 2;
    const int64_t bands = (of.rows + band - 1) / band, most = (band - 1) * of.stride + of.tall;
    return run_tasks(0, of.batch * bands, threads, [&](auto next) {
        Buffer lines(most * line_size), room(line);
        for (int64_t task = next(); task >= 0; task = next()) {
            const int64_t sample = task / bands, top = task % bands * band, bottom = std::min(of.rows, top + band);
            for (int64_t i = 0; i < (bottom - 1 - top) * of.stride + of.tall; ++i)
                bring(of, maps + sample * of.sample_step, top * of.stride - of.above + i, room.get(),
                      reinterpret_cast<Number*>(lines.get() + i * line_size));
            for (int64_t y = top; y < bottom; ++y)
                for (int64_t i = 0; i < panels; ++i)
                    for (int64_t x = 0; x < of.columns; x += kPixels) {
                        const Number* seen = reinterpret_cast<const Number*>(lines.get() + (y - top) * of.stride * line_size);
                        const int64_t count = std::min<int64_t>(kPixels, of.columns - x), left = of.outputs - i * wide;
                        Result* to = result + ((sample * of.rows + y) * of.columns + x) * of.outputs + i * wide;
                        auto run = convolve_block<2, false, Number, Result>;
                        if (left <= kLanes) run = convolve_block<1, false, Number, Result>;
                        if (halved(left)) run = convolve_block<1, halves, Number, Result>;
                        run(of, seen + x * of.stride * of.channels, line_size * together, factors.get() + i * panel,
                            shift.get() + i * wide, slope, count, left, to);
                    }
        }
    });
}

}  // namespace

// maps: (batch, channels, height, width) float32 numbers that lie as the steps say; result: (batch, rows, columns) pixels
// without gaps. Weights of tap t from channel c to output o are at
// weights[o * tall * wide * channels + t * tap + c * channel]; `bias` may be null. Where `lowered`, numbers and weights are
// rounded to bfloat16, which not every processor can multiply (see flowzoo_multiplies_halves), and the result is of it. The
// result is act(convolution + bias): act(x) = x for x > 0, else slope * x.
extern "C" __attribute__((visibility("default"))) int flowzoo_few_inputs(
    const float* maps, const float* weights, const float* bias, void* result, int64_t batch, int64_t channels,
    int64_t height, int64_t width, int64_t outputs, int64_t rows, int64_t columns, int64_t tall, int64_t wide,
    int64_t stride, int64_t above, int64_t before, int64_t sample_step, int64_t channel_step, int64_t row_step,
    int64_t pixel_step, int64_t tap, int64_t channel, int64_t lowered, float slope, int64_t threads) {
    const Sizes of{batch, channels, height, width, outputs, rows, columns, tall, wide, stride, above, before, sample_step,
                   channel_step, row_step, pixel_step};
    const Weights laid_out{weights, tall * wide * channels, tap, channel};
    const auto run = [&](auto number, auto* to) {
        return convolve<decltype(number)>(of, maps, laid_out, bias, to, slope, threads);
    };
    try {
        if (!lowered) return run(float(), static_cast<float*>(result));
#if defined(FLOWZOO_PAIRS)
        return run(Half(), static_cast<Half*>(result));
#else
        return 2;
#endif
    } catch (const std::bad_alloc&) {
        return 1;
    }
}
