// Red-black SOR for the linear systems of variational flow; flowzoo/operators/relaxation defines it.
#include <cstdint>
#include <cstring>
#include <vector>

#include "threads.h"

namespace {

constexpr int64_t kRows = 48;  // of a task, without its margins

struct System {
    const float *a11, *a12, *a22, *b1, *b2, *right, *below;
};

// A band of rows from..to-1 of one sample: the unknowns, the reciprocals of SOR's divisors, and one row of results.
struct Band {
    int64_t from, to;
    Buffer du, dv, inverse1, inverse2, new_du, new_dv;
    Band(int64_t rows, int64_t width)
        : from(0),
          to(0),
          du(rows * width),
          dv(rows * width),
          inverse1(rows * width),
          inverse2(rows * width),
          new_du(width),
          new_dv(width) {}
};

// 1 / (a11 + w), 1 / (a22 + w) of one row, w being the sum of the edges' weights. `zeros` stands for weights outside.
void invert_row(const System& s, Band& band, int64_t y, int64_t width, const float* zeros) {
    const int64_t at = y * width;
    const float *a11 = s.a11 + at, *a22 = s.a22 + at, *right = s.right + at, *below = s.below + at;
    const float* above = y > 0 ? below - width : zeros;
    float *out1 = band.inverse1.get() + at - band.from * width, *out2 = band.inverse2.get() + at - band.from * width;
    out1[0] = 1.0f / (a11[0] + (above[0] + right[0] + below[0]));
    out2[0] = 1.0f / (a22[0] + (above[0] + right[0] + below[0]));
#pragma GCC ivdep
    for (int64_t x = 1; x < width; ++x) {
        const float total = right[x - 1] + above[x] + right[x] + below[x];
        out1[x] = 1.0f / (a11[x] + total);
        out2[x] = 1.0f / (a22[x] + total);
    }
}

// One row's pixels of one colour, those where `chosen` is not 0. All pixels are computed and only the chosen ones are
// kept, so that the loop vectorises. They are kept in a second loop: reading what was just written next door would stall.
void relax_row(const System& s, Band& band, int64_t y, int64_t height, int64_t width, const int32_t* chosen, float factor,
               const float* zeros) {
    float *new_du = band.new_du.get(), *new_dv = band.new_dv.get();
    const int64_t at = y * width, local = at - band.from * width;
    const float *a12 = s.a12 + at, *b1 = s.b1 + at, *b2 = s.b2 + at, *right = s.right + at, *below = s.below + at;
    const float* above = y > 0 ? below - width : zeros;
    const float *inverse1 = band.inverse1.get() + local, *inverse2 = band.inverse2.get() + local;
    float *du = band.du.get() + local, *dv = band.dv.get() + local;
    const float *du_up = y > 0 ? du - width : zeros, *dv_up = y > 0 ? dv - width : zeros;
    const float *du_down = y + 1 < height ? du + width : zeros, *dv_down = y + 1 < height ? dv + width : zeros;
    auto update = [&](int64_t x, float left, float du_left, float dv_left, float du_right, float dv_right) {
        const float u = b1[x] + left * du_left + right[x] * du_right + above[x] * du_up[x] + below[x] * du_down[x];
        const float v = b2[x] + left * dv_left + right[x] * dv_right + above[x] * dv_up[x] + below[x] * dv_down[x];
        const float next = du[x] + factor * ((u - a12[x] * dv[x]) * inverse1[x] - du[x]);
        new_du[x] = next;
        new_dv[x] = dv[x] + factor * ((v - a12[x] * next) * inverse2[x] - dv[x]);
    };
    const bool single = width == 1;
    update(0, 0.0f, 0.0f, 0.0f, single ? 0.0f : du[1], single ? 0.0f : dv[1]);
#pragma GCC ivdep
    for (int64_t x = 1; x < width - 1; ++x) update(x, right[x - 1], du[x - 1], dv[x - 1], du[x + 1], dv[x + 1]);
    if (!single) update(width - 1, right[width - 2], du[width - 2], dv[width - 2], 0.0f, 0.0f);
#pragma GCC ivdep
    for (int64_t x = 0; x < width; ++x) {
        du[x] = chosen[x] ? new_du[x] : du[x];
        dv[x] = chosen[x] ? new_dv[x] : dv[x];
    }
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int flowzoo_relaxation(
    const float* a11, const float* a12, const float* a22, const float* b1, const float* b2, const float* right,
    const float* below, const float* before, float* after, int64_t batch, int64_t height, int64_t width, int64_t sweeps, float factor,
    int64_t threads) {
    // All sweeps run over a band of rows while it is in the cache. A pass over one colour needs the pass before it one row
    // further, so a band starts with a margin of as many rows as passes, which shrinks by one row a pass; and pass p
    // follows p rows behind the first. The result is that of sweeping the whole image pass by pass.
    const int64_t size = height * width, bands = (height + kRows - 1) / kRows, passes = 2 * sweeps;
    return run_tasks(0, batch * bands, threads, [&](auto next) {
        std::vector<float> zeros(width);
        std::vector<int32_t> chosen(width + 1);  // from 0: pixels with even x; from 1: with odd x
        for (int64_t x = 0; x <= width; ++x) chosen[x] = x % 2 == 0;
        Band band(kRows + 2 * passes < height ? kRows + 2 * passes : height, width);
        for (int64_t task = next(); task >= 0; task = next()) {
            const int64_t sample = task / bands, at = sample * size, first = task % bands * kRows;
            const int64_t last = first + kRows < height ? first + kRows : height;
            const System system{a11 + at, a12 + at, a22 + at, b1 + at, b2 + at, right + at, below + at};
            band.from = first > passes ? first - passes : 0;
            band.to = last + passes < height ? last + passes : height;
            const int64_t cells = (band.to - band.from) * width;
            const float* start = before + 2 * at + band.from * width;
            std::memcpy(band.du.get(), start, cells * sizeof(float));
            std::memcpy(band.dv.get(), start + size, cells * sizeof(float));
            for (int64_t front = band.from; front < band.to + passes; ++front) {
                if (front < band.to) invert_row(system, band, front, width, zeros.data());
                for (int64_t pass = 0; pass < passes; ++pass) {
                    const int64_t y = front - pass, margin = passes - 1 - pass;
                    const bool inside = y >= band.from && y < band.to;
                    if (inside && y >= first - margin && y < last + margin)
                        relax_row(system, band, y, height, width, chosen.data() + ((y + pass) & 1), factor, zeros.data());
                }
            }
            const int64_t skipped = (first - band.from) * width, kept = (last - first) * width;
            std::memcpy(after + 2 * at + first * width, band.du.get() + skipped, kept * sizeof(float));
            std::memcpy(after + 2 * at + size + first * width, band.dv.get() + skipped, kept * sizeof(float));
        }
    });
}
