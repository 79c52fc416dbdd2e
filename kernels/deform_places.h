// Where a deformable convolution reads, and the map it reads from.
//
// The map is kept group by group with the channels of a pixel beside each other, so that the two neighbours along x that a
// place is blended from lie beside each other too. Around each group's pixels there is a border: zeros, or for the legacy
// rule the last row and column once more. Below it are two rows of zeros, which places that read nothing look at.
#pragma once

#include <cstdint>

#include "vector.h"

namespace {

constexpr int64_t kEight = 8;   // channels in a vector
constexpr int64_t kRun = 16, kRuns = 4, kTile = kRun * kRuns;  // output pixels done together
constexpr float kFar = 1e9f;    // no offset this large leads to the map; numbers below it fit 32 bits

typedef float Eight __attribute__((vector_size(32)));
typedef float EightUnaligned __attribute__((vector_size(32), aligned(4), may_alias));

WIDE_INLINE Eight load_eight(const float* address) { return *reinterpret_cast<const EightUnaligned*>(address); }
WIDE_INLINE void store_eight(float* address, Eight value) { *reinterpret_cast<EightUnaligned*>(address) = value; }

int64_t rounded_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

struct Shape {
    int64_t batch, channels, height, width, outputs, groups, taps, rows, columns;  // rows x columns: of the result
    int64_t tap_columns, stride_y, stride_x, pad_y, pad_x, step_y, step_x, legacy;
    int64_t slices;  // of a group's channels, each with a plane of its own; by the shape alone, so that threads do not matter

    int64_t pixels() const { return rows * columns; }
    int64_t group() const { return channels / groups; }
    int64_t slice() const { return rounded_up((group() + slices - 1) / slices, kEight); }
    int64_t planes() const { return groups * slices; }
    int64_t across() const { return width + 2; }
    int64_t plane_pixels() const { return across() * (height + 4); }
    int64_t plane() const { return plane_pixels() * slice(); }
    int64_t nowhere() const { return across() * (height + 2); }
    // Numbers that a pixel reads with one tap and with all; a little more, so that rows spread over the caches' sets.
    int64_t tap_step() const { return channels + slice(); }
    int64_t read_step() const { return taps * tap_step() + 16; }
    int64_t wide_outputs() const { return rounded_up(outputs, kLanes); }
};

// A slice of a group's channels: begin..end-1 of the map.
struct Slice {
    int64_t group, begin, end;

    Slice(const Shape& s, int64_t plane) : group(plane / s.slices) {
        const int64_t first = s.group() * group, at = plane % s.slices * s.slice();
        begin = first + at;
        end = first + (at + s.slice() < s.group() ? at + s.slice() : s.group());
    }
    int64_t channels() const { return end > begin ? end - begin : 0; }
};

// How a (B,C,H,W) tensor lies in memory.
struct Layout {
    int64_t image, channel, pixel;

    Layout(int64_t channels, int64_t pixels, bool channels_last)
        : image(channels * pixels), channel(channels_last ? 1 : pixels), pixel(channels_last ? channels : 1) {}
};

// Row y, -1..height+2, of one plane of the map, from an image of `map`.
void pack_row(const Shape& s, const float* map, Layout layout, const Slice& part, int64_t y, float* plane) {
    const int64_t count = part.channels(), slice = s.slice();
    float* row = plane + (y + 1) * s.across() * slice;
    const bool inside = y >= 0 && y < s.height, repeated = s.legacy && y == s.height;
    if (!inside && !repeated) {
        std::memset(row, 0, s.across() * slice * sizeof(float));
        return;
    }
    const float* source = map + part.begin * layout.channel + (inside ? y : y - 1) * s.width * layout.pixel;
    std::memset(row, 0, slice * sizeof(float));
    for (int64_t x = 0; x < s.width; ++x) {
        float* pixel = row + (x + 1) * slice;
        const float* from = source + x * layout.pixel;
        for (int64_t c = 0; c < count; ++c) pixel[c] = from[c * layout.channel];
        for (int64_t c = count; c < slice; ++c) pixel[c] = 0;
    }
    float* last = row + (s.width + 1) * slice;
    if (s.legacy)
        std::memcpy(last, last - slice, slice * sizeof(float));
    else
        std::memset(last, 0, slice * sizeof(float));
}

// The gradient to the same row, 0..height-1, from the gradient to a plane.
void unpack_row(const Shape& s, const float* plane, const Slice& part, int64_t y, float* map) {
    const int64_t count = part.channels(), slice = s.slice(), across = s.across() * slice;
    const float* row = plane + (y + 1) * across + slice;
    const bool last_row = s.legacy && y + 1 == s.height;
    float* target = map + (part.begin * s.height + y) * s.width;
    for (int64_t c = 0; c < count; ++c) {
        float* line = target + c * s.height * s.width;
        for (int64_t x = 0; x < s.width; ++x) {
            const float* at = row + x * slice + c;
            float value = at[0];
            if (last_row) value += at[across];
            if (s.legacy && x + 1 == s.width) value += at[slice] + (last_row ? at[across + slice] : 0.0f);
            line[x] = value;
        }
    }
}

// Output pixels that are done together, in runs of 16 along x: four rows of 16, so that they read a compact part of the
// map; where rows are no whole runs, 64 pixels one after the other.
struct Tile {
    int64_t runs, count;         // pixels: all runs but the last are whole
    int64_t first[kRuns];        // pixel that each run begins with
    int32_t y[kTile] = {}, x[kTile] = {};  // where the pixels start to read, before taps and offsets

    static bool compact(const Shape& s) { return s.columns % kRun == 0; }
    static int64_t number(const Shape& s) {
        return compact(s) ? (s.rows + kRuns - 1) / kRuns * (s.columns / kRun) : (s.pixels() + kTile - 1) / kTile;
    }

    Tile(const Shape& s, int64_t tile) : runs(0), count(0) {
        const int64_t across = s.columns / kRun;
        const int64_t begin = compact(s) ? (tile / across * kRuns * across + tile % across) * kRun : tile * kTile;
        const int64_t step = compact(s) ? s.columns : kRun;
        for (int64_t at = begin; runs < kRuns && at < s.pixels(); at += step, ++runs) {
            first[runs] = at;
            for (int64_t i = 0; i < kRun && at + i < s.pixels(); ++i, ++count) {
                y[count] = static_cast<int32_t>((at + i) / s.columns * s.stride_y - s.pad_y);
                x[count] = static_cast<int32_t>((at + i) % s.columns * s.stride_x - s.pad_x);
            }
        }
    }
    int64_t size(int64_t run) const { return count - run * kRun < kRun ? count - run * kRun : kRun; }
};

typedef int32_t Whole __attribute__((vector_size(4 * kLanes)));
typedef int32_t WholeUnaligned __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

WIDE_INLINE Whole whole_load(const int32_t* address) { return *reinterpret_cast<const WholeUnaligned*>(address); }
WIDE_INLINE void whole_store(int32_t* address, Whole value) { *reinterpret_cast<WholeUnaligned*>(address) = value; }

// The whole number below. `value` must fit.
WIDE_INLINE Whole lowest(Vec value) {
    const Whole cut = __builtin_convertvector(value, Whole);
    return cut + (__builtin_convertvector(cut, Vec) > value);  // a comparison is -1 where it holds
}

// What the pixels of a tile read for one tap of one group.
struct Places {
    int32_t at[kTile];                                // the upper left neighbour, in pixels of the plane
    float down[kTile], right[kTile], shown[kTile];    // fractions of the offset; the mask, 0 where nothing is read
    float share[4][kTile];  // of the neighbours: upper left, upper right, lower left, lower right; times the mask

    // `offset`: dy of all pixels, dx is a plane of the result further; `mask` may be null.
    void find(const Shape& s, const Tile& tile, int64_t tap, const float* offset, const float* mask) {
        const int32_t tap_y = static_cast<int32_t>(tap / s.tap_columns * s.step_y);
        const int32_t tap_x = static_cast<int32_t>(tap % s.tap_columns * s.step_x);
        for (int64_t run = 0; run < tile.runs; ++run)
            for (int64_t i = 0; i < tile.size(run); i += kLanes) {
                const int64_t from = tile.first[run] + i;
                find_some(s, tile, tap_y, tap_x, offset + from, mask ? mask + from : nullptr, run * kRun + i,
                          tile.size(run) - i);
            }
    }

private:
    inline __attribute__((always_inline)) void find_some(const Shape& s, const Tile& tile, int32_t tap_y, int32_t tap_x, const float* offset,
                               const float* mask, int64_t i, int64_t some) {
        const int32_t height = static_cast<int32_t>(s.height), width = static_cast<int32_t>(s.width);
        const int32_t least = s.legacy ? 0 : -1;
        // The next tile's, which lie in as many places of the memory as there are planes: no hardware foresees that.
        __builtin_prefetch(offset + kRun, 0, 2);
        __builtin_prefetch(offset + s.pixels() + kRun, 0, 2);
        if (mask) __builtin_prefetch(mask + kRun, 0, 2);
        const Vec dy = load_some(offset, some), dx = load_some(offset + s.pixels(), some);
        const Whole known = (dy < kFar) & (dy > -kFar) & (dx < kFar) & (dx > -kFar);  // NaN is not
        const Vec y = known ? dy : Vec{}, x = known ? dx : Vec{}, ones = splat(1.0f);
        const Whole lowest_y = lowest(y), lowest_x = lowest(x);
        const Vec lower = y - __builtin_convertvector(lowest_y, Vec), later = x - __builtin_convertvector(lowest_x, Vec);
        const Whole top = lowest_y + whole_load(tile.y + i) + tap_y, left = lowest_x + whole_load(tile.x + i) + tap_x;
        // Exactly one pixel outside reads 0, but would have a derivative.
        const Whole edge = ((top == -1) & (lower == 0.0f)) | ((left == -1) & (later == 0.0f));
        const Whole reads = known & (top >= least) & (top < height) & (left >= least) & (left < width) & ~edge;
        const Vec factor = reads ? (mask ? load_some(mask, some) : ones) : Vec{};
        const Vec below = lower * factor, above = factor - below;
        const Vec below_right = below * later, above_right = above * later;
        const Whole nothing = Whole{} + static_cast<int32_t>(s.nowhere());
        whole_store(at + i, reads ? (top + 1) * (width + 2) + left + 1 : nothing);
        store(down + i, lower);
        store(right + i, later);
        store(shown + i, factor);
        store(share[0] + i, above - above_right);
        store(share[1] + i, above_right);
        store(share[2] + i, below - below_right);
        store(share[3] + i, below_right);
    }
};

}  // namespace
