// Tiles of pixels that look nearly alike, for the gradients to the second map of sampled cost volumes with dilation 1.
//
// A block has a tile of 8 x 8 pixels and 32 channels. What pixels that look where the tile's middle does give back is
// summed in a box around there first, so a tile that moves as one adds each number to memory once. The windows of the
// others go straight to memory.

#include "sampled_volume.cuh"

#define WINDOW (SIDE + 1)  // whole pixels along a side of what a pixel sees
#define TILE 8
#define PIXELS (TILE * TILE)
#define HELD 32  // channels
// What is summed before it is added to memory: the windows of a tile that moves as one, and some more.
#define BOX_ROWS ((WINDOW + TILE - 1 + 3) / 2 * 2)
#define BOX_COLUMNS ((WINDOW + TILE - 1 + 7) / 8 * 8)
#define NOWHERE (1 << 30)

struct Tile {
    Long image;
    int y, x, begin;  // of its first pixel and channel
    // Place among the image's pixels of the tile's pixel `number`; -1 off the map.
    __device__ __forceinline__ Long at(int number, const Sizes& s) const {
        const int row = y + number / TILE, column = x + number % TILE;
        return row < s.rows && column < s.columns ? static_cast<Long>(row) * s.columns + column : -1;
    }
};

__device__ __forceinline__ Tile find_tile(Long index, const Sizes& s) {
    Tile tile;
    tile.begin = static_cast<int>(take(index, (s.channels + HELD - 1) / HELD)) * HELD;
    tile.x = static_cast<int>(take(index, (s.columns + TILE - 1) / TILE)) * TILE;
    tile.y = static_cast<int>(take(index, (s.rows + TILE - 1) / TILE)) * TILE;
    tile.image = index;
    return tile;
}

// Where a tile's pixels look.
struct Places {
    int top[PIXELS], left[PIXELS];  // of their windows; NOWHERE without any pixel of the map
    float down[PIXELS], right[PIXELS];
};

__device__ __forceinline__ void find_place(Places& places, const float* flow, const Tile& tile, int number,
                                           const Sizes& s) {
    const Long place = tile.at(number, s);
    places.top[number] = places.left[number] = NOWHERE;
    if (place < 0) return;
    const Window w = find_window(flow, tile.image * s.rows * s.columns + place, s);
    places.down[number] = w.down;
    places.right[number] = w.right;
    if (w.top <= -WINDOW || w.top >= s.height || w.left <= -WINDOW || w.left >= s.width) return;
    places.top[number] = w.top;
    places.left[number] = w.left;
}

// Part of the second map, BOX_ROWS x BOX_COLUMNS pixels around where the tile's middle looks.
struct Box {
    bool exists;  // else nothing lies within
    int top, left;
    // Whether the window of a pixel that looks there lies within.
    __device__ __forceinline__ bool holds(int window_top, int window_left) const {
        return window_top >= top && window_top <= top + BOX_ROWS - WINDOW && window_left >= left &&
               window_left <= left + BOX_COLUMNS - WINDOW;
    }
};

__device__ __forceinline__ Box find_box(const Places& places, const Tile& tile, const Sizes& s) {
    const int middle_y = (s.rows - tile.y < TILE ? s.rows - tile.y : TILE) / 2;
    const int middle_x = (s.columns - tile.x < TILE ? s.columns - tile.x : TILE) / 2;
    const int middle = middle_y * TILE + middle_x;
    return {places.top[middle] != NOWHERE, places.top[middle] - (BOX_ROWS - WINDOW) / 2,
            places.left[middle] - (BOX_COLUMNS - WINDOW) / 2};
}

// Four neighbouring channels' sums of a pixel of the second map, to memory.
__device__ __forceinline__ void put_sums(Sum* to_second, const float4& sums, Long image, int y, int x, int channel,
                                         const Sizes& s, double scale) {
    if (y < 0 || y >= s.height || x < 0 || x >= s.width || channel >= s.channels) return;
    if (sums.x == 0.0f && sums.y == 0.0f && sums.z == 0.0f && sums.w == 0.0f) return;
    add_four(to_second + ((image * s.height + y) * s.width + x) * s.channels + channel, sums, scale);
}
