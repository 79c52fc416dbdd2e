// Images as variational refinement looks at them; flowzoo/operators/image_terms defines all of it.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "threads.h"
#include "vector.h"

namespace {

constexpr int64_t kRows = 32;  // of a task

typedef int32_t Whole __attribute__((vector_size(4 * kLanes)));

// Sum of `count` vectors, `step` numbers apart, each times its weight.
inline __attribute__((always_inline)) Vec weighted(const float* from, int64_t step, const float* weights, int64_t count) {
    Vec total = load(from) * weights[0];
    pin(total);  // rounded before the next is added, as in the definition
    for (int64_t i = 1; i < count; ++i) total += load(from + i * step) * weights[i];
    return total;
}

// Mean colour of a row, in 0..255.
void grey_row(const float* image, int64_t size, int64_t width, float* __restrict out) {
    const float *red = image, *green = red + size, *blue = green + size;
#pragma GCC ivdep
    for (int64_t x = 0; x < width; ++x) out[x] = (red[x] + green[x] + blue[x]) * (255.0f / 3);
}

// The largest of three planes' differences between two rows of pixels; NaN where one is.
void contrast_row(const float* here, const float* there, int64_t size, int64_t count, float* out) {
    for (int64_t x = 0; x < count; x += kLanes) {
        const int64_t some = std::min<int64_t>(kLanes, count - x);
        Vec most = {};
        for (int64_t c = 0; c < 3; ++c) {
            const Vec change = load_some(there + c * size + x, some) - load_some(here + c * size + x, some);
            const Vec by = reinterpret_cast<Vec>(reinterpret_cast<Whole>(change) & 0x7fffffff);
            most = (by > most) | (by != by) ? by : most;
        }
        store_some(out + x, most, some);
    }
}

// Numbers begin..end-1 of a side that number i of a smaller (or larger) one covers.
struct Covered {
    int64_t begin, end;
    Covered(int64_t i, int64_t from, int64_t to) : begin(i * from / to), end(((i + 1) * from + to - 1) / to) {}
};

}  // namespace

// images: (batch, 3, height, width) in [0,1]; out: (batch, height, width). `count` weights, for both axes.
extern "C" __attribute__((visibility("default"))) int flowzoo_smoothed_greys(
    const float* images, const float* weights, float* out, int64_t batch, int64_t height, int64_t width, int64_t count,
    int64_t threads) {
    const int64_t size = height * width, bands = (height + kRows - 1) / kRows, reach = count / 2;
    const int64_t stride = (width + kLanes - 1) / kLanes * kLanes;
    return run_tasks(0, batch * bands, threads, [&](auto next) {
        std::vector<float> padded(stride + 2 * reach), across(std::min(kRows + 2 * reach, height) * stride);
        std::vector<float> column(count * kLanes);
        for (int64_t task = next(); task >= 0; task = next()) {
            const int64_t sample = task / bands, first = task % bands * kRows, last = std::min(first + kRows, height);
            const int64_t from = std::max<int64_t>(first - reach, 0), to = std::min(last + reach, height);
            for (int64_t y = from; y < to; ++y) {
                float *row = padded.data() + reach, *smooth = across.data() + (y - from) * stride;
                grey_row(images + 3 * sample * size + y * width, size, width, row);
                std::fill(padded.data(), row, row[0]);
                std::fill(row + width, padded.data() + padded.size(), row[width - 1]);
                for (int64_t x = 0; x < width; x += kLanes)
                    store(smooth + x, weighted(padded.data() + x, 1, weights, count));
            }
            for (int64_t y = first; y < last; ++y) {
                float* row = out + sample * size + y * width;
                const bool inside = y >= reach && y - reach + count <= height;
                for (int64_t x = 0; x < width; x += kLanes) {
                    const float* above = across.data() + (y - reach - from) * stride + x;
                    if (!inside) {  // rows above the first and below the last are these
                        for (int64_t i = 0; i < count; ++i) {
                            const int64_t there = std::clamp<int64_t>(y - reach + i, 0, height - 1) - from;
                            store(column.data() + i * kLanes, load(across.data() + there * stride + x));
                        }
                        above = column.data();
                    }
                    const Vec total = weighted(above, inside ? stride : kLanes, weights, count);
                    store_some(row + x, total, std::min<int64_t>(kLanes, width - x));
                }
            }
        }
    });
}

// colours: (batch, 3, height, width); out: (batch, 2, height, width), to the right and to the lower neighbour.
extern "C" __attribute__((visibility("default"))) int flowzoo_contrasts(const float* colours, float* out, int64_t batch,
                                                                        int64_t height, int64_t width, int64_t threads) {
    const int64_t size = height * width, bands = (height + kRows - 1) / kRows;
    return run_tasks(0, batch * bands, threads, [&](auto next) {
        for (int64_t task = next(); task >= 0; task = next()) {
            const int64_t sample = task / bands, first = task % bands * kRows;
            for (int64_t y = first; y < std::min(first + kRows, height); ++y) {
                const float* here = colours + 3 * sample * size + y * width;
                float *right = out + 2 * sample * size + y * width, *below = right + size;
                contrast_row(here, here + 1, size, width - 1, right);
                right[width - 1] = 0.0f;
                if (y + 1 < height)
                    contrast_row(here, here + width, size, width, below);
                else
                    std::fill_n(below, width, 0.0f);
            }
        }
    });
}

// maps: (planes, height, width); out: (planes, rows, columns).
extern "C" __attribute__((visibility("default"))) int flowzoo_area_means(const float* maps, float* out, int64_t planes,
                                                                         int64_t height, int64_t width, int64_t rows,
                                                                         int64_t columns, int64_t threads) {
    const int64_t bands = (rows + kRows - 1) / kRows;
    return run_tasks(0, planes * bands, threads, [&](auto next) {
        std::vector<float> sums(columns);
        for (int64_t task = next(); task >= 0; task = next()) {
            const int64_t plane = task / bands, first = task % bands * kRows;
            float* __restrict sum = sums.data();
            for (int64_t y = first; y < std::min(first + kRows, rows); ++y) {
                const Covered lines(y, height, rows);
                float* __restrict mean = out + (plane * rows + y) * columns;
                std::fill(sums.begin(), sums.end(), 0.0f);
                for (int64_t line = lines.begin; line < lines.end; ++line) {
                    const float* values = maps + (plane * height + line) * width;
                    if (width == 2 * columns) {
                        for (int64_t x = 0; x < columns; ++x) sum[x] = sum[x] + values[2 * x] + values[2 * x + 1];
                    } else {
                        for (int64_t x = 0; x < columns; ++x) {
                            const Covered places(x, width, columns);
                            for (int64_t place = places.begin; place < places.end; ++place) sum[x] += values[place];
                        }
                    }
                }
                const float count = static_cast<float>(lines.end - lines.begin);
                if (width == 2 * columns) {
                    for (int64_t x = 0; x < columns; ++x) mean[x] = sum[x] / count / 2;
                } else {
                    for (int64_t x = 0; x < columns; ++x) {
                        const Covered places(x, width, columns);
                        mean[x] = sum[x] / count / static_cast<float>(places.end - places.begin);
                    }
                }
            }
        }
    });
}
