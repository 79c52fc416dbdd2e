// The gradient of a convolution with respect to its weights, for maps in channels-last layout:
//
//   result[o, ky, kx, c] = sum_{b, y, x} gradient[b, y, x, o] * input[b, y s + ky d - py, x s + kx d - px, c]
//
// A matrix product whose long side is the pixels. A task owns some input and output channels (and perhaps one row of
// the window) and walks over the whole batch in bands of rows: it packs both maps' channels of a band into small
// buffers, with the zeros around the map, and holds a tile of kTall output by a few vectors of input channels in
// registers along each row. Tasks share no result, and the order of the sums does not depend on the number of threads.

#include "threads.h"
#include "vector.h"

namespace {

struct Problem {
    int64_t batch, channels, height, width;        // of the input
    int64_t outputs, rows, columns;                // of the gradient
    int64_t input_pixel, gradient_pixel;           // values from one pixel to the next
    int64_t window_height, window_width, stride, dilation, pad_y, pad_x;
};

constexpr int64_t kBandPixels = 512;

template <int kTall, int kVectors>
__attribute__((noinline)) void add_row(const float* input, int64_t step, const float* gradient, int64_t pixels, float* tile) {
    Vec sum[kTall][kVectors];
#pragma GCC unroll 16
    for (int o = 0; o < kTall; ++o)
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) sum[o][v] = load(tile + (o * kVectors + v) * kLanes);
    for (int64_t i = 0; i < pixels; ++i, input += step, gradient += kTall) {
        Vec value[kVectors];
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) {
            value[v] = load(input + v * kLanes);
            pin(value[v]);
        }
#pragma GCC unroll 16
        for (int o = 0; o < kTall; ++o) {
            const Vec factor = splat(gradient[o]);
#pragma GCC unroll 4
            for (int v = 0; v < kVectors; ++v) sum[o][v] += factor * value[v];
        }
    }
#pragma GCC unroll 16
    for (int o = 0; o < kTall; ++o)
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) store(tile + (o * kVectors + v) * kLanes, sum[o][v]);
}

// One task: input channels first..first+count-1, output channels top..bottom-1, window rows from..until-1.
struct Share {
    int64_t first, count, top, bottom, from, until;
};

template <int kTall, int kVectors>
void add_share(const Problem& p, const float* input, const float* gradient, float* result, const Share& s) {
    constexpr int64_t kWide = kVectors * kLanes, kTile = kTall * kWide;
    const int64_t blocks = (s.bottom - s.top + kTall - 1) / kTall, taps = (s.until - s.from) * p.window_width;
    // Columns of the map and the zeros on both sides that any pixel of the gradient reads.
    const int64_t columns = (p.columns - 1) * p.stride + (p.window_width - 1) * p.dilation + 1;
    const int64_t band = p.columns >= kBandPixels ? 1 : (kBandPixels + p.columns - 1) / p.columns;
    const int64_t spread = (band - 1) * p.stride + (s.until - s.from - 1) * p.dilation + 1;
    Buffer packed_input(spread * columns * kWide), packed_gradient(blocks * band * p.columns * kTall);
    Buffer tiles(taps * blocks * kTile);
    for (int64_t i = 0; i < taps * blocks * kTile; ++i) tiles.get()[i] = 0.0f;
    for (int64_t i = 0; i < blocks * band * p.columns * kTall; ++i) packed_gradient.get()[i] = 0.0f;
    for (int64_t i = 0; i < spread * columns * kWide; ++i) packed_input.get()[i] = 0.0f;
    for (int64_t b = 0; b < p.batch; ++b) {
        for (int64_t begin = 0; begin < p.rows; begin += band) {
            const int64_t end = begin + band < p.rows ? begin + band : p.rows;
            const int64_t highest = begin * p.stride + s.from * p.dilation - p.pad_y;
            const int64_t lines = (end - begin - 1) * p.stride + (s.until - s.from - 1) * p.dilation + 1;
            for (int64_t line = 0; line < lines; ++line) {
                const int64_t y = highest + line;
                if (y < 0 || y >= p.height) continue;  // never read
                for (int64_t column = 0; column < columns; ++column) {
                    const int64_t x = column - p.pad_x;
                    if (x < 0 || x >= p.width) continue;  // stays zero
                    const float* from = input + ((b * p.height + y) * p.width + x) * p.input_pixel + s.first;
                    float* to = packed_input.get() + (line * columns + column) * kWide;
                    if (s.count == kWide) {
#pragma GCC unroll 4
                        for (int v = 0; v < kVectors; ++v) store(to + v * kLanes, load(from + v * kLanes));
                    } else {
                        std::memcpy(to, from, s.count * sizeof(float));
                    }
                }
            }
            for (int64_t y = begin; y < end; ++y) {
                for (int64_t x = 0; x < p.columns; ++x) {
                    const float* from = gradient + ((b * p.rows + y) * p.columns + x) * p.gradient_pixel;
                    float* to = packed_gradient.get() + ((y - begin) * p.columns + x) * kTall;
                    int64_t o = s.top;
                    for (; o + kTall <= s.bottom; o += kTall, to += band * p.columns * kTall)
                        std::memcpy(to, from + o, kTall * sizeof(float));
                    if (o < s.bottom) std::memcpy(to, from + o, (s.bottom - o) * sizeof(float));
                }
            }
            for (int64_t ky = s.from; ky < s.until; ++ky) {
                for (int64_t block = 0; block < blocks; ++block) {
                    for (int64_t kx = 0; kx < p.window_width; ++kx) {
                        float* tile = tiles.get() + (((ky - s.from) * p.window_width + kx) * blocks + block) * kTile;
                        for (int64_t row = begin; row < end; ++row) {
                            const int64_t y = row * p.stride + ky * p.dilation - p.pad_y;
                            if (y < 0 || y >= p.height) continue;
                            const float* base = packed_input.get() + ((y - highest) * columns + kx * p.dilation) * kWide;
                            const float* by = packed_gradient.get() + (block * band + row - begin) * p.columns * kTall;
                            add_row<kTall, kVectors>(base, p.stride * kWide, by, p.columns, tile);
                        }
                    }
                }
            }
        }
    }
    for (int64_t o = s.top; o < s.bottom; ++o) {
        for (int64_t ky = s.from; ky < s.until; ++ky) {
            for (int64_t kx = 0; kx < p.window_width; ++kx) {
                const int64_t tap = (ky - s.from) * p.window_width + kx, block = (o - s.top) / kTall;
                const float* tile = tiles.get() + (tap * blocks + block) * kTile + (o - s.top) % kTall * kWide;
                float* to = result + ((o * p.window_height + ky) * p.window_width + kx) * p.channels + s.first;
                std::memcpy(to, tile, s.count * sizeof(float));
            }
        }
    }
}

template <int kTall, int kVectors>
int run(const Problem& p, const float* input, const float* gradient, float* result, int64_t threads) {
    constexpr int64_t kWide = kVectors * kLanes;
    const int64_t wide = (p.channels + kWide - 1) / kWide, blocks = (p.outputs + kTall - 1) / kTall;
    // Up to 64 output channels together; less, and single window rows, where there would be too few tasks.
    const int64_t wanted = threads > 1 ? 3 * threads : 1;
    int64_t together = 64 / kTall;
    while (together > 4 && wide * ((blocks + together - 1) / together) < wanted) --together;
    const int64_t groups = (blocks + together - 1) / together;
    const int64_t slices = wide * groups < wanted ? p.window_height : 1;
    return run_tasks(0, wide * groups * slices, threads, [&](auto next) {
        for (int64_t task = next(); task >= 0; task = next()) {
            const int64_t slice = task % slices, group = task / slices % groups, part = task / slices / groups;
            Share s{};
            s.first = part * kWide;
            s.count = p.channels - s.first < kWide ? p.channels - s.first : kWide;
            s.top = group * together * kTall;
            s.bottom = s.top + together * kTall < p.outputs ? s.top + together * kTall : p.outputs;
            s.from = slices == 1 ? 0 : slice;
            s.until = slices == 1 ? p.window_height : slice + 1;
            add_share<kTall, kVectors>(p, input, gradient, result, s);
        }
    });
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int flowzoo_convolution_weights(
    const float* input, const float* gradient, float* result, int64_t batch, int64_t channels, int64_t height,
    int64_t width, int64_t outputs, int64_t rows, int64_t columns, int64_t input_pixel, int64_t gradient_pixel,
    int64_t window_height, int64_t window_width, int64_t stride, int64_t dilation, int64_t pad_y, int64_t pad_x,
    int64_t threads) {
    const Problem p{batch,          channels,      height,       width,  outputs,  rows,  columns, input_pixel,
                    gradient_pixel, window_height, window_width, stride, dilation, pad_y, pad_x};
    // The shape of the register tile that leaves the fewest lanes of its vectors empty.
    const int64_t vectors = (channels + kLanes - 1) / kLanes;
    if (outputs <= 2)  // of flow heads
        return vectors <= 2 ? run<2, 2>(p, input, gradient, result, threads)
                            : run<2, 4>(p, input, gradient, result, threads);
    if constexpr (kManyRegisters) {
        if (vectors % 3 == 0 || vectors > 5) return run<8, 3>(p, input, gradient, result, threads);
        if (vectors % 2 == 0) return run<12, 2>(p, input, gradient, result, threads);
        return vectors == 1 ? run<16, 1>(p, input, gradient, result, threads)
                            : run<8, 3>(p, input, gradient, result, threads);
    } else {
        return run<6, 2>(p, input, gradient, result, threads);
    }
}
