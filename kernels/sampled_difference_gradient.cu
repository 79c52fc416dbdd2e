// The gradients of sampled SAD for dilation 1 and radii that fit: see flowzoo/operators/sampled_volume/definition.py for
// what they are. For others: sampled_volume.cu.
//
// A lane has one channel. It goes down the rows of a pixel's window, which are blended from side to side as they are
// read, and keeps two of them: each vector of the window is read once, and the slope of |sampled - first| is known for
// a row of displacements at a time. The slopes of a channel are the gradient to the first map; blended back (the adjoint
// of the 2x2 blend), they are what the window's pixels get of the gradient to the second.

#include "sampled_boxes.cuh"

#define BAND 2  // rows of a box that a warp sums
#define BAND_SUMS (BAND * BOX_COLUMNS * HELD)

// One channel of where one pixel looks.
struct Sight {
    Long corner;  // place in the second map of the window's first pixel, if it had all pixels
    int top, left;
    float down, right;
    float value;  // of the pixel itself
    bool exists;  // channels that do not read nothing

    __device__ __forceinline__ Sight(Long image, int window_top, int window_left, float share_down, float share_right,
                                     const Storage* vector, int channel, const Sizes& s) {
        top = window_top;
        left = window_left;
        down = share_down;
        right = share_right;
        exists = channel < s.channels;
        value = exists ? widen(vector[channel]) : 0.0f;
        corner = ((image * s.height + top) * s.width + left) * s.channels + channel;
    }
};

// A row of a window: values between its pixels, and how they change along x.
struct Row {
    float sampled[SIDE], along[SIDE];

    __device__ __forceinline__ void read(const Storage* second, const Sight& sight, int row, const Sizes& s) {
        const int y = sight.top + row;
        const bool inside = sight.exists && y >= 0 && y < s.height;
        const Long start = sight.corner + static_cast<Long>(row) * s.width * s.channels;
        float pixels[WINDOW];
        // Something is read in any case, so that loads need not wait for each other.
#pragma unroll
        for (int x = 0; x < WINDOW; ++x) {
            const int column = sight.left + x;
            const bool shown = inside && column >= 0 && column < s.width;
            const float value = widen(second[shown ? start + static_cast<Long>(x) * s.channels : 0]);
            pixels[x] = shown ? value : 0.0f;
        }
#pragma unroll
        for (int x = 0; x < SIDE; ++x) {
            sampled[x] = blend(pixels[x], pixels[x + 1], sight.right);
            along[x] = pixels[x + 1] - pixels[x];
        }
    }
};

// d |sampled - first| / d sampled times the incoming gradient.
__device__ __forceinline__ float slope(float above, float below, const Sight& sight, float gradient) {
    const float gap = blend(above, below, sight.down) - sight.value;
    return gap > 0.0f ? gradient : (gap < 0.0f ? -gradient : 0.0f);
}

// The gradients to the first map and to the flow: a warp a pixel. Shared memory: for each warp SIDE^2 gradients.
extern "C" __global__ void __launch_bounds__(256, 1)
difference_to_first(const Storage* gradient, const Storage* first, const Storage* second, const float* flow,
                    Storage* to_first, float* to_flow, Long batch, int channels, int height, int width, int rows,
                    int columns, int stride, float share, Long first_block) {
    DYNAMIC_SHARED(shared);
    const Sizes s = {channels, height, width, rows, columns, 1, stride};
    const Long plane = static_cast<Long>(rows) * columns;
    const Long start = (blockIdx.x + first_block) * blockDim.y, pixel = start + threadIdx.y;
    share_gradients(gradient, start, batch * plane, plane, share, shared);
    if (pixel >= batch * plane) return;
    const Window w = find_window(flow, pixel, s);
    float along[2] = {0.0f, 0.0f};
#pragma unroll 1
    for (int channel = threadIdx.x; channel < channels; channel += 32) {
        const Sight sight(w.image, w.top, w.left, w.down, w.right, first + pixel * channels, channel, s);
        const float* incoming = shared + threadIdx.y * SIDE * SIDE;
        float total = 0.0f;
        Row above, below;
        above.read(second, sight, 0, s);
#pragma unroll 1
        for (int row = 1; row < WINDOW; ++row, incoming += SIDE) {
            below.read(second, sight, row, s);
#pragma unroll
            for (int x = 0; x < SIDE; ++x) {
                const float part = slope(above.sampled[x], below.sampled[x], sight, incoming[x]);
                total -= part;
                along[0] += part * blend(above.along[x], below.along[x], sight.down);
                along[1] += part * (below.sampled[x] - above.sampled[x]);
            }
            above = below;
        }
        to_first[pixel * channels + channel] = narrow(total);
    }
    put_flow(to_flow, w, pixel, plane, along);
}

// What the window's rows from `begin` to before `end` get of one channel: `put` takes (row, column, sum). `incoming` are
// the gradients to the pixel's costs.
template <class Put>
__device__ __forceinline__ void give_back(const Storage* second, const Sight& sight, const float* incoming, int begin,
                                          int end, const Sizes& s, const Put& put) {
    Row above, below;
    float from_above[SIDE];  // the lower share of the row of displacements above
    below.read(second, sight, begin, s);
    if (begin > 0) above.read(second, sight, begin - 1, s);
#pragma unroll
    for (int x = 0; x < SIDE; ++x) {
        from_above[x] = 0.0f;
        if (begin > 0)
            from_above[x] =
                sight.down * slope(above.sampled[x], below.sampled[x], sight, incoming[(begin - 1) * SIDE + x]);
    }
#pragma unroll 1
    for (int row = begin; row < end; ++row) {
        above = below;
        if (row < SIDE) below.read(second, sight, row + 1, s);
        float before = 0.0f;
#pragma unroll
        for (int x = 0; x < WINDOW; ++x) {
            float here = 0.0f;
            if (x < SIDE) {
                here = from_above[x];
                if (row < SIDE) {
                    const float part = slope(above.sampled[x], below.sampled[x], sight, incoming[row * SIDE + x]);
                    here += (1.0f - sight.down) * part;
                    from_above[x] = sight.down * part;
                }
            }
            put(row, x, (1.0f - sight.right) * here + sight.right * before);
            before = here;
        }
    }
}

// The incoming gradients of a tile's pixels, times 1 / channels: SIDE^2 of each pixel.
__device__ __forceinline__ void bring_gradients(float* gradients, const Storage* gradient, const Tile& tile,
                                                float share, const Sizes& s) {
    const Long plane = static_cast<Long>(s.rows) * s.columns;
#pragma unroll 1
    for (int i = threadIdx.y * 32 + threadIdx.x; i < PIXELS * SIDE * SIDE; i += 32 * blockDim.y) {
        const int pixel = i % PIXELS, d = i / PIXELS;
        const Long place = tile.at(pixel, s);
        gradients[pixel * SIDE * SIDE + d] =
            place < 0 ? 0.0f : widen(gradient[(tile.image * SIDE * SIDE + d) * plane + place]) * share;
    }
}

// A warp's part of a box, rows from `top` on, to memory: eight lanes of four channels a pixel.
__device__ __forceinline__ void put_band(Sum* to_second, const float* band, int top, const Box& box, const Tile& tile,
                                         const Sizes& s, double scale) {
    const int quad = threadIdx.x % 8 * 4;
#pragma unroll 1
    for (int n = threadIdx.x / 8; n < BAND * BOX_COLUMNS; n += 4) {
        const float4 sums = *reinterpret_cast<const float4*>(band + n * HELD + quad);
        put_sums(to_second, sums, tile.image, top + n / BOX_COLUMNS, box.left + n % BOX_COLUMNS, tile.begin + quad, s,
                 scale);
    }
}

// The gradient to the second map, zero at the start: a block of up to four warps has a tile, a warp pairs of its box's
// rows. Shared memory: where pixels look, their gradients, for each warp a band of sums.
extern "C" __global__ void __launch_bounds__(128, 3)
difference_to_second(const Storage* gradient, const Storage* first, const Storage* second, const float* flow,
                     Sum* to_second, const double* fixed_scale, Long batch, int channels, int height, int width,
                     int rows, int columns, int stride, float share, Long first_block) {
    DYNAMIC_SHARED(shared);
    Places& places = *reinterpret_cast<Places*>(shared);
    float* gradients = shared + sizeof(Places) / sizeof(float);
    float* band = gradients + PIXELS * SIDE * SIDE + threadIdx.y * BAND_SUMS;
    const Sizes s = {channels, height, width, rows, columns, 1, stride};
    const double scale = FIXED ? *fixed_scale : 1.0;
    const Tile tile = find_tile(blockIdx.x + first_block, s);
    for (int i = threadIdx.y * 32 + threadIdx.x; i < PIXELS; i += 32 * blockDim.y)
        find_place(places, flow, tile, i, s);
    bring_gradients(gradients, gradient, tile, share, s);
    __syncthreads();

    const Box box = find_box(places, tile, s);
    const int channel = tile.begin + threadIdx.x;
    const Long image = tile.image * rows * columns;
#pragma unroll 1
    for (int item = threadIdx.y; box.exists && item < BOX_ROWS / BAND; item += blockDim.y) {
        const int band_top = box.top + item * BAND;
        for (int i = threadIdx.x; i < BAND_SUMS; i += 32) band[i] = 0.0f;  // a lane's own channel
#pragma unroll 1
        for (int pixel = 0; pixel < PIXELS; ++pixel) {
            const int top = places.top[pixel], left = places.left[pixel];
            const int begin = band_top > top ? band_top - top : 0;
            const int end = band_top + BAND - top < WINDOW ? band_top + BAND - top : WINDOW;
            if (begin >= end || !box.holds(top, left)) continue;
            const Storage* vector = first + (image + tile.at(pixel, s)) * channels;
            const Sight sight(tile.image, top, left, places.down[pixel], places.right[pixel], vector, channel, s);
            float* sums = band + ((top - band_top) * BOX_COLUMNS + left - box.left) * HELD + threadIdx.x;
            give_back(second, sight, gradients + pixel * SIDE * SIDE, begin, end, s, [&](int row, int x, float sum) {
                sums[(row * BOX_COLUMNS + x) * HELD] += sum;
            });
        }
        __syncwarp();
        put_band(to_second, band, band_top, box, tile, s, scale);
        __syncwarp();
    }
    // Pixels that do not look where their tile does, straight to memory.
#pragma unroll 1
    for (int pixel = threadIdx.y; pixel < PIXELS; pixel += blockDim.y) {
        const int top = places.top[pixel], left = places.left[pixel];
        if (top == NOWHERE || box.holds(top, left) || channel >= channels) continue;
        const Storage* vector = first + (image + tile.at(pixel, s)) * channels;
        const Sight sight(tile.image, top, left, places.down[pixel], places.right[pixel], vector, channel, s);
        give_back(second, sight, gradients + pixel * SIDE * SIDE, 0, WINDOW, s, [&](int row, int x, float sum) {
            const int y = top + row, column = left + x;
            if (y < 0 || y >= height || column < 0 || column >= width || sum == 0.0f) return;
            add(to_second + ((tile.image * height + y) * width + column) * channels + channel, sum, scale);
        });
    }
}
