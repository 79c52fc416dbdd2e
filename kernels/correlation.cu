// Local correlation and its two transposes: see flowzoo/operators/correlation/definition.py for the definitions.
//
// GROUP (compile option) is how many neighbouring displacements a thread holds in registers; any radius is done in such
// groups. Sizes are arguments. A dilated problem is dilation^2 undilated ones on the map's phases (pixels equal modulo
// the dilation), so tiles in shared memory are always dense. No atomics: results are the same in every run.

#include "common.cuh"

#ifndef GROUP
#define GROUP 9
#endif

#ifndef ROWS
#define ROWS GROUP  // displacement rows of a block of correlate_tile: fewer where there would be too few blocks
#endif

#define TILE_X 32
#define TILE_Y 4
#define CHUNK 8       // channels staged at a time
#define PITCH 40      // floats of a staged row: TILE_X + GROUP - 1, rounded up to 16 bytes
#define KEPT 4        // channels a thread accumulates in the gather
#define NEIGHBOURS ((4 + GROUP - 1 + 3) / 4 * 4)

// Single coordinates fit 32 bits (the launcher refuses longer sides); places in memory do not.
struct Tile {
    Long image;
    int top, left;      // first row and column of the phase
    int rows, columns;  // of the phase
    int y, x;           // first pixel of the tile, in the phase
};

__device__ __forceinline__ Tile find_tile(Long& index, int height, int width, int dilation) {
    Tile tile;
    const int most_rows = (height + dilation - 1) / dilation, most_columns = (width + dilation - 1) / dilation;
    tile.x = static_cast<int>(take(index, (most_columns + TILE_X - 1) / TILE_X)) * TILE_X;
    tile.y = static_cast<int>(take(index, (most_rows + TILE_Y - 1) / TILE_Y)) * TILE_Y;
    tile.left = static_cast<int>(take(index, dilation));
    tile.top = static_cast<int>(take(index, dilation));
    tile.rows = tile.top < height ? (height - tile.top + dilation - 1) / dilation : 0;
    tile.columns = tile.left < width ? (width - tile.left + dilation - 1) / dilation : 0;
    return tile;
}

// Four neighbouring pixels of a phase.
__device__ __forceinline__ void put(Storage* plane, const Tile& tile, int y, int x, int width, int dilation,
                                    const float* values) {
    if (y >= tile.rows) return;
    Storage* row = plane + static_cast<Long>(tile.top + y * dilation) * width + tile.left;
    if (dilation == 1 && width % 4 == 0 && x + 3 < tile.columns) {
        const Storage4 four = {narrow(values[0]), narrow(values[1]), narrow(values[2]), narrow(values[3])};
        *reinterpret_cast<Storage4*>(row + x) = four;
        return;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i)
        if (x + i < tile.columns) row[(x + i) * dilation] = narrow(values[i]);
}

__device__ __forceinline__ void read_neighbours(const float* row, float* values) {
#pragma unroll
    for (int i = 0; i < NEIGHBOURS; i += 4) {
        const float4 four = *reinterpret_cast<const float4*>(row + i);
        values[i] = four.x;
        values[i + 1] = four.y;
        values[i + 2] = four.z;
        values[i + 3] = four.w;
    }
}

// Shared memory of a plane of correlate_tile's two tiles, in floats, and what a thread brings of it.
#define THREADS (32 * ROWS)
#define FIRST_PLANE (TILE_Y * TILE_X)
#define SECOND_PLANE ((TILE_Y + ROWS - 1) * PITCH)
#define SHARE(plane) (((plane) + THREADS - 1) / THREADS)

#if STORAGE == 0 && !defined(FLOWZOO_HOST) && __CUDA_ARCH__ >= 800
#define ASYNCHRONOUS 1
#else
#define ASYNCHRONOUS 0
#endif

// One number into shared memory, or zero; with float32 it is on its way until `arrive`.
__device__ __forceinline__ void bring(float* target, const Storage* source, bool exists) {
#if ASYNCHRONOUS
    const unsigned int address = static_cast<unsigned int>(__cvta_generic_to_shared(target));
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;"
                 :
                 : "r"(address), "l"(source), "r"(exists ? 4 : 0)
                 : "memory");
#else
    *target = exists ? widen(__ldg(source)) : 0.0f;
#endif
}

// Of what this thread brings; others' numbers are there behind a barrier.
__device__ __forceinline__ void arrive() {
#if ASYNCHRONOUS
    asm volatile("cp.async.wait_all;" : : : "memory");
#endif
}

// Where the numbers lie that this thread brings of the first channel's PLANE numbers, COLUMNS a row, from (y, x) of the
// phase on; null outside the map.
template <int PLANE, int COLUMNS>
__device__ __forceinline__ void find_share(const Storage** share, const Storage* image, const Tile& tile, int y, int x,
                                           int width, int dilation, int thread) {
#pragma unroll
    for (int k = 0; k < SHARE(PLANE); ++k) {
        const int i = thread + k * THREADS, row = y + i / COLUMNS, column = x + i % COLUMNS;
        const bool inside = i < PLANE && row >= 0 && row < tile.rows && column >= 0 && column < tile.columns;
        share[k] = inside ? image + static_cast<Long>(tile.top + row * dilation) * width + tile.left + column * dilation
                          : nullptr;
    }
}

// Brings the next CHUNK channels, zeros behind the last of them, and moves on. Without asynchronous copies four are read
// before the first of them is put down.
template <int PLANE>
__device__ __forceinline__ void bring_chunk(float (*target)[PLANE], const Storage** share, const Storage* image,
                                            Long plane, int left, int thread) {
#if ASYNCHRONOUS
#pragma unroll
    for (int c = 0; c < CHUNK; ++c)
#pragma unroll
        for (int k = 0; k < SHARE(PLANE); ++k) {
            const bool exists = share[k] != nullptr && c < left;
            if (thread + k * THREADS < PLANE)
                bring(&target[c][thread + k * THREADS], exists ? share[k] + c * plane : image, exists);
        }
#else
#pragma unroll 1
    for (int start = 0; start < CHUNK; start += 4) {
        Storage read[4][SHARE(PLANE)];
#pragma unroll
        for (int c = 0; c < 4; ++c)
#pragma unroll
            for (int k = 0; k < SHARE(PLANE); ++k)
                read[c][k] = __ldg(share[k] != nullptr && start + c < left ? share[k] + (start + c) * plane : image);
#pragma unroll
        for (int c = 0; c < 4; ++c)
#pragma unroll
            for (int k = 0; k < SHARE(PLANE); ++k)
                if (thread + k * THREADS < PLANE)
                    target[start + c][thread + k * THREADS] =
                        share[k] != nullptr && start + c < left ? widen(read[c][k]) : 0.0f;
    }
#endif
#pragma unroll
    for (int k = 0; k < SHARE(PLANE); ++k)
        if (share[k] != nullptr && left > CHUNK) share[k] += CHUNK * plane;
}

// Large maps. A block of 32 x ROWS threads makes a tile of 32 x 4 pixels for ROWS x GROUP displacements; a warp has
// one displacement row, a thread four pixels and GROUP columns. While CHUNK channels are multiplied, the next are brought.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
correlate_tile(const Storage* first, const Storage* second, Storage* volume, Long batch, int channels, int height,
               int width, int radius, int dilation, float scale, Long first_block) {
    __shared__ __align__(16) float first_tile[2][CHUNK][FIRST_PLANE];
    __shared__ __align__(16) float second_tile[2][CHUNK][SECOND_PLANE];
    const int side = 2 * radius + 1, groups = (side + GROUP - 1) / GROUP;
    const Long plane = static_cast<Long>(height) * width;
    Long index = blockIdx.x + first_block;
    Tile tile = find_tile(index, height, width, dilation);
    const int right = static_cast<int>(take(index, groups)) * GROUP;
    const int down = static_cast<int>(take(index, (side + ROWS - 1) / ROWS)) * ROWS;
    tile.image = index;
    if (tile.y >= tile.rows || tile.x >= tile.columns) return;  // the same for the whole block
    const int lane = threadIdx.x, thread = threadIdx.y * 32 + lane;
    const int column = lane % 8 * 4, row = lane / 8;
    float total[4][GROUP];
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int g = 0; g < GROUP; ++g) total[i][g] = 0.0f;

    const Storage* first_image = first + tile.image * channels * plane;
    const Storage* second_image = second + tile.image * channels * plane;
    const Storage* first_share[SHARE(FIRST_PLANE)];
    const Storage* second_share[SHARE(SECOND_PLANE)];
    find_share<FIRST_PLANE, TILE_X>(first_share, first_image, tile, tile.y, tile.x, width, dilation, thread);
    find_share<SECOND_PLANE, PITCH>(second_share, second_image, tile, tile.y + down - radius, tile.x + right - radius,
                                    width, dilation, thread);
    bring_chunk<FIRST_PLANE>(first_tile[0], first_share, first_image, plane, channels, thread);
    bring_chunk<SECOND_PLANE>(second_tile[0], second_share, second_image, plane, channels, thread);
    int half = 0;
#pragma unroll 1
    for (int start = 0; start < channels; start += CHUNK, half ^= 1) {
        arrive();
        __syncthreads();  // this half is whole, and nobody reads the other one any more
        const int left = channels - start - CHUNK;
        if (left > 0) {
            bring_chunk<FIRST_PLANE>(first_tile[half ^ 1], first_share, first_image, plane, left, thread);
            bring_chunk<SECOND_PLANE>(second_tile[half ^ 1], second_share, second_image, plane, left, thread);
        }
#pragma unroll 2
        for (int c = 0; c < CHUNK; ++c) {
            const float4 pixels = *reinterpret_cast<const float4*>(&first_tile[half][c][row * TILE_X + column]);
            float neighbours[NEIGHBOURS];
            read_neighbours(&second_tile[half][c][(row + threadIdx.y) * PITCH + column], neighbours);
#pragma unroll
            for (int g = 0; g < GROUP; ++g) {
                total[0][g] += pixels.x * neighbours[g];
                total[1][g] += pixels.y * neighbours[g + 1];
                total[2][g] += pixels.z * neighbours[g + 2];
                total[3][g] += pixels.w * neighbours[g + 3];
            }
        }
    }
    const int displaced = down + static_cast<int>(threadIdx.y);
    if (displaced >= side) return;
    Storage* target = volume + (tile.image * side * side + displaced * side + right) * plane;
#pragma unroll
    for (int g = 0; g < GROUP; ++g, target += plane) {
        if (right + g >= side) break;
        const float values[4] = {total[0][g] * scale, total[1][g] * scale, total[2][g] * scale, total[3][g] * scale};
        put(target, tile, tile.y + row, tile.x + column, width, dilation, values);
    }
}

// Small maps, too few for tiles to fill a GPU. A warp makes four neighbouring pixels for one displacement row and GROUP
// columns; eight lanes share a pixel's channels. A block has eight warps.
extern "C" __global__ void __launch_bounds__(256, 1)
correlate_lanes(const Storage* first, const Storage* second, Storage* volume, Long batch, int channels, int height,
                int width, int radius, int dilation, float scale, Long first_block) {
    const int side = 2 * radius + 1, groups = (side + GROUP - 1) / GROUP;
    const Long plane = static_cast<Long>(height) * width, pixels = batch * plane;
    Long index = (blockIdx.x + first_block) * 8 + threadIdx.y;
    const int right = static_cast<int>(take(index, groups)) * GROUP, down = static_cast<int>(take(index, side));
    const int channel = threadIdx.x % 8;
    const Long pixel = index * 4 + threadIdx.x / 8;
    const bool exists = pixel < pixels;
    const Long image = pixel / plane, place = pixel % plane;
    const int y = static_cast<int>(place / width), x = static_cast<int>(place % width);
    const int below = y + (down - radius) * dilation;
    float total[GROUP];
#pragma unroll
    for (int g = 0; g < GROUP; ++g) total[g] = 0.0f;
    if (exists && below >= 0 && below < height) {
        const Storage* here = first + image * channels * plane + place;
        const Storage* there = second + image * channels * plane + static_cast<Long>(below) * width;
#pragma unroll 1
        for (int c = channel; c < channels; c += 8) {
            const float value = widen(here[c * plane]);
#pragma unroll
            for (int g = 0; g < GROUP; ++g) {
                const int beside = x + (right + g - radius) * dilation;
                if (beside >= 0 && beside < width) total[g] += value * widen(there[c * plane + beside]);
            }
        }
    }
#pragma unroll
    for (int g = 0; g < GROUP; ++g) {
#pragma unroll
        for (int step = 4; step > 0; step /= 2) total[g] += __shfl_xor_sync(0xffffffffu, total[g], step);
        if (exists && right + g < side && g % 8 == channel)
            volume[(image * side * side + down * side + right + g) * plane + place] = narrow(total[g] * scale);
    }
}

// Four neighbouring pixels of a phase, zero outside and where they do not exist.
__device__ __forceinline__ void fetch_four(float* values, const Storage* plane, bool exist, bool aligned,
                                           const Tile& tile, int y, int x, int width, int dilation) {
#pragma unroll
    for (int i = 0; i < 4; ++i) values[i] = 0.0f;
    if (!exist || y < 0 || y >= tile.rows) return;
    const Storage* row = plane + static_cast<Long>(tile.top + y * dilation) * width + tile.left;
    if (aligned && x + 3 < tile.columns) {
        const Storage4 four = *reinterpret_cast<const Storage4*>(row + x);
        values[0] = widen(four.x);
        values[1] = widen(four.y);
        values[2] = widen(four.z);
        values[3] = widen(four.w);
        return;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i)
        if (x + i >= 0 && x + i < tile.columns) values[i] = widen(row[(x + i) * dilation]);
}

// A warp brings the TILE_Y x PITCH pixels from (y, x) of the phase on, of its KEPT channels; zeros outside the map.
__device__ __forceinline__ void bring_rows(float (*target)[TILE_Y][PITCH], const Storage* image, Long plane, int left,
                                           const Tile& tile, int y, int x, int width, int dilation) {
#pragma unroll 1
    for (int step = 0; step < TILE_Y * PITCH / 32; ++step) {
        const int i = step * 32 + threadIdx.x, row = y + i / PITCH, column = x + i % PITCH;
        const bool inside = row >= 0 && row < tile.rows && column >= 0 && column < tile.columns;
        const Long place = static_cast<Long>(tile.top + row * dilation) * width + tile.left + column * dilation;
#pragma unroll
        for (int k = 0; k < KEPT; ++k) {
            const bool exists = inside && k < left;
            bring(&target[k][i / PITCH][i % PITCH], exists ? image + k * plane + place : image, exists);
        }
    }
}

// Gather (flipped = 0) and scatter (flipped = 1: the gather of volume'[d, q] = volume[-d, q + d]). A block of 32 x n
// threads makes a tile of 32 x 4 pixels for 4 n channels, a thread four pixels of KEPT channels. Warps share nothing.
extern "C" __global__ void __launch_bounds__(256, 2)
gather_tile(const Storage* volume, const Storage* maps, Storage* result, Long batch, int channels, int height,
            int width, int radius, int dilation, float scale, int flipped, Long first_block) {
    __shared__ __align__(16) float map_tile[8 * KEPT][TILE_Y][PITCH];
    const int side = 2 * radius + 1, held = blockDim.y * KEPT;
    const Long plane = static_cast<Long>(height) * width;
    Long index = blockIdx.x + first_block;
    Tile tile = find_tile(index, height, width, dilation);
    const int start = static_cast<int>(take(index, (channels + held - 1) / held)) * held;
    tile.image = index;
    if (tile.y >= tile.rows || tile.x >= tile.columns) return;  // the same for the whole block
    const int lane = threadIdx.x, column = lane % 8 * 4, row = lane / 8, kept = threadIdx.y * KEPT;
    const Storage* weights = volume + tile.image * side * side * plane;
    const bool aligned = !flipped && dilation == 1 && width % 4 == 0 &&
                         reinterpret_cast<unsigned long long>(volume) % sizeof(Storage4) == 0;
    const Storage* image = maps + (tile.image * channels + start) * plane;
    float total[KEPT][4];
#pragma unroll
    for (int k = 0; k < KEPT; ++k)
#pragma unroll
        for (int i = 0; i < 4; ++i) total[k][i] = 0.0f;

#pragma unroll 1
    for (int down = 0; down < side; ++down)
#pragma unroll 1
        for (int right = 0; right < side; right += GROUP) {
            __syncwarp();
            bring_rows(map_tile + kept, image + kept * plane, plane, channels - start - kept, tile, tile.y + down - radius,
                       tile.x + right - radius, width, dilation);
            float weight[GROUP][4];
#pragma unroll
            for (int g = 0; g < GROUP; ++g) {
                const int displacement = down * side + right + g;
                const int channel = flipped ? side * side - 1 - displacement : displacement;
                const int y = tile.y + row + (flipped ? down - radius : 0);
                const int x = tile.x + column + (flipped ? right + g - radius : 0);
                fetch_four(weight[g], weights + channel * plane, right + g < side, aligned, tile, y, x, width, dilation);
            }
            arrive();
            __syncwarp();
#pragma unroll
            for (int k = 0; k < KEPT; ++k) {
                float neighbours[NEIGHBOURS];
                read_neighbours(&map_tile[kept + k][row][column], neighbours);
#pragma unroll
                for (int g = 0; g < GROUP; ++g)
#pragma unroll
                    for (int i = 0; i < 4; ++i) total[k][i] += weight[g][i] * neighbours[g + i];
            }
        }
#pragma unroll
    for (int k = 0; k < KEPT; ++k) {
        if (start + kept + k >= channels) break;
        const float values[4] = {total[k][0] * scale, total[k][1] * scale, total[k][2] * scale, total[k][3] * scale};
        put(result + (tile.image * channels + start + kept + k) * plane, tile, tile.y + row, tile.x + column, width,
            dilation, values);
    }
}
