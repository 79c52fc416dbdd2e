// Sampled cost volumes on the CPU, float32: correlation or sum of absolute differences around p + flow(p).
//
// The lanes of a vector are the columns of a pixel's window and channels are looped over, so no sum across lanes is
// needed: cost[row][lane] += first[c] * second[row][c][lane], one load and one multiply-add each. A run of neighbouring
// pixels goes through the channels in small blocks together: their windows overlap, and a block's share stays in the
// first-level cache.
//
// Layouts:
//   first  (B, C, h, w) forward, which is turned a run at a time; (B, h, w, C) backward, as its gradient
//   table  (B, H, row_step) holding (C, dilation, padded): `second` row by row, in phases modulo the dilation, with
//          `margin` zeros before and at least 17 behind, so that 16 lanes can be loaded wherever the window touches.
// With dilation 1 a window row holds 2r+2 columns and serves as near and far neighbour; else near and far columns lie
// on different phases and are loaded apart. Rows outside the map point to zeros.

#include "sampled_window.h"
#include "transpose.h"

namespace {

// `second` (B,C,H,W) in the table's layout.
void fill_table(const Problem& p, const float* second, float* table, int64_t image, int64_t row) {
    const float* source = second + (image * p.channels * p.height + row) * p.width;
    float* target = table + (image * p.height + row) * p.row_step;
    for (int64_t c = 0; c < p.channels; ++c, source += p.height * p.width)
        for (int64_t phase = 0; phase < p.dilation; ++phase, target += p.padded) {
            const int64_t columns = (p.width - phase + p.dilation - 1) / p.dilation, end = p.margin + columns;
            std::memset(target, 0, p.margin * sizeof(float));
            if (p.dense())
                std::memcpy(target + p.margin, source, columns * sizeof(float));
            else
                for (int64_t i = 0; i < columns; ++i) target[p.margin + i] = source[phase + i * p.dilation];
            std::memset(target + end, 0, (p.padded - end) * sizeof(float));
        }
}

// The features of `count` neighbouring pixels of (C,h,w) maps, from planes to one pixel after the other.
void turn_pixels(const float* maps, int64_t plane, int64_t channels, int64_t count, float* pixels) {
    int64_t c = 0;
    Wide turned[kWideLanes];
    if (count == kRun)
        for (; c + kWideLanes <= channels; c += kWideLanes) {
            transpose(maps + c * plane, plane, kWideLanes, turned);
            for (int64_t i = 0; i < kRun; ++i) wide_store(pixels + i * channels + c, turned[i]);
        }
    for (; c < channels; ++c)
        for (int64_t i = 0; i < count; ++i) pixels[i * channels + c] = maps[c * plane + i];
}

// Where a run's costs go: those of one displacement lie side by side, those of the next `plane` numbers further.
struct Target {
    float* volume;
    int64_t plane, count;
    bool streamed;  // past the caches; whole runs at aligned addresses only
    void put(int64_t displacement, Wide value) const {
        float* target = volume + displacement * plane;
        if (streamed) {
            WIDE_LOOP stream(target + i * kLanes, value.part[i]);
        } else if (count == kRun) {
            wide_store(target, value);
        } else {
            float lanes[kWideLanes];
            wide_store(lanes, value);
            std::memcpy(target, lanes, count * sizeof(float));
        }
    }
};

// From here on the lanes are the pixels of the run: a displacement's costs are stored at once.
void correlation_costs(Run& run, const float* table, const Target& target) {
    const Problem& p = run.p;
    run.fill_dots(table, 0, p.channels);
    const Wide scale = wide_splat(1.0f / static_cast<float>(p.channels));
    float shares[2][kWideLanes] = {};
    for (int64_t i = 0; i < run.count; ++i) {
        shares[0][i] = run.windows[i].right;
        shares[1][i] = run.windows[i].down;
    }
    const Wide right = wide_load(shares[0]), down = wide_load(shares[1]);
    Wide near[kWideLanes], far[kWideLanes], rows[2][kMostSide];
    const int64_t step = run.near[1].line(0) - run.near[0].line(0), side = p.side();
    for (int64_t n = 0; n < p.window(); ++n) {
        Wide* here = rows[n % 2];
        transpose(run.near[0].line(n), step, p.dense() ? side + 1 : side, near);
        if (!p.dense()) transpose(run.far[0].line(n), step, side, far);
        for (int64_t o = 0; o < side; ++o) here[o] = blend(near[o], p.dense() ? near[o + 1] : far[o], right) * scale;
        if (n == 0 || (!p.dense() && n % 2 == 0)) continue;
        const int64_t row = p.dense() ? n - 1 : n / 2;
        for (int64_t o = 0; o < side; ++o) target.put(row * side + o, blend(rows[(n - 1) % 2][o], here[o], down));
    }
}

// Pointers to a window's rows and how they move with the channel; rows outside stay at zeros.
struct Rows {
    const float* near[kMostRows];
    const float* far[kMostRows];
    int64_t near_step[kMostRows], far_step[kMostRows];
    Rows(const Problem& p, const Window& w, const float* table) {
        for (int64_t n = 0; n < p.window(); ++n) {
            near[n] = w.near[n] < 0 ? kZeros : table + w.near[n];
            far[n] = w.far[n] < 0 ? kZeros : table + w.far[n];
            near_step[n] = w.near[n] < 0 ? 0 : p.channel_step();
            far_step[n] = w.far[n] < 0 ? 0 : p.channel_step();
        }
    }
};

void difference_costs(Run& run, const float* table, const Target& target) {
    const Problem& p = run.p;
    for (int64_t i = 0; i < run.count; ++i) run.costs[i].clear();
    const Wide scale = wide_splat(1.0f / static_cast<float>(p.channels));
    Wide across[kMostRows];
    for (int64_t from = 0; from < p.channels; from += kBlock) {
        const int64_t block = p.channels - from < kBlock ? p.channels - from : kBlock;
        for (int64_t i = 0; i < run.count; ++i) {
            const Rows rows(p, run.windows[i], table + from * p.channel_step());
            const Wide right = wide_splat(run.windows[i].right), down = wide_splat(run.windows[i].down);
            for (int64_t c = 0; c < block; ++c) {
                const Wide value = wide_splat(run.pixels[i * p.channels + from + c]);
                for (int64_t n = 0; n < p.window(); ++n)
                    across[n] = blend(wide_load(rows.near[n] + c * rows.near_step[n]),
                                      wide_load(rows.far[n] + c * rows.far_step[n]), right) - value;
                for (int64_t o = 0; o < p.side(); ++o) {
                    float* total = run.costs[i].line(o);
                    const Wide gap = magnitude(blend(across[p.near_row(o)], across[p.far_row(o)], down));
                    wide_store(total, wide_load(total) + gap * scale);
                }
            }
        }
    }
    Wide turned[kWideLanes];
    const int64_t step = run.costs[1].line(0) - run.costs[0].line(0), side = p.side();
    for (int64_t o = 0; o < side; ++o) {
        transpose(run.costs[0].line(o), step, side, turned);
        for (int64_t q = 0; q < side; ++q) target.put(o * side + q, turned[q]);
    }
}

// A line of the incoming gradient, read `shift` lanes to the left; zero outside the displacements.
Wide line(const Run& run, int64_t i, int64_t o, int64_t shift) {
    return o < 0 || o >= run.p.side() ? wide_splat(0.0f) : wide_load(run.costs[i].line(o) - shift);
}

struct Weights {
    Wide near[kMostRows], far[kMostRows];
};

// The adjoint of the blends: what pixel i's gradient weighs its window with.
// `along` 0: for the value; 1: for its derivative by the right share; 2: by the down share.
void window_weights(const Run& run, int64_t i, int along, Weights& out) {
    const Problem& p = run.p;
    const Window& w = run.windows[i];
    const Wide up_share = wide_splat(along == 2 ? -1.0f : 1.0f - w.down);
    const Wide down_share = wide_splat(along == 2 ? 1.0f : w.down);
    const Wide left_share = wide_splat(along == 1 ? -1.0f : 1.0f - w.right);
    const Wide right_share = wide_splat(along == 1 ? 1.0f : w.right);
    for (int64_t n = 0; n < p.window(); ++n) {
        if (p.dense()) {
            const Wide here = up_share * line(run, i, n, 0) + down_share * line(run, i, n - 1, 0);
            const Wide before = up_share * line(run, i, n, 1) + down_share * line(run, i, n - 1, 1);
            out.near[n] = left_share * here + right_share * before;
        } else {
            const Wide here = (n % 2 ? down_share : up_share) * line(run, i, n / 2, 0);
            out.near[n] = left_share * here;
            out.far[n] = right_share * here;
        }
    }
}

// The derivatives of pixel i's dot products by the two shares, weighted with its gradient.
void flow_gradient(const Run& run, int64_t i, float* to_flow) {
    Weights weights;
    for (int axis = 0; axis < 2; ++axis) {
        window_weights(run, i, axis + 1, weights);
        Wide total = wide_splat(0.0f);
        for (int64_t n = 0; n < run.p.window(); ++n) {
            total = total + weights.near[n] * run.near_dots(i, n);
            if (!run.p.dense()) total = total + weights.far[n] * run.far_dots(i, n);
        }
        to_flow[axis] = wide_sum(total);
    }
}

// Adds up the weighted rows for the gradient to a pixel, and adds the weighted pixel to the rows' gradient.
void spread(const Problem& p, const float* table, float* to_table, const int64_t* offsets, const float* weights,
            const float* pixel, float* to_pixel, int64_t channels) {
    int64_t kept[kMostRows], place[kMostRows], count = 0;
    for (int64_t n = 0; n < p.window(); ++n)
        if (offsets[n] >= 0) {
            kept[count] = offsets[n];
            place[count++] = n * kWideLanes;
        }
    if (count == 0) return;
    for (int64_t c = 0; c < channels; ++c) {
        const Wide value = wide_splat(pixel[c]);
        Wide total = wide_splat(0.0f);
        const int64_t shift = c * p.channel_step();
        for (int64_t n = 0; n < count; ++n) {
            const Wide weight = wide_load(weights + place[n]);
            total = total + weight * wide_load(table + kept[n] + shift);
            float* target = to_table + kept[n] + shift;
            wide_store(target, wide_load(target) + weight * value);
        }
        to_pixel[c] += wide_sum(total);
    }
}

// Gradients for channels from..until-1 of a run; to_first points to its first pixel, to_flow to pairs.
void correlation_backward(Run& run, const float* table, float* to_first, float* to_table, float* to_flow, int64_t from,
                          int64_t until) {
    const Problem& p = run.p;
    run.fill_dots(table, from, until);
    Weights weights;
    for (int64_t i = 0; i < run.count; ++i) {
        flow_gradient(run, i, to_flow + 2 * i);
        window_weights(run, i, 0, weights);
        for (int64_t n = 0; n < p.window(); ++n) {
            wide_store(run.near[i].line(n), weights.near[n]);
            if (!p.dense()) wide_store(run.far[i].line(n), weights.far[n]);
        }
    }
    for (int64_t c = from; c < until; c += kBlock) {
        const int64_t block = until - c < kBlock ? until - c : kBlock, shift = c * p.channel_step();
        for (int64_t i = 0; i < run.count; ++i) {
            const int64_t place = i * p.channels + c;
            spread(p, table + shift, to_table + shift, run.windows[i].near, run.near[i].line(0), run.pixels + place,
                   to_first + place, block);
            if (!p.dense())
                spread(p, table + shift, to_table + shift, run.windows[i].far, run.far[i].line(0), run.pixels + place,
                       to_first + place, block);
        }
    }
}

void difference_backward(Run& run, const float* table, float* to_first, float* to_table, float* to_flow, int64_t from,
                         int64_t until) {
    const Problem& p = run.p;
    const Wide one = wide_splat(1.0f);
    Wide across[kMostRows], slope_x[kMostRows], to_row[kMostRows];
    for (int64_t i = 0; i < 2 * run.count; ++i) to_flow[i] = 0;
    for (int64_t start = from; start < until; start += kBlock) {
        const int64_t end = until - start < kBlock ? until : start + kBlock;
        for (int64_t i = 0; i < run.count; ++i) {
            const Window& w = run.windows[i];
            const Rows rows(p, w, table);
            const Wide right = wide_splat(w.right), down = wide_splat(w.down);
            Wide flow_x = wide_splat(0.0f), flow_y = flow_x;
            for (int64_t c = start; c < end; ++c) {
                const Wide value = wide_splat(run.pixels[i * p.channels + c]);
                Wide to_pixel = wide_splat(0.0f);
                for (int64_t n = 0; n < p.window(); ++n) {
                    const Wide near = wide_load(rows.near[n] + c * rows.near_step[n]);
                    slope_x[n] = wide_load(rows.far[n] + c * rows.far_step[n]) - near;
                    across[n] = near + right * slope_x[n];
                    to_row[n] = wide_splat(0.0f);
                }
                for (int64_t o = 0; o < p.side(); ++o) {
                    const int64_t n = p.near_row(o), f = p.far_row(o);
                    const Wide sampled = blend(across[n], across[f], down);
                    const Wide slope = with_sign(sampled - value, wide_load(run.costs[i].line(o)));
                    to_pixel = to_pixel - slope;
                    flow_x = flow_x + slope * blend(slope_x[n], slope_x[f], down);
                    flow_y = flow_y + slope * (across[f] - across[n]);
                    to_row[n] = to_row[n] + slope * (one - down);
                    to_row[f] = to_row[f] + slope * down;
                }
                to_first[i * p.channels + c] += wide_sum(to_pixel);
                for (int64_t n = 0; n < p.window(); ++n) {
                    if (w.near[n] >= 0) {
                        float* target = to_table + w.near[n] + c * p.channel_step();
                        wide_store(target, wide_load(target) + (one - right) * to_row[n]);
                    }
                    if (w.far[n] >= 0) {
                        float* target = to_table + w.far[n] + c * p.channel_step();
                        wide_store(target, wide_load(target) + right * to_row[n]);
                    }
                }
            }
            to_flow[2 * i] += wide_sum(flow_x);
            to_flow[2 * i + 1] += wide_sum(flow_y);
        }
    }
}

}  // namespace

#define API extern "C" __attribute__((visibility("default")))

// The table of `second` (B,C,H,W).
API int flowzoo_sampled_table(const float* second, float* table, int64_t batch, int64_t channels, int64_t height,
                              int64_t width, int64_t dilation, int64_t padded, int64_t margin, int64_t row_step,
                              int64_t threads) {
    const Problem p{batch, channels, height, width, 0, 0, 0, dilation, 1, padded, margin, row_step};
    return run_tasks(0, batch * height, threads, [&](auto next) {
        for (int64_t task = next(); task >= 0; task = next()) fill_table(p, second, table, task / height, task % height);
    });
}

// volume (B, (2r+1)^2, h, w). radius <= 7.
API int flowzoo_sampled_volume(const float* first, const float* table, const float* flow, float* volume, int64_t batch,
                               int64_t channels, int64_t height, int64_t width, int64_t rows, int64_t columns,
                               int64_t radius, int64_t dilation, int64_t stride, int64_t padded, int64_t margin,
                               int64_t row_step, int64_t absolute, int64_t threads) {
    const Problem p{batch, channels, height, width, rows, columns, radius, dilation, stride, padded, margin, row_step};
    const int64_t side = p.side(), plane = rows * columns;
    const bool aligned = reinterpret_cast<uintptr_t>(volume) % (4 * kLanes) == 0 && columns % kRun == 0;
    const bool streamed = aligned && side * side * plane * 4 > kCached;
    return run_tasks(0, batch * rows, threads, [&](auto next) {
        const std::unique_ptr<Run> run(new Run(p));
        const Buffer pixels(kRun * channels);
        run->pixels = pixels.get();
        for (int64_t task = next(); task >= 0; task = next()) {
            const int64_t image = task / rows, y = task % rows;
            for (int64_t x = 0; x < columns; x += kRun) {
                run->start(flow, image, y, x);
                turn_pixels(first + image * channels * plane + y * columns + x, plane, channels, run->count, pixels.get());
                const Target target{volume + image * side * side * plane + y * columns + x, plane, run->count, streamed};
                (absolute ? difference_costs : correlation_costs)(*run, table, target);
            }
        }
        if (streamed) finish_streams();
    });
}

// Gradients in the layouts of their inputs, which the caller has set to zero; to_flow (slices, B, 2, h, w) holds each
// slice of channels' share. A task is an image and a slice, so no two tasks write to one place.
API int flowzoo_sampled_volume_backward(const float* gradient, const float* first, const float* table,
                                        const float* flow, float* to_first, float* to_table, float* to_flow,
                                        int64_t batch, int64_t channels, int64_t height, int64_t width, int64_t rows,
                                        int64_t columns, int64_t radius, int64_t dilation, int64_t stride,
                                        int64_t padded, int64_t margin, int64_t row_step, int64_t absolute,
                                        int64_t slices, int64_t threads) {
    const Problem p{batch, channels, height, width, rows, columns, radius, dilation, stride, padded, margin, row_step};
    const int64_t side = p.side(), plane = rows * columns;
    const float scale = 1.0f / static_cast<float>(channels);
    return run_tasks(0, batch * slices, threads, [&](auto next) {
        const std::unique_ptr<Run> run(new Run(p));
        for (int64_t task = next(); task >= 0; task = next()) {
            const int64_t image = task / slices, slice = task % slices;
            const int64_t from = channels * slice / slices, until = channels * (slice + 1) / slices;
            float* to_flow_image = to_flow + (slice * batch + image) * 2 * plane;
            for (int64_t at = 0; at < plane; at += run->count) {
                run->start(flow, image, at / columns, at % columns);
                run->pixels = first + (image * plane + at) * channels;
                for (int64_t d = 0; d < side * side; ++d) {
                    const float* source = gradient + (image * side * side + d) * plane + at;
                    for (int64_t i = 0; i < run->count; ++i)
                        run->costs[i].line(d / side)[d % side] = source[i] * scale;
                }
                float along[2 * kRun];
                float* to_pixels = to_first + (image * plane + at) * channels;
                (absolute ? difference_backward : correlation_backward)(*run, table, to_pixels, to_table, along, from,
                                                                        until);
                for (int64_t i = 0; i < run->count; ++i) {
                    to_flow_image[at + i] = along[2 * i];
                    to_flow_image[plane + at + i] = along[2 * i + 1];
                }
            }
        }
    });
}
