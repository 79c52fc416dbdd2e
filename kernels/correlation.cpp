// Local correlation and its two transposes on the CPU: float32, contiguous (B,C,H,W) maps, any radius and dilation.
//
//   correlate: volume[b, d, p] = scale * sum_c first[b, c, p] * second[b, c, p + d]
//   gather:    result[b, c, p] = scale * sum_d volume[b, d, p] * second[b, c, p + d]
//   scatter:   result[b, c, q] = scale * sum_d volume[b, d, q - d] * first[b, c, q - d]
//
// A scatter is the gather of volume'[d, q] = volume[-d, q + d], so one kernel does both and nothing is ever added to
// memory that another thread touches. A dilated problem is dilation^2 independent undilated ones on the map's phases
// (pixels whose rows and columns are equal modulo the dilation); only packing and storing know about phases.
//
// Inputs are packed into small aligned buffers, which also puts the zeros around the map; then a tile of kLanes pixels
// by a few rows is held in registers.

#include <algorithm>

#include "threads.h"
#include "vector.h"

namespace {

struct Problem {
    int64_t batch, channels, height, width, radius, dilation;
    float scale;
    int64_t side() const { return 2 * radius + 1; }
};

// A column of tiles: `lanes` pixels wide, rows from..until-1, on one phase of one image. A phase holds
// `rows` x `columns` pixels at (top + dilation * i, left + dilation * j).
struct Strip {
    int64_t image, top, left, rows, columns;
    int64_t column, count, lanes;  // first column; how many of the lanes exist
    int64_t from, until;
    bool empty() const { return column >= columns || from >= until; }
};

constexpr int64_t kLeastSegment = 12;  // rows of a strip: whole tiles, enough to repay the rows packed around it

// Enough strips for threads of unlike speed.
int64_t least_strips(int64_t threads) { return threads > 1 ? 2 * threads : 1; }

// Splits task numbers into strips, `wide` pixels each.
struct Tasks {
    int64_t lanes, tiles, segment, segments, count;
    Tasks(const Problem& p, int64_t threads, int64_t wide) : lanes(wide) {
        const int64_t rows = (p.height + p.dilation - 1) / p.dilation;
        const int64_t columns = (p.width + p.dilation - 1) / p.dilation;
        tiles = (columns + lanes - 1) / lanes;
        // As long as possible.
        const int64_t columns_of_tiles = p.batch * p.dilation * p.dilation * tiles;
        const int64_t wanted = (least_strips(threads) + columns_of_tiles - 1) / columns_of_tiles;
        const int64_t pieces = ((rows + wanted - 1) / wanted + kLeastSegment - 1) / kLeastSegment;
        segment = pieces * kLeastSegment;
        segments = (rows + segment - 1) / segment;
        count = columns_of_tiles * segments;
    }
    Strip strip(const Problem& p, int64_t task) const {
        const int64_t d = p.dilation, tile = task % tiles, piece = task / tiles % segments;
        const int64_t index = task / tiles / segments;
        Strip s{};
        s.image = index / (d * d);
        s.top = index / d % d;
        s.left = index % d;
        s.rows = s.top < p.height ? (p.height - s.top + d - 1) / d : 0;
        s.columns = s.left < p.width ? (p.width - s.left + d - 1) / d : 0;
        s.lanes = lanes;
        s.column = tile * lanes;
        s.count = s.columns - s.column < lanes ? s.columns - s.column : lanes;
        s.from = piece * segment;
        s.until = s.from + segment < s.rows ? s.from + segment : s.rows;
        return s;
    }
};

// One row of `plane` (the channel of an image) from phase column `from` on, `count` >= kLanes numbers, zeros outside.
inline void pack_row(const float* plane, const Problem& p, const Strip& s, int64_t row, int64_t from, int64_t count,
                     float* out) {
    const int64_t low = from < 0 ? -from : 0, end = s.columns - from, high = end < count ? end : count;
    if (row < 0 || row >= s.rows || high <= low) {
        std::memset(out, 0, count * sizeof(float));
        return;
    }
    const float* source = plane + (s.top + row * p.dilation) * p.width + s.left + from * p.dilation;
    if (p.dilation == 1 && high - low >= kLanes) {
        for (int64_t i = 0; i < low; i += kLanes) store(out + i, Vec{});
        for (int64_t i = count - kLanes; i > high - kLanes; i -= kLanes) store(out + i, Vec{});
        for (int64_t i = low; i + kLanes < high; i += kLanes) store(out + i, load(source + i));
        store(out + high - kLanes, load(source + high - kLanes));
        return;
    }
    std::memset(out, 0, count * sizeof(float));
    for (int64_t i = low; i < high; ++i) out[i] = source[i * p.dilation];
}

// `pack_row` of all channels; their lines are `apart` numbers apart.
inline void pack_channels(const float* image, const Problem& p, const Strip& s, int64_t row, int64_t from,
                          int64_t count, float* out, int64_t apart) {
    const int64_t plane = p.height * p.width;
    if (p.dilation > 1 || row < 0 || row >= s.rows || from < 0 || from + count > s.columns) {
        for (int64_t c = 0; c < p.channels; ++c) pack_row(image + c * plane, p, s, row, from, count, out + c * apart);
        return;
    }
    const float* source = image + row * p.width + from;
    const int64_t last = count - kLanes;
    for (int64_t c = 0; c < p.channels; ++c, source += plane, out += apart) {
        for (int64_t i = 0; i < last; i += kLanes) store(out + i, load(source + i));
        store(out + last, load(source + last));
    }
}

// `value` at kLanes pixels of the strip, from its pixel `first` on; those that exist.
inline void store_row(float* plane, const Problem& p, const Strip& s, int64_t row, int64_t first, Vec value,
                      bool streamed) {
    float* target = plane + (s.top + row * p.dilation) * p.width + s.left + (s.column + first) * p.dilation;
    if (p.dilation == 1 && s.count - first >= kLanes) {
        streamed ? stream(target, value) : store(target, value);
        return;
    }
    float lanes[kLanes];
    store(lanes, value);
    for (int64_t i = 0; i < kLanes && first + i < s.count; ++i) target[i * p.dilation] = lanes[i];
}

constexpr int kMostRows = 4;
constexpr int kMostGroup = kManyRegisters ? 9 : 3;
constexpr int kMostDots = kMostRows * kMostGroup;  // of a tile

// Tiles side by side in a strip. Neighbouring lines of a plane are then read and written together, which spares page
// look-ups; but the strip's packed rows must stay in the core's own cache.
constexpr int64_t kMostPieces = 16;
constexpr int64_t kPacked = 1 << 19;  // bytes

// From one packed channel of the first map to the next: an odd number of lines, which spreads over the cache's sets.
inline int64_t first_apart(int64_t lanes) { return kMostRows * lanes + 16; }

using Dots = void (*)(const float*, int64_t, const float*, int64_t, int64_t, float, Vec*);

// ROWS x GROUP dot products over channels: rows of the first map against GROUP neighbouring displacements.
template <int GROUP, int ROWS>
void dots(const float* first, int64_t lanes, const float* second, int64_t span, int64_t channels, float scale,
          Vec* out) {
    const int64_t apart = first_apart(lanes);
    Vec total[ROWS][GROUP] = {};
    for (int64_t c = 0; c < channels; ++c, first += apart, second += span) {
        Vec pixel[ROWS];
#pragma GCC unroll 4
        for (int k = 0; k < ROWS; ++k) pixel[k] = load(first + k * lanes);
#pragma GCC unroll 9
        for (int g = 0; g < GROUP; ++g) {
            Vec neighbour = load(second + g);
            pin(neighbour);
#pragma GCC unroll 4
            for (int k = 0; k < ROWS; ++k) total[k][g] += pixel[k] * neighbour;
        }
    }
    for (int k = 0; k < ROWS; ++k)
        for (int g = 0; g < GROUP; ++g) out[k * GROUP + g] = total[k][g] * splat(scale);
}

template <int GROUP>
constexpr Dots kByRows[4] = {dots<GROUP, 1>, dots<GROUP, 2>, dots<GROUP, 3>, dots<GROUP, 4>};

Dots dots_for(int64_t group, int64_t rows) {
    switch (group) {
        case 1: return kByRows<1>[rows - 1];
        case 2: return kByRows<2>[rows - 1];
        case 3: return kByRows<3>[rows - 1];
#if defined(__AVX512F__) || defined(__aarch64__)
        case 4: return kByRows<4>[rows - 1];
        case 5: return kByRows<5>[rows - 1];
        case 6: return kByRows<6>[rows - 1];
        case 7: return kByRows<7>[rows - 1];
        case 8: return kByRows<8>[rows - 1];
        default: return kByRows<9>[rows - 1];
#else
        default: return kByRows<3>[rows - 1];
#endif
    }
}

// Rows of a tile: as many accumulators as the register file holds.
int64_t tile_rows(const Problem& p) { return kManyRegisters && p.side() > 7 ? 3 : 4; }

int64_t packed_rows(const Problem& p) { return tile_rows(p) + 2 * p.radius; }

// How many tiles wide the strips are: wide ones pack less twice, but what is packed has to stay in the cache.
int64_t pieces_for(const Problem& p, int64_t threads) {
    const int64_t columns = (p.width + p.dilation - 1) / p.dilation, tiles = (columns + kLanes - 1) / kLanes;
    const int64_t bytes = 4 * packed_rows(p) * p.channels, wanted = least_strips(threads);
    const int64_t share = (p.batch * p.dilation * p.dilation * tiles + wanted - 1) / wanted;
    int64_t pieces = std::max<int64_t>(1, std::min({tiles, share, kMostPieces}));
    while (pieces > 1 && bytes * (pieces * kLanes + 2 * p.radius) > kPacked) --pieces;
    return pieces;
}

// Rows of the second map, all channels, packed once and kept while the strip's tiles still need them.
struct Ring {
    const Problem& p;
    const Strip& s;
    const float* image;
    float* data;  // [slot][channel][span]
    int64_t slots, next;
    Ring(const Problem& problem, const Strip& strip, const float* maps, float* memory, int64_t rows)
        : p(problem), s(strip), image(maps + strip.image * problem.channels * problem.height * problem.width),
          data(memory), slots(rows), next(strip.from - problem.radius) {}
    int64_t span() const { return s.lanes + 2 * p.radius; }
    const float* row(int64_t row) const { return data + (row + p.radius) % slots * p.channels * span(); }
    void pack_until(int64_t end) {
        for (; next < end; ++next)
            pack_channels(image, p, s, next, s.column - p.radius, span(), const_cast<float*>(row(next)), span());
    }
};

// Whether the volume is better written past the caches: it is larger than they are, and its tiles are aligned.
bool streams(const Problem& p, const float* volume) {
    const int64_t plane = p.height * p.width;
    const bool aligned = reinterpret_cast<uintptr_t>(volume) % (4 * kLanes) == 0 && p.width % kLanes == 0;
    return aligned && p.side() * p.side() * plane * 4 > kCached;
}

void correlate_strip(const Problem& p, const float* first, const float* second, float* volume, const Strip& s,
                     float* packed_first, float* packed_second, Vec* results) {
    const int64_t side = p.side(), plane = p.height * p.width, tile = tile_rows(p);
    const int64_t pieces = (s.count + kLanes - 1) / kLanes;
    const int64_t groups = (side + kMostGroup - 1) / kMostGroup, group = (side + groups - 1) / groups;
    const float* first_image = first + s.image * p.channels * plane;
    float* volume_image = volume + s.image * side * side * plane;
    const bool streamed = streams(p, volume);
    Ring ring(p, s, second, packed_second, packed_rows(p));
    for (int64_t top = s.from; top < s.until; top += tile) {
        const int64_t rows = s.until - top < tile ? s.until - top : tile;
        for (int64_t k = 0; k < rows; ++k)
            pack_channels(first_image, p, s, top + k, s.column, s.lanes, packed_first + k * s.lanes,
                          first_apart(s.lanes));
        ring.pack_until(top + rows + p.radius);
        for (int64_t row = top - p.radius; row < top + rows + p.radius; ++row) {
            // This row of the second map is displaced by -radius..radius from tile rows from..until-1.
            const int64_t from = row - p.radius > top ? row - p.radius - top : 0;
            const int64_t until = row + p.radius < top + rows - 1 ? row + p.radius - top + 1 : rows;
            const bool inside = row >= 0 && row < s.rows;
            for (int64_t start = 0; start < side; start += group) {
                const int64_t width = side - start < group ? side - start : group;
                for (int64_t i = 0; inside && i < pieces; ++i)
                    dots_for(width, until - from)(packed_first + from * s.lanes + i * kLanes, s.lanes,
                                                  ring.row(row) + start + i * kLanes, ring.span(), p.channels, p.scale,
                                                  results + i * kMostDots);
                for (int64_t k = from; k < until; ++k) {
                    const int64_t down = row - (top + k) + p.radius;
                    for (int64_t g = 0; g < width; ++g)
                        for (int64_t i = 0; i < pieces; ++i)
                            store_row(volume_image + (down * side + start + g) * plane, p, s, top + k, i * kLanes,
                                      inside ? results[i * kMostDots + (k - from) * width + g] : Vec{}, streamed);
                }
            }
        }
    }
}

constexpr int kGatherRows = 2;
constexpr int kBlock = kManyRegisters ? 8 : 4;  // channels at a time

// One displacement row and ROWS of the tile's rows, all of its 2r+1 columns, for CHANNELS channels.
// weights[k] is the displacement row of tile row k; total is kept in registers by the callers' loops.
template <int CHANNELS, int ROWS>
inline __attribute__((always_inline)) void gather_row(const float* const* weights, const float* maps, int64_t step,
                                                      int64_t side, Vec (*total)[CHANNELS]) {
    for (int64_t dx = 0; dx < side; ++dx) {
        Vec weight[ROWS];
#pragma GCC unroll 2
        for (int k = 0; k < ROWS; ++k) weight[k] = load(weights[k] + dx * kLanes);
#pragma GCC unroll 8
        for (int c = 0; c < CHANNELS; ++c) {
            Vec value = load(maps + c * step + dx);
            pin(value);
#pragma GCC unroll 2
            for (int k = 0; k < ROWS; ++k) total[k][c] += weight[k] * value;
        }
    }
}

// weights: [row][2r+1][2r+1][lane]; maps: the rows' packed lines, [channel][span]; out: [row][channel].
template <int CHANNELS, int ROWS>
void gather_tile(const float* weights, const float* const* maps, int64_t side, int64_t span, Vec* out) {
    const int64_t line = side * kLanes;
    Vec total[ROWS][CHANNELS] = {};
    // The first map row serves tile row 0 alone, the last one the last tile row alone.
    const float* top[2] = {weights, nullptr};
    gather_row<CHANNELS, 1>(top, maps[0], span, side, total);
    for (int64_t row = 1; row < side; ++row) {
        const float* lines[2] = {weights + row * line, weights + (side + row - 1) * line};
        gather_row<CHANNELS, ROWS>(lines, maps[row], span, side, total);
    }
    if (ROWS > 1) {
        const float* bottom[2] = {weights + (2 * side - 1) * line, nullptr};
        gather_row<CHANNELS, 1>(bottom, maps[side], span, side, total + (ROWS - 1));
    }
    for (int k = 0; k < ROWS; ++k)
        for (int c = 0; c < CHANNELS; ++c) out[k * CHANNELS + c] = total[k][c];
}

using Gather = void (*)(const float*, const float* const*, int64_t, int64_t, Vec*);

template <int CHANNELS>
constexpr Gather kGatherBy[2] = {gather_tile<CHANNELS, 1>, gather_tile<CHANNELS, 2>};

Gather gather_for(int64_t channels, int64_t rows) {
    switch (channels) {
        case 1: return kGatherBy<1>[rows - 1];
        case 2: return kGatherBy<2>[rows - 1];
        case 3: return kGatherBy<3>[rows - 1];
#if defined(__AVX512F__) || defined(__aarch64__)
        case 4: return kGatherBy<4>[rows - 1];
        case 5: return kGatherBy<5>[rows - 1];
        case 6: return kGatherBy<6>[rows - 1];
        case 7: return kGatherBy<7>[rows - 1];
#endif
        default: return kGatherBy<kBlock>[rows - 1];
    }
}

void pack_weights(const Problem& p, const float* volume, const Strip& s, int64_t row, bool flipped, float* out) {
    const int64_t side = p.side(), plane = p.height * p.width;
    const Vec scale = splat(p.scale);
    for (int64_t dy = 0; dy < side; ++dy)
        for (int64_t dx = 0; dx < side; ++dx, out += kLanes) {
            const int64_t index = dy * side + dx;
            const float* source = volume + (flipped ? side * side - 1 - index : index) * plane;
            const int64_t from = s.column + (flipped ? dx - p.radius : 0), at = row + (flipped ? dy - p.radius : 0);
            if (p.dilation == 1 && at >= 0 && at < s.rows && from >= 0 && from + kLanes <= s.columns) {
                store(out, load(source + at * p.width + from) * scale);
                continue;
            }
            pack_row(source, p, s, at, from, kLanes, out);
            store(out, load(out) * scale);
        }
}

void gather_strip(const Problem& p, const float* volume, const float* maps, float* result, const Strip& s, bool flipped,
                  float* weights, float* packed, const float** lines) {
    const int64_t side = p.side(), plane = p.height * p.width;
    const float* volume_image = volume + s.image * side * side * plane;
    float* result_image = result + s.image * p.channels * plane;
    Ring ring(p, s, maps, packed, kGatherRows + 2 * p.radius);
    for (int64_t top = s.from; top < s.until; top += kGatherRows) {
        const int64_t rows = s.until - top < kGatherRows ? s.until - top : kGatherRows;
        ring.pack_until(top + rows + p.radius);
        for (int64_t k = 0; k < rows; ++k)
            pack_weights(p, volume_image, s, top + k, flipped, weights + k * side * side * kLanes);
        for (int64_t start = 0; start < p.channels; start += kBlock) {
            const int64_t channels = p.channels - start < kBlock ? p.channels - start : kBlock;
            for (int64_t row = 0; row < rows + 2 * p.radius; ++row)
                lines[row] = ring.row(top - p.radius + row) + start * ring.span();
            Vec total[kGatherRows * kBlock];
            gather_for(channels, rows)(weights, lines, side, ring.span(), total);
            for (int64_t k = 0; k < rows; ++k)
                for (int64_t c = 0; c < channels; ++c)
                    store_row(result_image + (start + c) * plane, p, s, top + k, 0, total[k * channels + c], false);
        }
    }
}

}  // namespace

#define API extern "C" __attribute__((visibility("default")))

// `last` is how many tasks at the end of the list to do; negative means all of them.
API int flowzoo_correlate(const float* first, const float* second, float* volume, int64_t batch, int64_t channels,
                          int64_t height, int64_t width, int64_t radius, int64_t dilation, float scale, int64_t last,
                          int64_t threads) {
    const Problem p{batch, channels, height, width, radius, dilation, scale};
    const Tasks tasks(p, threads, pieces_for(p, threads) * kLanes);
    const int64_t begin = last < 0 || last > tasks.count ? 0 : tasks.count - last;
    return run_tasks(begin, tasks.count, threads, [&](auto next) {
        const Buffer packed_first(channels * first_apart(tasks.lanes));
        const Buffer results(tasks.lanes * kMostDots);
        const Buffer packed_second(packed_rows(p) * channels * (tasks.lanes + 2 * radius));
        for (int64_t task = next(); task >= 0; task = next()) {
            const Strip s = tasks.strip(p, task);
            if (!s.empty())
                correlate_strip(p, first, second, volume, s, packed_first.get(), packed_second.get(),
                                reinterpret_cast<Vec*>(results.get()));
        }
        finish_streams();
    });
}

// The gather, or with `flipped` the scatter.
API int flowzoo_gather(const float* volume, const float* maps, float* result, int64_t batch, int64_t channels,
                       int64_t height, int64_t width, int64_t radius, int64_t dilation, float scale,
                       int64_t flipped, int64_t last, int64_t threads) {
    const Problem p{batch, channels, height, width, radius, dilation, scale};
    const Tasks tasks(p, threads, kLanes);
    const int64_t begin = last < 0 || last > tasks.count ? 0 : tasks.count - last;
    return run_tasks(begin, tasks.count, threads, [&](auto next) {
        const Buffer weights(kGatherRows * p.side() * p.side() * kLanes);
        const Buffer packed((kGatherRows + 2 * radius) * channels * (kLanes + 2 * radius));
        std::vector<const float*> lines(kGatherRows + 2 * radius);
        for (int64_t task = next(); task >= 0; task = next()) {
            const Strip s = tasks.strip(p, task);
            if (!s.empty())
                gather_strip(p, volume, maps, result, s, flipped != 0, weights.get(), packed.get(), lines.data());
        }
    });
}
