// The gradients of sampled correlation for dilation 1 and radii that fit: see
// flowzoo/operators/sampled_volume/definition.py for what they are.
//
// A window has WINDOW x WINDOW whole pixels. The gradient to the costs, blended back (the adjoint of the 2x2 blend),
// weights them: the first map's gradient is the weighted sum of the window's vectors, and the second map's gets each
// pixel's vector with these weights.

#include "sampled_boxes.cuh"

#define AREA (WINDOW * WINDOW)  // a multiple of four, since SIDE is odd
#define PITCH (AREA + 1)        // odd: a warp's pixels lie in different banks

// The weights of a window pixel, and how they change with the flow.
struct alignas(16) Weight {
    float value, along_x, along_y, unused;
};

__device__ __forceinline__ Weight blended_back(const float* gradient, int row, int column, const Window& w) {
    Weight weight = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll
    for (int k = 0; k < 4; ++k) {
        const int below = k / 2, beside = k % 2, y = row - below, x = column - beside;
        if (y < 0 || y >= SIDE || x < 0 || x >= SIDE) continue;
        const float down = below ? w.down : 1.0f - w.down, right = beside ? w.right : 1.0f - w.right;
        weight.value += gradient[y * SIDE + x] * down * right;
        weight.along_x += gradient[y * SIDE + x] * (beside ? down : -down);
        weight.along_y += gradient[y * SIDE + x] * (below ? right : -right);
    }
    return weight;
}

// The gradients to the first map and to the flow: a warp a pixel, eight lanes of four channels a window pixel, four
// window pixels at a time. Shared memory: for each warp AREA weights, then for each SIDE^2 gradients.
extern "C" __global__ void __launch_bounds__(256, 1)
correlation_to_first(const Storage* gradient, const Storage* first, const Storage* second, const float* flow,
                     Storage* to_first, float* to_flow, Long batch, int channels, int height, int width, int rows,
                     int columns, int stride, float share, Long first_block) {
    DYNAMIC_SHARED(shared);
    const Sizes s = {channels, height, width, rows, columns, 1, stride};
    const Long plane = static_cast<Long>(rows) * columns;
    const Long start = (blockIdx.x + first_block) * blockDim.y, pixel = start + threadIdx.y;
    float* gradients = shared + blockDim.y * AREA * 4;
    share_gradients(gradient, start, batch * plane, plane, share, gradients);
    if (pixel >= batch * plane) return;
    const Window w = find_window(flow, pixel, s);
    Weight* weights = reinterpret_cast<Weight*>(shared) + threadIdx.y * AREA;
    for (int n = threadIdx.x; n < AREA; n += 32)
        weights[n] = blended_back(gradients + threadIdx.y * SIDE * SIDE, n / WINDOW, n % WINDOW, w);
    __syncwarp();
    float along[2] = {0.0f, 0.0f};
#pragma unroll 1
    for (int begin = 0; begin < channels; begin += 32) {
        const int channel = begin + threadIdx.x % 8 * 4;
        const bool exists = channel < channels;
        const float4 mine = four_or_zero(first, exists ? pixel * channels : -1, channel);
        float4 total = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll 1
        for (int start = threadIdx.x / 8; start < AREA; start += 4 * BATCH) {
            float4 theirs[BATCH];
#pragma unroll
            for (int i = 0; i < BATCH; ++i) {
                const int n = start + 4 * i;
                theirs[i] = four_or_zero(second, exists && n < AREA ? w.at(n / WINDOW, n % WINDOW, s) : -1, channel);
            }
#pragma unroll
            for (int i = 0; i < BATCH; ++i) {
                if (start + 4 * i >= AREA) break;
                const Weight weight = weights[start + 4 * i];
                const float product = dot(mine, theirs[i]);
                total.x += weight.value * theirs[i].x;
                total.y += weight.value * theirs[i].y;
                total.z += weight.value * theirs[i].z;
                total.w += weight.value * theirs[i].w;
                along[0] += weight.along_x * product;
                along[1] += weight.along_y * product;
            }
        }
#pragma unroll
        for (int step = 8; step < 32; step *= 2) {
            total.x += __shfl_xor_sync(WHOLE_WARP, total.x, step);
            total.y += __shfl_xor_sync(WHOLE_WARP, total.y, step);
            total.z += __shfl_xor_sync(WHOLE_WARP, total.z, step);
            total.w += __shfl_xor_sync(WHOLE_WARP, total.w, step);
        }
        if (exists && threadIdx.x < 8) {
            const Storage4 result = {narrow(total.x), narrow(total.y), narrow(total.z), narrow(total.w)};
            *reinterpret_cast<Storage4*>(to_first + pixel * channels + channel) = result;
        }
    }
    put_flow(to_flow, w, pixel, plane, along);
}

// A row of a pixel's weights, from the gradients to its costs, `plane` apart.
__device__ __forceinline__ void find_weights(float* weights, const Storage* gradient, Long plane, int row, float down,
                                             float right, float share) {
    float before = 0.0f;
#pragma unroll
    for (int column = 0; column < WINDOW; ++column) {
        float here = 0.0f;
        if (column < SIDE && row > 0) here += down * widen(gradient[((row - 1) * SIDE + column) * plane]);
        if (column < SIDE && row < SIDE) here += (1.0f - down) * widen(gradient[(row * SIDE + column) * plane]);
        weights[column] = share * ((1.0f - right) * here + right * before);
        before = here;
    }
}

// The window pixels of one pixel that does not look where its tile does: a warp, straight to memory.
__device__ __forceinline__ void add_window(Sum* to_second, const float* weights, const float* vector, int top, int left,
                                           Long image, int begin, const Sizes& s, double scale) {
    const int quad = threadIdx.x % 8 * 4;
    if (begin + quad >= s.channels) return;
    const float4 mine = *reinterpret_cast<const float4*>(vector + quad);
#pragma unroll 1
    for (int n = threadIdx.x / 8; n < AREA; n += 4) {
        const int y = top + n / WINDOW, x = left + n % WINDOW;
        const float weight = weights[n];
        const float4 values = {weight * mine.x, weight * mine.y, weight * mine.z, weight * mine.w};
        put_sums(to_second, values, image, y, x, begin + quad, s, scale);
    }
}

// The gradient to the second map, zero at the start: a block of 32 x 8 threads has a tile. Its box is summed in registers:
// every warp has pairs of its rows, a lane one of eight columns and eight channels.
extern "C" __global__ void __launch_bounds__(256, 2)
correlation_to_second(const Storage* gradient, const Storage* first, const float* flow, Sum* to_second,
                      const double* fixed_scale, Long batch, int channels, int height, int width, int rows, int columns,
                      int stride, float share, Long first_block) {
    __shared__ Places places;
    __shared__ float weights[PIXELS][PITCH];
    __shared__ __align__(16) float features[PIXELS][HELD];
    const Sizes s = {channels, height, width, rows, columns, 1, stride};
    const Long plane = static_cast<Long>(rows) * columns;
    const double scale = FIXED ? *fixed_scale : 1.0;
    const Tile tile = find_tile(blockIdx.x + first_block, s);
    const Long image = tile.image;
    const int begin = tile.begin, thread = threadIdx.y * 32 + threadIdx.x;
    if (thread < PIXELS) find_place(places, flow, tile, thread, s);
    for (int i = thread; i < PIXELS * HELD / 4; i += 256) {
        const int pixel = i / (HELD / 4), channel = i % (HELD / 4) * 4;
        const Long place = tile.at(pixel, s);
        float4 values = {0.0f, 0.0f, 0.0f, 0.0f};
        if (place >= 0 && begin + channel < channels)
            values = four(first + (image * plane + place) * channels + begin + channel);
        *reinterpret_cast<float4*>(&features[pixel][channel]) = values;
    }
    __syncthreads();
#pragma unroll 1
    for (int i = thread; i < PIXELS * WINDOW; i += 256) {
        const int pixel = i % PIXELS, row = i / PIXELS;
        if (places.top[pixel] == NOWHERE) continue;
        find_weights(&weights[pixel][row * WINDOW], gradient + image * SIDE * SIDE * plane + tile.at(pixel, s), plane,
                     row, places.down[pixel], places.right[pixel], share);
    }
    __syncthreads();

    const Box box = find_box(places, tile, s);
    const int lane_column = threadIdx.x % 8, lane_channel = threadIdx.x / 8 * 8;
#pragma unroll 1
    for (int item = threadIdx.y; box.exists && item < BOX_ROWS / 2 * (BOX_COLUMNS / 8); item += 8) {
        const int y = box.top + item / (BOX_COLUMNS / 8) * 2, segment = box.left + item % (BOX_COLUMNS / 8) * 8;
        float total[2][8];
#pragma unroll
        for (int k = 0; k < 8; ++k) total[0][k] = total[1][k] = 0.0f;
#pragma unroll 1
        for (int pixel = 0; pixel < PIXELS; ++pixel) {
            const int row = y - places.top[pixel], column = segment - places.left[pixel];
            if (row <= -2 || row >= WINDOW || column <= -8 || column >= WINDOW) continue;
            if (!box.holds(places.top[pixel], places.left[pixel])) continue;
            const int mine = column + lane_column;
            const bool across = mine >= 0 && mine < WINDOW;
            const float* weight = weights[pixel] + (row * WINDOW + mine);
            const float upper = across && row >= 0 ? weight[0] : 0.0f;
            const float lower = across && row + 1 < WINDOW ? weight[WINDOW] : 0.0f;
            const float4 one = *reinterpret_cast<const float4*>(&features[pixel][lane_channel]);
            const float4 other = *reinterpret_cast<const float4*>(&features[pixel][lane_channel + 4]);
            const float values[8] = {one.x, one.y, one.z, one.w, other.x, other.y, other.z, other.w};
#pragma unroll
            for (int k = 0; k < 8; ++k) {
                total[0][k] += upper * values[k];
                total[1][k] += lower * values[k];
            }
        }
#pragma unroll
        for (int k = 0; k < 16; k += 4) {
            const float* four_totals = &total[k / 8][k % 8];
            const float4 sums = {four_totals[0], four_totals[1], four_totals[2], four_totals[3]};
            put_sums(to_second, sums, image, y + k / 8, segment + lane_column, begin + lane_channel + k % 8, s, scale);
        }
    }
#pragma unroll 1
    for (int pixel = threadIdx.y; pixel < PIXELS; pixel += 8)
        if (places.top[pixel] != NOWHERE && !box.holds(places.top[pixel], places.left[pixel]))
            add_window(to_second, weights[pixel], features[pixel], places.top[pixel], places.left[pixel], image, begin,
                       s, scale);
}
