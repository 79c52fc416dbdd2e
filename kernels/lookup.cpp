// RAFT's look-up on demand, and its gradients, on the CPU: float32, maps pixel by pixel with their channels last.
//
// A pixel looks at (2r+2)^2 whole pixels on every level. Its dot products with a column of them are taken together: a
// vector of channels is loaded once for all rows, and the rows' partial sums become one vector of results in a tree.
// Windows are kept column by column, because the horizontal offset is the slow one in the result.

#include <cmath>
#include <utility>

#include "threads.h"
#include "vector.h"

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define FLOWZOO_TREE 1
#endif
#endif

namespace {

constexpr int64_t kMostSide = 33;  // radius 16
constexpr int64_t kLine = 48;      // numbers kept for a window column: whole vectors, and one more to read shifted
constexpr int64_t kMostLevels = 16;
constexpr int kGroup = 4;             // neighbours whose dot products are taken together
constexpr int kRows = kLanes / kGroup;  // vectors at a time: all sums then fit one vector of results
constexpr int64_t kSlack = 6;  // a box of windows has at most so many columns and rows more than one of them
constexpr int kBlock = 4;  // vectors of channels that a gradient keeps in registers

struct Problem {
    int64_t batch, channels, rows, columns, height, width, radius, levels, pixels;
    int64_t side() const { return 2 * radius + 1; }
    int64_t costs() const { return levels * side() * side(); }
};

struct Level {
    int64_t height, width, begin;  // begin: of its rows in the table
};

struct Levels {
    Level all[kMostLevels];
    explicit Levels(const Problem& p) {
        int64_t height = p.height, width = p.width, begin = 0;
        for (int64_t l = 0; l < p.levels; ++l) {
            all[l] = {height, width, begin};
            begin += height * width;
            height /= 2;
            width /= 2;
            if (height == 0 || width == 0) height = width = 0;
        }
    }
};

// Where a pixel looks on one level; of its window's columns and rows only low..high-1 are inside.
struct Window {
    int64_t left, top, low_column, high_column, low_row, high_row;
    float right, down;
};

// NaN and whatever is surely off the map go to one place that is: no dot product there, and no gradient.
inline float bounded(float centre, float limit) { return std::fabs(centre) <= limit ? centre : limit; }

inline int64_t clamp(int64_t value, int64_t low, int64_t high) {
    return value < low ? low : (value > high ? high : value);
}

Window find_window(const Problem& p, const Level& level, int64_t index, float x, float y) {
    Window w;
    const float shrink = 1.0f / static_cast<float>(int64_t{1} << index);
    const float limit = static_cast<float>(level.height + level.width + 2 * p.radius + 4);
    x = bounded(x * shrink, limit);
    y = bounded(y * shrink, limit);
    const float whole_x = std::floor(x), whole_y = std::floor(y);
    w.right = x - whole_x;
    w.down = y - whole_y;
    w.left = static_cast<int64_t>(whole_x) - p.radius;
    w.top = static_cast<int64_t>(whole_y) - p.radius;
    const int64_t wide = p.side() + 1;
    w.low_column = clamp(-w.left, 0, wide);
    w.high_column = clamp(level.width - w.left, w.low_column, wide);
    w.low_row = clamp(-w.top, 0, wide);
    w.high_row = clamp(level.height - w.top, w.low_row, wide);
    if (w.low_column == w.high_column) w.high_row = w.low_row;
    return w;
}

#if defined(FLOWZOO_TREE)

// Half as many partial sums of each of two lines, side by side: the lanes whose number has the bit STEP are `high`'s.
template <int STEP, size_t... LANE>
inline __attribute__((always_inline)) Vec merged(Vec low, Vec high, std::index_sequence<LANE...>) {
    return __builtin_shufflevector(low, high, (LANE & STEP ? LANE - STEP + kLanes : LANE)...) +
           __builtin_shufflevector(low, high, (LANE & STEP ? LANE + kLanes : LANE + STEP)...);
}

template <int STEP>
inline __attribute__((always_inline)) void merge_all(Vec* lines) {
#pragma GCC unroll 16
    for (int i = 0; i < STEP; ++i) lines[i] = merged<STEP>(lines[i], lines[i + STEP], std::make_index_sequence<kLanes>());
}

// Lane i of the result is the sum of lines[i]; `lines` is used up.
inline __attribute__((always_inline)) Vec sums(Vec* lines) {
    if (kLanes == 16) merge_all<kLanes == 16 ? 8 : 1>(lines);
    if (kLanes >= 8) merge_all<kLanes >= 8 ? 4 : 1>(lines);
    merge_all<2>(lines);
    merge_all<1>(lines);
    return lines[0];
}

#else

inline Vec sums(Vec* lines) {
    Vec result;
    for (int i = 0; i < kLanes; ++i) {
        float total = 0;
        for (int j = 0; j < kLanes; ++j) total += lines[i][j];
        result[i] = total;
    }
    return result;
}

#endif

// Dot products of PIXELS neighbours (`apart` numbers from each other) with ROWS vectors (`step` apart), to
// out[pixel * kRows + row].
template <int PIXELS, int ROWS>
void dot_block(const float* pixel, int64_t apart, const float* vectors, int64_t step, int64_t channels, float* out) {
    Vec total[kLanes] = {};
    int64_t c = 0;
    for (; c + kLanes <= channels; c += kLanes) {
        Vec value[PIXELS];
#pragma GCC unroll 4
        for (int n = 0; n < PIXELS; ++n) value[n] = load(pixel + n * apart + c);
#pragma GCC unroll 4
        for (int k = 0; k < ROWS; ++k) {
            Vec vector = load(vectors + k * step + c);
            pin(vector);
#pragma GCC unroll 4
            for (int n = 0; n < PIXELS; ++n) total[n * kRows + k] += value[n] * vector;
        }
    }
    Vec result = sums(total);
    for (; c < channels; ++c)
        for (int n = 0; n < PIXELS; ++n)
            for (int k = 0; k < ROWS; ++k) result[n * kRows + k] += pixel[n * apart + c] * vectors[k * step + c];
    store(out, result);
}

using DotBlock = void (*)(const float*, int64_t, const float*, int64_t, int64_t, float*);

template <int PIXELS, size_t... INDEX>
DotBlock dot_block_for(int64_t rows, std::index_sequence<INDEX...>) {
    static constexpr DotBlock all[] = {dot_block<PIXELS, static_cast<int>(INDEX) + 1>...};
    return all[rows - 1];
}

// The pixels that some neighbours' windows hold together, and the neighbours' dot products with all of them, column by
// column: data[neighbour][column][row], zero outside the map.
struct Box {
    int64_t most, line, left, top, columns, rows;
    float* data;
    Box(const Problem& p, float* memory) : most(p.side() + 1 + kSlack), line(line_of(p)), data(memory) {}
    static int64_t line_of(const Problem& p) { return (p.side() + 1 + kSlack + 2 * kLanes) / kLanes * kLanes; }
    static int64_t size(const Problem& p) { return kGroup * (p.side() + 1 + kSlack) * line_of(p) + kLanes; }

    // Whether the windows of `count` neighbours are near enough to be worth it.
    bool span(const Problem& p, const Window* windows, int64_t count) {
        int64_t right = left = windows[0].left, bottom = top = windows[0].top;
        for (int64_t n = 1; n < count; ++n) {
            left = windows[n].left < left ? windows[n].left : left;
            top = windows[n].top < top ? windows[n].top : top;
            right = windows[n].left > right ? windows[n].left : right;
            bottom = windows[n].top > bottom ? windows[n].top : bottom;
        }
        columns = right - left + p.side() + 1;
        rows = bottom - top + p.side() + 1;
        return columns <= most && rows <= most;
    }
    float* at(int64_t neighbour, int64_t column) const { return data + (neighbour * most + column) * line; }
    const float* window(int64_t neighbour, const Window& w) const { return at(neighbour, w.left - left) + w.top - top; }
};

// Fills a box for PIXELS neighbours, which are `channels` numbers apart.
template <int PIXELS>
void fill_box(const Problem& p, const Level& level, const Box& box, const float* pixel, const float* image,
              int64_t channels) {
    const int64_t step = level.width * p.channels;
    const int64_t low = clamp(-box.top, 0, box.rows), high = clamp(level.height - box.top, low, box.rows);
    for (int64_t i = 0; i < box.columns; ++i) {
        const bool empty = box.left + i < 0 || box.left + i >= level.width || low == high;
        if (empty || low > 0 || high < box.rows)
            for (int64_t n = 0; n < PIXELS; ++n) std::memset(box.at(n, i), 0, box.line * sizeof(float));
        if (empty) continue;
        const float* vectors = image + (level.begin + (box.top + low) * level.width + box.left + i) * p.channels;
        for (int64_t j = low; j < high; j += kRows, vectors += kRows * step) {
            const int64_t count = high - j < kRows ? high - j : kRows;
            alignas(64) float found[kLanes];
            dot_block_for<PIXELS>(count, std::make_index_sequence<kRows>())(pixel, p.channels, vectors, step, channels,
                                                                            found);
            for (int n = 0; n < PIXELS; ++n) std::memcpy(box.at(n, i) + j, found + n * kRows, kRows * sizeof(float));
        }
    }
}

// The blend of a window (its columns `line` apart), scaled.
void put_blend(const Problem& p, const Window& w, const float* window, int64_t line, float scale, float* out) {
    const Vec right = splat(w.right), down = splat(w.down), factor = splat(scale);
    float across[kLine + kLanes] = {}, blended[kMostSide * kMostSide + kLanes];
    for (int64_t i = 0; i < p.side(); ++i) {
        const float* near = window + i * line;
        const float* far = near + line;
        for (int64_t j = 0; j <= p.side(); j += kLanes) {
            const Vec here = load(near + j);
            store(across + j, here + right * (load(far + j) - here));
        }
        for (int64_t j = 0; j < p.side(); j += kLanes) {
            const Vec here = load(across + j);
            store(blended + i * p.side() + j, (here + down * (load(across + j + 1) - here)) * factor);
        }
    }
    std::memcpy(out, blended, p.side() * p.side() * sizeof(float));
}

// Costs of `count` <= kGroup neighbours on one level; `costs` are the first one's.
void level_costs(const Problem& p, const Level& level, const Window* windows, int64_t count, const float* pixel,
                 const float* image, float scale, Box& box, float* costs) {
    if (count == kGroup && box.span(p, windows, count)) {
        fill_box<kGroup>(p, level, box, pixel, image, p.channels);
        for (int64_t n = 0; n < count; ++n)
            put_blend(p, windows[n], box.window(n, windows[n]), box.line, scale, costs + n * p.costs());
        return;
    }
    for (int64_t n = 0; n < count; ++n) {
        box.span(p, windows + n, 1);
        fill_box<1>(p, level, box, pixel + n * p.channels, image, p.channels);
        put_blend(p, windows[n], box.window(0, windows[n]), box.line, scale, costs + n * p.costs());
    }
}

// The adjoint of the blend: what each of the window's dot products weighs, for one level's gradient (side^2).
void window_weights(const Problem& p, const Window& w, const float* gradient, float scale, float* window) {
    const int64_t side = p.side();
    std::memset(window, 0, (side + 1) * kLine * sizeof(float));
    for (int64_t i = 0; i < side; ++i)
        for (int64_t j = 0; j < side; ++j) {
            const float value = gradient[i * side + j] * scale;
            const float below = value * w.down, above = value - below;
            float* near = window + i * kLine + j;
            float* far = near + kLine;
            near[0] += above - above * w.right;
            near[1] += below - below * w.right;
            far[0] += above * w.right;
            far[1] += below * w.right;
        }
}

// The gradient to where a pixel looks on one level, from its dot products.
void coordinate_gradient(const Problem& p, const Window& w, const float* gradient, const float* dots, int64_t line,
                         float scale, float* to_x, float* to_y) {
    const int64_t side = p.side();
    float along_x = 0, along_y = 0;
    for (int64_t i = 0; i < side; ++i)
        for (int64_t j = 0; j < side; ++j) {
            const float* near = dots + i * line + j;
            const float* far = near + line;
            const float above = far[0] - near[0], below = far[1] - near[1];
            const float before = near[1] - near[0], behind = far[1] - far[0];
            along_x += gradient[i * side + j] * (above + w.down * (below - above));
            along_y += gradient[i * side + j] * (before + w.right * (behind - before));
        }
    *to_x += along_x * scale;
    *to_y += along_y * scale;
}

// BLOCK vectors of channels: the weighted sum of a window goes to the pixel, the weighted pixel to the window.
template <int BLOCK>
void spread_block(const Problem& p, const Level& level, const Window& w, const float* weights, const float* pixel,
                  const float* table, float* to_pixel, float* to_table) {
    Vec value[BLOCK], total[BLOCK];
    for (int b = 0; b < BLOCK; ++b) {
        value[b] = load(pixel + b * kLanes);
        total[b] = load(to_pixel + b * kLanes);
    }
    for (int64_t j = w.low_row; j < w.high_row; ++j) {
        int64_t place = (level.begin + (w.top + j) * level.width + w.left + w.low_column) * p.channels;
        for (int64_t i = w.low_column; i < w.high_column; ++i, place += p.channels) {
            const Vec weight = splat(weights[i * kLine + j]);
            const float* source = table + place;
            float* target = to_table + place;
#pragma GCC unroll 4
            for (int b = 0; b < BLOCK; ++b) {
                total[b] += weight * load(source + b * kLanes);
                store(target + b * kLanes, load(target + b * kLanes) + weight * value[b]);
            }
        }
    }
    for (int b = 0; b < BLOCK; ++b) store(to_pixel + b * kLanes, total[b]);
}

void spread(const Problem& p, const Level& level, const Window& w, const float* weights, const float* pixel,
            const float* table, float* to_pixel, float* to_table, int64_t channels) {
    int64_t c = 0;
    for (; c + kBlock * kLanes <= channels; c += kBlock * kLanes)
        spread_block<kBlock>(p, level, w, weights, pixel + c, table + c, to_pixel + c, to_table + c);
    for (; c + kLanes <= channels; c += kLanes)
        spread_block<1>(p, level, w, weights, pixel + c, table + c, to_pixel + c, to_table + c);
    for (; c < channels; ++c)
        for (int64_t i = w.low_column; i < w.high_column; ++i)
            for (int64_t j = w.low_row; j < w.high_row; ++j) {
                const int64_t place = (level.begin + (w.top + j) * level.width + w.left + i) * p.channels + c;
                to_pixel[c] += weights[i * kLine + j] * table[place];
                to_table[place] += weights[i * kLine + j] * pixel[c];
            }
}

// First channel of a slice: whole vectors, but for the end of the last one.
int64_t slice_begin(int64_t channels, int64_t slice, int64_t slices) {
    return slice == slices ? channels : channels / kLanes * slice / slices * kLanes;
}

}  // namespace

#define API extern "C" __attribute__((visibility("default")))

// first (B,h,w,C), table (B,N,C) with all levels of the second map, coordinates (B,2,h,w) -> result
// (B,h,w,levels*(2r+1)^2). radius <= 16, levels <= 16.
API int flowzoo_lookup(const float* first, const float* table, const float* coordinates, float* result, int64_t batch,
                       int64_t channels, int64_t rows, int64_t columns, int64_t height, int64_t width, int64_t radius,
                       int64_t levels, int64_t pixels, int64_t threads) {
    const Problem p{batch, channels, rows, columns, height, width, radius, levels, pixels};
    const Levels all(p);
    const float scale = 1.0f / std::sqrt(static_cast<float>(channels));
    return run_tasks(0, batch * rows, threads, [&](auto next) {
        const Buffer memory(Box::size(p));
        std::memset(memory.get(), 0, Box::size(p) * sizeof(float));
        Box box(p, memory.get());
        Window windows[kGroup];
        for (int64_t task = next(); task >= 0; task = next()) {
            const int64_t image = task / rows, y = task % rows;
            const float* along = coordinates + (image * 2 * rows + y) * columns;
            const float* source = table + image * pixels * channels;
            // Level by level, so that neighbours find the level's rows in the cache.
            for (int64_t l = 0; l < levels; ++l)
                for (int64_t x = 0; x < columns; x += kGroup) {
                    const int64_t at = task * columns + x, count = columns - x < kGroup ? columns - x : kGroup;
                    for (int64_t n = 0; n < count; ++n)
                        windows[n] = find_window(p, all.all[l], l, along[x + n], along[rows * columns + x + n]);
                    level_costs(p, all.all[l], windows, count, first + at * channels, source, scale, box,
                                result + at * p.costs() + l * p.side() * p.side());
                }
        }
    });
}

// Gradients in the layouts of their inputs; to_first and to_table are zero at the start. to_coordinates, if not null,
// (slices,B,2,h,w), takes each slice of channels' share. A task is an image and a slice: no two write to one place.
API int flowzoo_lookup_backward(const float* gradient, const float* first, const float* table, const float* coordinates,
                                float* to_first, float* to_table, float* to_coordinates, int64_t batch,
                                int64_t channels, int64_t rows, int64_t columns, int64_t height, int64_t width,
                                int64_t radius, int64_t levels, int64_t pixels, int64_t slices, int64_t threads) {
    const Problem p{batch, channels, rows, columns, height, width, radius, levels, pixels};
    const Levels all(p);
    const float scale = 1.0f / std::sqrt(static_cast<float>(channels));
    const int64_t plane = rows * columns, square = p.side() * p.side();
    return run_tasks(0, batch * slices, threads, [&](auto next) {
        const Buffer window((kMostSide + 1) * kLine), memory(Box::size(p));
        std::memset(memory.get(), 0, Box::size(p) * sizeof(float));
        Box box(p, memory.get());
        for (int64_t task = next(); task >= 0; task = next()) {
            const int64_t image = task / slices, slice = task % slices;
            const int64_t from = slice_begin(channels, slice, slices);
            const int64_t count = slice_begin(channels, slice + 1, slices) - from;
            const float* source = table + image * pixels * channels + from;
            float* target = to_table + image * pixels * channels + from;
            for (int64_t at = 0; at < plane; ++at) {
                const int64_t pixel = (image * plane + at) * channels + from;
                const float x = coordinates[image * 2 * plane + at], y = coordinates[(image * 2 + 1) * plane + at];
                float along[2] = {0, 0};
                for (int64_t l = 0; l < levels; ++l) {
                    const Window w = find_window(p, all.all[l], l, x, y);
                    if (w.low_row == w.high_row) continue;
                    const float* incoming = gradient + (image * plane + at) * p.costs() + l * square;
                    if (to_coordinates) {
                        box.span(p, &w, 1);
                        fill_box<1>(p, all.all[l], box, first + pixel, source, count);
                        const float shrink = scale / static_cast<float>(int64_t{1} << l);
                        coordinate_gradient(p, w, incoming, box.data, box.line, shrink, along, along + 1);
                    }
                    window_weights(p, w, incoming, scale, window.get());
                    spread(p, all.all[l], w, window.get(), first + pixel, source, to_first + pixel, target, count);
                }
                if (to_coordinates) {
                    float* place = to_coordinates + (slice * batch + image) * 2 * plane + at;
                    place[0] = along[0];
                    place[plane] = along[1];
                }
            }
        }
    });
}
