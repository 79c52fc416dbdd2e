// Deformable convolution, forward and backward; flowzoo/operators/deform defines it.
//
// A tile of output pixels is read for one tap, all channels beside each other, into the first-level cache, and multiplied
// there with that tap's weights; nothing as large as a map per tap is ever made. Backward, a task is a slice of one
// group's channels: its gradients to the map belong to it alone, so nothing is added by two threads, and the result does
// not depend on their number.
#include <algorithm>

#include "deform_places.h"
#include "matrix.h"
#include "threads.h"
#include "transpose.h"

namespace {

// The map in planes (see deform_places.h), batch by batch.
int pack(const Shape& s, const float* map, bool channels_last, float* planes, int64_t threads) {
    const int64_t rows = s.height + 4;
    const Layout layout(s.channels, s.height * s.width, channels_last);
    return run_tasks(0, s.batch * s.planes() * rows, threads, [&](auto next) {
        for (int64_t task = next(); task >= 0; task = next()) {
            const int64_t number = task / rows, image = number / s.planes();
            const Slice part(s, number % s.planes());
            pack_row(s, map + image * layout.image, layout, part, task % rows - 1, planes + number * s.plane());
        }
    });
}

// Turns a tile (pixels x channels), pixels `step` apart, to channels that are `plane` apart.
void store_turned(const Tile& tile, const float* values, int64_t step, int64_t channels, float* out, int64_t plane) {
    const bool whole = reinterpret_cast<uintptr_t>(out) % (4 * kLanes) == 0 && plane % kRun == 0;
    Wide lines[kWideLanes];
    for (int64_t run = 0; run < tile.runs; ++run)
        for (int64_t c = 0; c < channels; c += kWideLanes) {
            const int64_t wanted = std::min<int64_t>(channels - c, kWideLanes), size = tile.size(run);
            transpose(values + run * kRun * step + c, step, wanted, lines);
            for (int64_t j = 0; j < wanted; ++j) {
                float* to = out + (c + j) * plane + tile.first[run];
                for (int part = 0; part < kParts; ++part) {
                    if (whole)  // all runs are, and the next to read them is not this core
                        stream(to + part * kLanes, lines[j].part[part]);
                    else if (part * kLanes < size)
                        store_some(to + part * kLanes, lines[j].part[part], size - part * kLanes);
                }
            }
        }
}

// The opposite; channels beyond, to whole vectors, are zeros. Rows of `values` behind the tile's last pixel are not used.
void load_turned(const Tile& tile, const float* map, int64_t plane, int64_t channels, float* values, int64_t step) {
    Wide lines[kWideLanes];
    float rows[kWideLanes][kRun];
    for (int64_t run = 0; run < tile.runs; ++run)
        for (int64_t c = 0; c < step; c += kWideLanes) {
            for (int64_t j = 0; j < kWideLanes; ++j) {
                std::memset(rows[j], 0, sizeof(rows[j]));
                if (c + j < channels)
                    std::memcpy(rows[j], map + (c + j) * plane + tile.first[run], tile.size(run) * sizeof(float));
            }
            transpose(rows[0], kRun, kRun, lines);
            for (int64_t i = 0; i < kRun; ++i)
                for (int part = 0; part < kParts; ++part)
                    if (c + part * kLanes < step)
                        store(values + (run * kRun + i) * step + c + part * kLanes, lines[i].part[part]);
        }
}

// values[i] = what pixel i reads; `step` numbers apart, of which a slice's are written.
template <int64_t VECTORS>
void read_some(const Places& places, int64_t count, const float* plane, int64_t across, int64_t slice, float* values,
               int64_t step) {
    const int64_t vectors = VECTORS ? VECTORS : slice / kEight;
    const int64_t pixel = VECTORS ? VECTORS * kEight : slice;
    for (int64_t i = 0; i < count; ++i) {
        const float *top = plane + places.at[i] * pixel, *bottom = top + across * pixel;
        for (int64_t v = 0; v < vectors; ++v) {
            const int64_t c = v * kEight;
            Eight sum = places.share[0][i] * load_eight(top + c);
            sum += places.share[1][i] * load_eight(top + pixel + c);
            sum += places.share[2][i] * load_eight(bottom + c);
            sum += places.share[3][i] * load_eight(bottom + pixel + c);
            store_eight(values + i * step + c, sum);
        }
    }
}

void read(const Places& places, int64_t count, const float* plane, int64_t across, int64_t slice, float* values,
          int64_t step) {
    switch (slice / kEight) {
        case 1: return read_some<1>(places, count, plane, across, slice, values, step);
        case 2: return read_some<2>(places, count, plane, across, slice, values, step);
        case 4: return read_some<4>(places, count, plane, across, slice, values, step);
        default: return read_some<0>(places, count, plane, across, slice, values, step);
    }
}

// The weights (O,C,N) as (N,C,O), each row whole vectors.
void pack_weights(const Shape& s, const float* weight, float* packed) {
    const int64_t wide = s.wide_outputs();
    std::memset(packed, 0, s.taps * s.channels * wide * sizeof(float));
    for (int64_t o = 0; o < s.outputs; ++o)
        for (int64_t c = 0; c < s.channels; ++c)
            for (int64_t n = 0; n < s.taps; ++n)
                packed[(n * s.channels + c) * wide + o] = weight[(o * s.channels + c) * s.taps + n];
}

struct Inputs {
    const float *offset, *mask;  // mask may be null

    const float* offsets(const Shape& s, int64_t image, int64_t group, int64_t tap) const {
        return offset + ((image * s.groups + group) * s.taps + tap) * 2 * s.pixels();
    }
    const float* masks(const Shape& s, int64_t image, int64_t group, int64_t tap) const {
        return mask ? mask + ((image * s.groups + group) * s.taps + tap) * s.pixels() : nullptr;
    }
};

// One tile of the result.
void forward_tile(const Shape& s, const float* planes, Inputs in, const float* weights, const float* bias, int64_t image,
                  const Tile& tile, float* values, float* sums, float* out) {
    const int64_t wide = s.wide_outputs(), step = s.read_step();
    for (int64_t i = 0; i < tile.count; ++i) {
        std::memset(sums + i * wide, 0, wide * sizeof(float));
        if (bias) std::memcpy(sums + i * wide, bias, s.outputs * sizeof(float));
    }
    // All taps of a group read nearly the same part of the map, so they come one after the other.
    Places places;
    for (int64_t g = 0; g < s.groups; ++g)
        for (int64_t n = 0; n < s.taps; ++n) {
            places.find(s, tile, n, in.offsets(s, image, g, n), in.masks(s, image, g, n));
            for (int64_t p = g * s.slices; p < (g + 1) * s.slices; ++p) {
                // A slice's last vector may reach into the next one's channels, which are written after it.
                const float* plane = planes + (image * s.planes() + p) * s.plane();
                float* to = values + n * s.tap_step() + Slice(s, p).begin;
                read(places, tile.count, plane, s.across(), s.slice(), to, step);
            }
        }
    for (int64_t n = 0; n < s.taps; ++n)
        multiply({values + n * s.tap_step(), step, 1}, tile.count, s.channels, wide, weights + n * s.channels * wide,
                 wide, sums, wide);
    store_turned(tile, sums, wide, s.outputs, out + image * s.outputs * s.pixels(), s.pixels());
}

// Gradients of one tile for one slice: what it reads with each tap, and what that reading means for the rest.
struct Backward {
    const Shape& s;
    Slice part;
    const float* plane;    // the slice's map
    float* to_plane;       // its gradient
    int64_t step;          // numbers of all taps
    float *values, *wanted;  // tile x step: what was read, times the mask; and the gradient to it

    // One pixel's four neighbours: dots of each with the gradient, and each one's share of it.
    WIDE_INLINE void spread(const Places& places, int64_t i, int64_t across, int64_t slice, const float* gradient,
                            const float* plane, float* to_plane, float* value, float (&dots)[4][kTile]) {
        const int64_t top = places.at[i] * slice;
        const int64_t corners[4] = {top, top + slice, top + across * slice, top + (across + 1) * slice};
        Eight sums[4] = {};
        for (int64_t c = 0; c < slice; c += kEight) {
            const Eight from = load_eight(gradient + c);
            Eight blended = {};
#pragma GCC unroll 4
            for (int k = 0; k < 4; ++k) {
                const Eight corner = load_eight(plane + corners[k] + c);
                blended += places.share[k][i] * corner;
                sums[k] += from * corner;
                float* target = to_plane + corners[k] + c;
                store_eight(target, load_eight(target) + places.share[k][i] * from);
            }
            store_eight(value + c, blended);
        }
#pragma GCC unroll 4
        for (int k = 0; k < 4; ++k)
            dots[k][i] = ((sums[k][0] + sums[k][4]) + (sums[k][2] + sums[k][6])) +
                         ((sums[k][1] + sums[k][5]) + (sums[k][3] + sums[k][7]));
    }

    void tap(const Places& places, const Tile& tile, int64_t n, float* to_offset, float* to_mask) {
        float dots[4][kTile];
        const int64_t slice = s.slice(), across = s.across();
        for (int64_t i = 0; i < tile.count; ++i)
            spread(places, i, across, slice, wanted + i * step + n * slice, plane, to_plane,
                   values + i * step + n * slice, dots);
        for (int64_t run = 0; run < tile.runs; ++run) {
            float *to_y = to_offset + tile.first[run], *to_x = to_y + s.pixels();
            float* to_shown = to_mask ? to_mask + tile.first[run] : nullptr;
#pragma GCC ivdep
            for (int64_t j = 0; j < tile.size(run); ++j) {
                const int64_t i = run * kRun + j;
                const float across_top = dots[1][i] - dots[0][i], across_bottom = dots[3][i] - dots[2][i];
                const float top = dots[0][i] + places.right[i] * across_top;
                const float bottom = dots[2][i] + places.right[i] * across_bottom;
                to_y[j] = places.shown[i] * (bottom - top);
                to_x[j] = places.shown[i] * (across_top + places.down[i] * (across_bottom - across_top));
                if (to_shown) to_shown[j] = top + places.down[i] * (bottom - top);
            }
        }
    }
};

}  // namespace

#define API extern "C" __attribute__((visibility("default")))

#define SHAPE                                                                                                        \
    int64_t batch, int64_t channels, int64_t height, int64_t width, int64_t outputs, int64_t groups, int64_t taps,   \
        int64_t rows, int64_t columns, int64_t tap_columns, int64_t stride_y, int64_t stride_x, int64_t pad_y,       \
        int64_t pad_x, int64_t step_y, int64_t step_x, int64_t legacy, int64_t slices

#define SHAPE_VALUES                                                                                                 \
    batch, channels, height, width, outputs, groups, taps, rows, columns, tap_columns, stride_y, stride_x, pad_y,    \
        pad_x, step_y, step_x, legacy, slices

// features (B,C,H,W), planar or channels-last; offset (B,2GN,h,w), weight (O,C,N), bias (O) or null, mask (B,GN,h,w) or
// null.
API int flowzoo_deform(const float* features, const float* offset, const float* weight, const float* bias,
                       const float* mask, float* result, SHAPE, int64_t channels_last, int64_t threads) try {
    const Shape s{SHAPE_VALUES};
    const Buffer planes(s.batch * s.planes() * s.plane()), packed(s.taps * s.channels * s.wide_outputs());
    int status = pack(s, features, channels_last != 0, planes.get(), threads);
    pack_weights(s, weight, packed.get());
    const int64_t tiles = Tile::number(s);
    status |= run_tasks(0, s.batch * tiles, threads, [&](auto next) {
        const Buffer values(kTile * s.read_step()), sums(kTile * s.wide_outputs());
        for (int64_t task = next(); task >= 0; task = next())
            forward_tile(s, planes.get(), {offset, mask}, packed.get(), bias, task / tiles, Tile(s, task % tiles),
                         values.get(), sums.get(), result);
        finish_streams();
    });
    return status;
} catch (const std::bad_alloc&) {
    return 1;
}

namespace {

// The weights of every slice as (O, taps x channels), so that the gradient to all that a pixel reads is one product.
void pack_weights_by_slice(const Shape& s, const float* weight, int64_t step, float* packed) {
    std::memset(packed, 0, s.planes() * s.outputs * step * sizeof(float));
    for (int64_t p = 0; p < s.planes(); ++p) {
        const Slice part(s, p);
        for (int64_t o = 0; o < s.outputs; ++o)
            for (int64_t c = part.begin; c < part.end; ++c)
                for (int64_t n = 0; n < s.taps; ++n)
                    packed[(p * s.outputs + o) * step + n * s.slice() + c - part.begin] =
                        weight[(o * s.channels + c) * s.taps + n];
    }
}

void unpack_weights(const Shape& s, const float* parts, float* weight) {
    const int64_t wide = s.wide_outputs(), lines = s.taps * s.slice();
    for (int64_t p = 0; p < s.planes(); ++p) {
        const Slice part(s, p);
        for (int64_t c = part.begin; c < part.end; ++c)
            for (int64_t n = 0; n < s.taps; ++n)
                for (int64_t o = 0; o < s.outputs; ++o) {
                    float sum = 0;
                    for (int64_t image = 0; image < s.batch; ++image)
                        sum += parts[((image * s.planes() + p) * lines + n * s.slice() + c - part.begin) * wide + o];
                    weight[(o * s.channels + c) * s.taps + n] = sum;
                }
    }
}

// What backward works with: tensors of the caller, who has made them large enough.
struct Gradients {
    const float *gradient, *weights;  // by tile (pixels, wide outputs); of every slice (O, step)
    const float* planes;
    float *to_planes, *parts;         // parts: of the gradient to the weights, by image and slice
    float *to_offset, *to_mask;       // (slices, B, ...); to_mask may be null
};

// One slice of one image.
void backward_slice(const Shape& s, Inputs in, const Gradients& g, int64_t image, int64_t p, float* values, float* wanted,
                    float* part_of_weights) {
    constexpr int64_t kTilesTogether = 16;  // their sum is added to that of all: long sums lose digits
    const int64_t wide = s.wide_outputs(), lines = s.taps * s.slice(), step = rounded_up(lines, kLanes);
    const int64_t number = image * s.planes() + p, all_offsets = s.batch * s.groups * s.taps * s.pixels();
    const float* weights = g.weights + p * s.outputs * step;
    float* total = g.parts + number * lines * wide;
    Backward work{s, Slice(s, p), g.planes + number * s.plane(), g.to_planes + number * s.plane(), step, values, wanted};
    std::memset(work.to_plane, 0, s.plane() * sizeof(float));
    std::memset(total, 0, lines * wide * sizeof(float));
    std::memset(part_of_weights, 0, lines * wide * sizeof(float));
    const int64_t tiles = Tile::number(s), slice_number = p % s.slices;
    Places places;
    for (int64_t t = 0; t < tiles; ++t) {
        const Tile tile(s, t);
        const float* incoming = g.gradient + (image * tiles + t) * kTile * wide;
        std::memset(wanted, 0, tile.count * step * sizeof(float));
        multiply({incoming, wide, 1}, tile.count, s.outputs, step, weights, step, wanted, step);
        for (int64_t n = 0; n < s.taps; ++n) {
            places.find(s, tile, n, in.offsets(s, image, work.part.group, n), in.masks(s, image, work.part.group, n));
            const int64_t at = ((image * s.groups + work.part.group) * s.taps + n) * s.pixels();
            float* to_mask = g.to_mask ? g.to_mask + slice_number * all_offsets + at : nullptr;
            work.tap(places, tile, n, g.to_offset + 2 * (slice_number * all_offsets + at), to_mask);
        }
        multiply({values, 1, step}, lines, tile.count, wide, incoming, wide, part_of_weights, wide);
        if (t % kTilesTogether == kTilesTogether - 1 || t + 1 == tiles) {
            for (int64_t i = 0; i < lines * wide; ++i) total[i] += part_of_weights[i];
            std::memset(part_of_weights, 0, lines * wide * sizeof(float));
        }
    }
}

}  // namespace

// gradient (B,O,h,w) of the result; the others as above, and where their gradients go. to_offset and to_mask have a first
// dimension of `slices`, whose entries are to be added up.
API int flowzoo_deform_backward(const float* gradient, const float* features, const float* offset, const float* weight,
                                const float* mask, float* to_features, float* to_offset, float* to_weight,
                                float* to_mask, SHAPE, int64_t channels_last, int64_t threads) try {
    const Shape s{SHAPE_VALUES};
    const int64_t wide = s.wide_outputs(), lines = s.taps * s.slice(), step = rounded_up(lines, kLanes);
    const int64_t tiles = Tile::number(s), planes = s.batch * s.planes();
    const Buffer map(planes * s.plane()), to_map(planes * s.plane()), turned(s.batch * tiles * kTile * wide);
    const Buffer packed(s.planes() * s.outputs * step), parts(planes * lines * wide);
    int status = pack(s, features, channels_last != 0, map.get(), threads);
    pack_weights_by_slice(s, weight, step, packed.get());
    status |= run_tasks(0, s.batch * tiles, threads, [&](auto next) {
        for (int64_t task = next(); task >= 0; task = next()) {
            const float* image = gradient + task / tiles * s.outputs * s.pixels();
            load_turned(Tile(s, task % tiles), image, s.pixels(), s.outputs, turned.get() + task * kTile * wide, wide);
        }
    });
    const Gradients all{turned.get(), packed.get(), map.get(), to_map.get(), parts.get(), to_offset, to_mask};
    status |= run_tasks(0, planes, threads, [&](auto next) {
        const Buffer values(kTile * step), wanted(kTile * step), sums(lines * wide);
        for (int64_t task = next(); task >= 0; task = next())
            backward_slice(s, {offset, mask}, all, task / s.planes(), task % s.planes(), values.get(), wanted.get(),
                           sums.get());
    });
    status |= run_tasks(0, planes * s.height, threads, [&](auto next) {
        for (int64_t task = next(); task >= 0; task = next()) {
            const int64_t number = task / s.height, image = number / s.planes();
            unpack_row(s, to_map.get() + number * s.plane(), Slice(s, number % s.planes()), task % s.height,
                       to_features + image * s.channels * s.height * s.width);
        }
    });
    unpack_weights(s, parts.get(), to_weight);
    return status;
} catch (const std::bad_alloc&) {
    return 1;
}
