// Convolutions of channels-last maps to so few outputs that those of all taps of the window fit into some vectors.
//
// With every pixel of the maps, what each tap would take from it for each output is one row of a matrix product over the
// channels, which reads the maps once. A pixel of the result is the sum of what its taps took. All in float32, from maps
// in bfloat16, too; the order of all sums is fixed.
#include <algorithm>

#include "half.h"
#include "matrix.h"
#include "threads.h"

namespace {

constexpr int64_t kMostRows = 16;  // of the result, a task
constexpr int64_t kPixels = 48;    // whose products are made at once

struct Sizes {
    int64_t batch, channels, height, width, outputs, rows, columns;  // rows, columns: of the result
    int64_t tall, wide, above, before;                               // window; zeros above and before the maps
    int64_t pixel, result_pixel;                                     // numbers from pixel to pixel

    int64_t taken() const { return (tall * wide * outputs + kLanes - 1) / kLanes * kLanes; }
};

inline Strided as_floats(const float* maps, const Sizes& of, int64_t, float*) { return {maps, of.pixel, 1}; }
inline Strided as_floats(const Half* maps, const Sizes& of, int64_t count, float* room) {
    for (int64_t i = 0; i < count; ++i) {
        int64_t c = 0;
        for (; c + kLanes <= of.channels; c += kLanes) store(room + i * of.channels + c, load(maps + i * of.pixel + c));
        for (; c < of.channels; ++c) room[i * of.channels + c] = widen(maps[i * of.pixel + c]);
    }
    return {room, of.channels, 1};
}

// What all taps take from a row of the maps, `taken` numbers a pixel.
template <class Number>
void take(const Sizes& of, const Number* row, const float* factors, float* room, float* to) {
    const int64_t taken = of.taken();
    std::memset(to, 0, of.width * taken * sizeof(float));
    for (int64_t x = 0; x < of.width; x += kPixels) {
        const int64_t count = std::min(kPixels, of.width - x);
        multiply(as_floats(row + x * of.pixel, of, count, room), count, of.channels, taken, factors, taken, to + x * taken, taken);
    }
}

// A row of the result from what was taken from the rows of the maps, of which there are those from `first` to `last`.
void gather(const Sizes& of, int64_t y, int64_t first, int64_t last, const float* taken, const float* bias, bool add,
            float* result) {
    const int64_t step = of.taken();
    for (int64_t x = 0; x < of.columns; ++x) {
        float* to = result + x * of.result_pixel;
        for (int64_t o = 0; o < of.outputs; ++o) {
            float sum = bias ? bias[o] : 0.0f;
            for (int64_t i = 0; i < of.tall; ++i) {
                const int64_t seen = y + i - of.above;
                if (seen < first || seen >= last) continue;
                const float* row = taken + ((seen - first) * of.width) * step + i * of.wide * of.outputs + o;
                for (int64_t j = 0; j < of.wide; ++j) {
                    const int64_t column = x + j - of.before;
                    if (column >= 0 && column < of.width) sum += row[column * step + j * of.outputs];
                }
            }
            to[o] = add ? to[o] + sum : sum;
        }
    }
}

template <class Number>
int convolve(const Sizes& of, const Number* maps, const float* factors, const float* bias, bool add, float* result,
             int64_t threads) {
    const int64_t wanted = (of.rows + 2 * threads - 1) / (2 * threads), band = std::min(kMostRows, wanted);
    const int64_t bands = (of.rows + band - 1) / band, taken = of.taken();
    return run_tasks(0, of.batch * bands, threads, [&](auto next) {
        Buffer store((band + of.tall - 1) * of.width * taken), room(kPixels * of.channels);
        for (int64_t task = next(); task >= 0; task = next()) {
            const int64_t sample = task / bands, top = task % bands * band, bottom = std::min(of.rows, top + band);
            const int64_t first = std::max<int64_t>(0, top - of.above);
            const int64_t last = std::min(of.height, bottom - 1 - of.above + of.tall);
            for (int64_t y = first; y < last; ++y)
                take(of, maps + (sample * of.height + y) * of.width * of.pixel, factors, room.get(),
                     store.get() + (y - first) * of.width * taken);
            for (int64_t y = top; y < bottom; ++y)
                gather(of, y, first, last, store.get(), bias, add,
                       result + (sample * of.rows + y) * of.columns * of.result_pixel);
        }
    });
}

}  // namespace

// maps: (batch, height, width) pixels of float32 numbers, or bfloat16 ones where `maps_half`; result: (batch, rows, columns)
// pixels of float32 ones. Weights of tap t from channel c to output o are at
// weights[o * tall * wide * channels + t * tap + c * channel]; `bias` may be null. What is there already is one more summand
// where `add`.
extern "C" __attribute__((visibility("default"))) int flowzoo_few_outputs(
    const void* maps, const float* weights, const float* bias, float* result, int64_t batch, int64_t channels,
    int64_t height, int64_t width, int64_t outputs, int64_t rows, int64_t columns, int64_t tall, int64_t wide,
    int64_t above, int64_t before, int64_t pixel, int64_t result_pixel, int64_t tap, int64_t channel, int64_t maps_half,
    int64_t add, int64_t threads) {
    const Sizes of{batch, channels, height, width, outputs, rows, columns, tall, wide, above, before, pixel, result_pixel};
    const int64_t taken = of.taken(), taps = tall * wide;
    try {
        Buffer factors(channels * taken);
        for (int64_t c = 0; c < channels; ++c)
            for (int64_t n = 0; n < taken; ++n) {
                const int64_t t = n / outputs, o = n % outputs;
                factors.get()[c * taken + n] = t < taps ? weights[o * taps * channels + t * tap + c * channel] : 0.0f;
            }
        if (maps_half) return convolve(of, static_cast<const Half*>(maps), factors.get(), bias, add != 0, result, threads);
        return convolve(of, static_cast<const float*>(maps), factors.get(), bias, add != 0, result, threads);
    } catch (const std::bad_alloc&) {
        return 1;
    }
}
