// Deformable convolution: what every output pixel reads with every tap, and what a gradient to that means for the map,
// the offsets and the masks. See flowzoo/operators/deform/definition.py. Products with the weights are left to a matrix
// library, for some pixels of one image at a time.
//
// A thread has one tap of one group at one output pixel, neighbours along x beside each other, and walks through the
// group's channels. The gradient to the map is a sum over whatever reads there: of 64-bit integers, because their sum has
// no order; `fixed_scale`, a power of two, comes in memory. All tensors are of one image.

#include "common.cuh"

// Sides and single coordinates fit 32 bits (the launcher refuses more); places in memory do not.
struct Grid {
    int height, width, rows, columns, taps, tap_columns, stride_y, stride_x, pad_y, pad_x, step_y, step_x, legacy;
};

#define GRID                                                                                                         \
    int height, int width, int rows, int columns, int taps, int tap_columns, int stride_y, int stride_x, int pad_y,  \
        int pad_x, int step_y, int step_x, int legacy

#define GRID_VALUES                                                                                                  \
    height, width, rows, columns, taps, tap_columns, stride_y, stride_x, pad_y, pad_x, step_y, step_x, legacy

// Which tap of which group at which pixel a thread has.
struct Task {
    Long pixel, number;  // of the image; of those that are done together
    int tap, group;

    __device__ __forceinline__ Task(Long index, Long first, Long count, int taps) {
        number = take(index, count);
        pixel = first + number;
        tap = static_cast<int>(take(index, taps));
        group = static_cast<int>(index);
    }
    // Of a (groups, taps, pixels) tensor.
    __device__ __forceinline__ Long at(int taps, Long pixels) const {
        return (static_cast<Long>(group) * taps + tap) * pixels;
    }
};

struct Place {
    Long corner[4];  // upper left, upper right, lower left, lower right in a plane of the map; -1 = not read
    float down, right, shown;

    __device__ __forceinline__ Place(const Grid& g, const Task& task, const float* offset, const float* mask) {
        const Long pixels = static_cast<Long>(g.rows) * g.columns, at = task.at(g.taps, pixels) + task.pixel;
        const Long offset_at = 2 * task.at(g.taps, pixels) + task.pixel;
        const float y = offset[offset_at], x = offset[offset_at + pixels];
        const bool known = fabsf(y) < 1e9f && fabsf(x) < 1e9f;  // NaN is not, and larger ones lead nowhere
        const float whole_y = floorf(known ? y : 0.0f), whole_x = floorf(known ? x : 0.0f);
        down = (known ? y : 0.0f) - whole_y;
        right = (known ? x : 0.0f) - whole_x;
        const int row = static_cast<int>(task.pixel / g.columns), column = static_cast<int>(task.pixel % g.columns);
        const int top = static_cast<int>(whole_y) + row * g.stride_y - g.pad_y + task.tap / g.tap_columns * g.step_y;
        const int left =
            static_cast<int>(whole_x) + column * g.stride_x - g.pad_x + task.tap % g.tap_columns * g.step_x;
        const int least = g.legacy ? 0 : -1;
        // Exactly one pixel outside reads 0, but would have a derivative.
        const bool edge = (top == -1 && down == 0.0f) || (left == -1 && right == 0.0f);
        const bool reads = known && top >= least && top < g.height && left >= least && left < g.width && !edge;
        shown = reads && mask ? mask[at] : (reads ? 1.0f : 0.0f);
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            int v = top + k / 2, u = left + k % 2;
            if (g.legacy) {  // the last row and column repeat
                v = v < g.height ? v : g.height - 1;
                u = u < g.width ? u : g.width - 1;
            }
            const bool inside = reads && v >= 0 && v < g.height && u >= 0 && u < g.width;
            corner[k] = inside ? static_cast<Long>(v) * g.width + u : -1;
        }
    }
    __device__ __forceinline__ float share(int k) const {
        return (k / 2 ? down : 1.0f - down) * (k % 2 ? right : 1.0f - right);
    }
};

// values: (C,taps,count), what `count` pixels from `first` on read, times the mask, which may be null.
extern "C" __global__ void __launch_bounds__(256)
deform_values(const Storage* features, const float* offset, const float* mask, float* values, int channels, int groups,
              GRID, Long first, Long count, Long first_block) {
    const Grid g = {GRID_VALUES};
    const Long index = (blockIdx.x + first_block) * 256 + threadIdx.x;
    if (index >= count * taps * groups) return;
    const Task task(index, first, count, taps);
    const Place place(g, task, offset, mask);
    const int each = channels / groups;
    const Long plane = static_cast<Long>(height) * width;
    for (int c = task.group * each; c < (task.group + 1) * each; ++c) {
        float total = 0.0f;
#pragma unroll
        for (int k = 0; k < 4; ++k)
            if (place.corner[k] >= 0) total += place.share(k) * widen(features[c * plane + place.corner[k]]);
        values[(static_cast<Long>(c) * taps + task.tap) * count + task.number] = total * place.shown;
    }
}

// wanted: (C,taps,count), the gradient to `values`. to_features is zero before the first pixels; to_mask may be null.
extern "C" __global__ void __launch_bounds__(256)
deform_places(const float* wanted, const Storage* features, const float* offset, const float* mask,
              unsigned long long* to_features, float* to_offset, float* to_mask, const double* fixed_scale, int channels,
              int groups, GRID, Long first, Long count, Long first_block) {
    const Grid g = {GRID_VALUES};
    const Long index = (blockIdx.x + first_block) * 256 + threadIdx.x;
    if (index >= count * taps * groups) return;
    const Task task(index, first, count, taps);
    const Place place(g, task, offset, mask);
    const int each = channels / groups;
    const Long plane = static_cast<Long>(height) * width, pixels = static_cast<Long>(rows) * columns;
    const double scale = *fixed_scale;
    float dots[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    for (int c = task.group * each; c < (task.group + 1) * each; ++c) {
        const float gradient = wanted[(static_cast<Long>(c) * taps + task.tap) * count + task.number];
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            if (place.corner[k] < 0) continue;
            const Long at = c * plane + place.corner[k];
            dots[k] += gradient * widen(features[at]);
            const double part = static_cast<double>(gradient * (place.share(k) * place.shown)) * scale;
            atomicAdd(to_features + at, static_cast<unsigned long long>(static_cast<Long>(rint(part))));
        }
    }
    const float across_top = dots[1] - dots[0], across_bottom = dots[3] - dots[2];
    const float top = dots[0] + place.right * across_top, bottom = dots[2] + place.right * across_bottom;
    float* target = to_offset + 2 * task.at(taps, pixels) + task.pixel;
    target[0] = place.shown * (bottom - top);
    target[pixels] = place.shown * (across_top + place.down * (across_bottom - across_top));
    if (to_mask) to_mask[task.at(taps, pixels) + task.pixel] = top + place.down * (bottom - top);
}
