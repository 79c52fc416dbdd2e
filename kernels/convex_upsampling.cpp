// Convex upsampling of a flow, forward and backward; flowzoo/operators/convex_upsampling defines it.
//
// Logits come channels-last: at each coarse pixel, nine runs (the neighbours) of factor^2 numbers (the fine pixels), so
// sixteen fine pixels fill a register or two. The softmax is computed anew in the backward pass; nothing is stored.
#include <cstdint>
#include <cstring>

#include "exponential.h"
#include "threads.h"

namespace {

constexpr int kTaps = 9;
constexpr int kBlock = 16;  // fine pixels at a time
constexpr int64_t kRows = 4;  // of a task

typedef float Block __attribute__((vector_size(4 * kBlock)));
typedef int32_t Whole __attribute__((vector_size(4 * kBlock)));
typedef uint32_t Bits __attribute__((vector_size(4 * kBlock)));
typedef uint16_t Halves __attribute__((vector_size(2 * kBlock)));

struct BFloat {
    uint16_t bits;
};

inline void read(const float* from, Block& to) { std::memcpy(&to, from, sizeof to); }

inline void read(const BFloat* from, Block& to) {
    Halves halves;
    std::memcpy(&halves, from, sizeof halves);
    to = reinterpret_cast<Block>(__builtin_convertvector(halves, Bits) << 16);
}

inline void write(float* to, const Block& from) { std::memcpy(to, &from, sizeof from); }

inline void write(BFloat* to, const Block& from) {  // to the nearest, ties to even; NaN stays NaN
    const Bits wide = reinterpret_cast<Bits>(from);
    const Bits rounded = (wide + 0x7fff + ((wide >> 16) & 1)) >> 16;
    const Halves halves = __builtin_convertvector(from == from ? rounded : Bits{} + 0x7fc0, Halves);
    std::memcpy(to, &halves, sizeof halves);
}

struct Shape {
    int64_t batch, height, width, factor;
    int64_t parts() const { return factor * factor; }
    int64_t bands() const { return (height + kRows - 1) / kRows; }
};

// Softmax over the taps for the fine pixels from..from+count of one coarse pixel; the lanes beyond hold rubbish.
template <class Number>
inline void softmax(const Number* logits, int64_t parts, int64_t from, int64_t count, Block* weights) {
    Block most = {};
    for (int k = 0; k < kTaps; ++k) {
        if (count == kBlock) {
            read(logits + k * parts + from, weights[k]);
        } else {
            Number some[kBlock] = {};
            std::memcpy(some, logits + k * parts + from, count * sizeof(Number));
            read(some, weights[k]);
        }
        most = k == 0 ? weights[k] : (weights[k] > most ? weights[k] : most);
    }
    Block sum = {};
    for (int k = 0; k < kTaps; ++k) {
        weights[k] = exponential<Block, Whole>(weights[k] - most);
        sum += weights[k];
    }
    const Block share = 1.0f / sum;
    for (int k = 0; k < kTaps; ++k) weights[k] *= share;
}

// Where tap k of the coarse pixel (y, x) looks, in a map of the coarse size; edges are replicated.
inline int64_t neighbour(const Shape& shape, int64_t y, int64_t x, int k) {
    int64_t row = y + k / 3 - 1, column = x + k % 3 - 1;
    row = row < 0 ? 0 : row >= shape.height ? shape.height - 1 : row;
    column = column < 0 ? 0 : column >= shape.width ? shape.width - 1 : column;
    return row * shape.width + column;
}

// Calls visit(sample, y, x) for every coarse pixel, bands of rows shared out to threads.
template <class Visit>
int for_each_pixel(const Shape& shape, int64_t threads, Visit visit) {
    return run_tasks(0, shape.batch * shape.bands(), threads, [&](auto next) {
        for (int64_t task = next(); task >= 0; task = next()) {
            const int64_t sample = task / shape.bands(), first = task % shape.bands() * kRows;
            for (int64_t y = first; y < first + kRows && y < shape.height; ++y)
                for (int64_t x = 0; x < shape.width; ++x) visit(sample, y, x);
        }
    });
}

// The value `from + i` of one coarse pixel's factor^2 sits in row (from+i)/factor, column (from+i)%factor of its patch.
inline int64_t fine_offset(const Shape& shape, int64_t part) {
    return part / shape.factor * shape.width * shape.factor + part % shape.factor;
}

template <class Number>
int forward(const Number* logits, const float* flow, float* out, const Shape& shape, int64_t threads) {
    const int64_t parts = shape.parts(), coarse = shape.height * shape.width;
    return for_each_pixel(shape, threads, [&](int64_t sample, int64_t y, int64_t x) {
        const Number* here = logits + ((sample * shape.height + y) * shape.width + x) * kTaps * parts;
        float taps[2][kTaps];
        for (int k = 0; k < kTaps; ++k)
            for (int c = 0; c < 2; ++c)
                taps[c][k] = flow[(sample * 2 + c) * coarse + neighbour(shape, y, x, k)] * shape.factor;
        for (int64_t from = 0; from < parts; from += kBlock) {
            const int64_t count = parts - from < kBlock ? parts - from : kBlock;
            Block weights[kTaps];
            softmax(here, parts, from, count, weights);
            for (int c = 0; c < 2; ++c) {
                Block sum = {};
                for (int k = 0; k < kTaps; ++k) sum += weights[k] * taps[c][k];
                float values[kBlock];
                write(values, sum);
                float* patch = out + ((sample * 2 + c) * coarse * parts) + y * shape.factor * shape.width * shape.factor +
                               x * shape.factor;
                if (shape.factor == 4) {
                    for (int row = 0; row < 4; ++row) std::memcpy(patch + row * 4 * shape.width, values + row * 4, 16);
                } else {
                    for (int64_t i = 0; i < count; ++i) patch[fine_offset(shape, from + i)] = values[i];
                }
            }
        }
    });
}

// `spread` (B,h,w,2,9) receives what each coarse pixel owes to the flow at its taps.
template <class Number>
int backward(const float* gradient, const Number* logits, const float* flow, Number* to_logits, float* spread,
             const Shape& shape, int64_t threads) {
    const int64_t parts = shape.parts(), coarse = shape.height * shape.width;
    return for_each_pixel(shape, threads, [&](int64_t sample, int64_t y, int64_t x) {
        const int64_t pixel = (sample * shape.height + y) * shape.width + x;
        float taps[2][kTaps];
        Block owed[2][kTaps] = {};
        for (int k = 0; k < kTaps; ++k)
            for (int c = 0; c < 2; ++c)
                taps[c][k] = flow[(sample * 2 + c) * coarse + neighbour(shape, y, x, k)] * shape.factor;
        for (int64_t from = 0; from < parts; from += kBlock) {
            const int64_t count = parts - from < kBlock ? parts - from : kBlock;
            Block weights[kTaps], g[2], expected = {};
            softmax(logits + pixel * kTaps * parts, parts, from, count, weights);
            for (int c = 0; c < 2; ++c) {
                const float* patch = gradient + ((sample * 2 + c) * coarse * parts) +
                                     y * shape.factor * shape.width * shape.factor + x * shape.factor;
                float values[kBlock] = {};
                if (shape.factor == 4) {
                    for (int row = 0; row < 4; ++row) std::memcpy(values + row * 4, patch + row * 4 * shape.width, 16);
                } else {
                    for (int64_t i = 0; i < count; ++i) values[i] = patch[fine_offset(shape, from + i)];
                }
                read(values, g[c]);
                for (int k = 0; k < kTaps; ++k) {
                    const Block share = weights[k] * g[c];
                    expected += share * taps[c][k];
                    owed[c][k] += share;
                }
            }
            Number* target = to_logits + pixel * kTaps * parts + from;
            for (int k = 0; k < kTaps; ++k) {
                const Block change = weights[k] * (g[0] * taps[0][k] + g[1] * taps[1][k] - expected);
                if (count == kBlock) {
                    write(target + k * parts, change);
                } else {
                    Number some[kBlock];
                    write(some, change);
                    std::memcpy(target + k * parts, some, count * sizeof(Number));
                }
            }
        }
        for (int c = 0; c < 2; ++c)
            for (int k = 0; k < kTaps; ++k) {
                float total = 0;
                for (int i = 0; i < kBlock; ++i) total += owed[c][k][i];
                spread[(pixel * 2 + c) * kTaps + k] = total * shape.factor;
            }
    });
}

// Each sample's and component's debts are paid in one fixed order, so the result does not depend on the threads.
int gather_flow(const float* spread, float* to_flow, const Shape& shape, int64_t threads) {
    const int64_t coarse = shape.height * shape.width;
    return run_tasks(0, shape.batch * 2, threads, [&](auto next) {
        for (int64_t task = next(); task >= 0; task = next()) {
            const int64_t sample = task / 2, c = task % 2;
            float* target = to_flow + task * coarse;
            std::memset(target, 0, coarse * sizeof(float));
            for (int64_t y = 0; y < shape.height; ++y)
                for (int64_t x = 0; x < shape.width; ++x)
                    for (int k = 0; k < kTaps; ++k)
                        target[neighbour(shape, y, x, k)] +=
                            spread[((sample * coarse + y * shape.width + x) * 2 + c) * kTaps + k];
        }
    });
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int flowzoo_convex_upsampling(
    const void* logits, const float* flow, float* out, int64_t bfloat16, int64_t batch, int64_t height, int64_t width,
    int64_t factor, int64_t threads) {
    const Shape shape{batch, height, width, factor};
    return bfloat16 ? forward(static_cast<const BFloat*>(logits), flow, out, shape, threads)
                    : forward(static_cast<const float*>(logits), flow, out, shape, threads);
}

extern "C" __attribute__((visibility("default"))) int flowzoo_convex_upsampling_backward(
    const float* gradient, const void* logits, const float* flow, void* to_logits, float* to_flow, float* spread,
    int64_t bfloat16, int64_t batch, int64_t height, int64_t width, int64_t factor, int64_t threads) {
    const Shape shape{batch, height, width, factor};
    const int status =
        bfloat16 ? backward(gradient, static_cast<const BFloat*>(logits), flow, static_cast<BFloat*>(to_logits), spread,
                            shape, threads)
                 : backward(gradient, static_cast<const float*>(logits), flow, static_cast<float*>(to_logits), spread,
                            shape, threads);
    return status ? status : gather_flow(spread, to_flow, shape, threads);
}
