// The inner loops of variational flow: the linear system of a fixed-point step, and its red-black SOR.
// flowzoo/blocks/variational.py and flowzoo/blocks/relaxation.py define both.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "threads.h"

namespace {

constexpr int64_t kRows = 16;     // of a task, for the system
constexpr int64_t kSorRows = 48;  // of a task, for SOR, without its margins

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

// alpha / 2 psi'(|grad w|^2) of one row of the flow (u, v); forward differences, 0 beyond the last column and row.
void smoothness_row(const float* u, const float* v, int64_t y, int64_t height, int64_t width, float half_alpha,
                    float epsilon2, float* __restrict out) {
    const float *u0 = u + y * width, *v0 = v + y * width;
    const float *u1 = y + 1 < height ? u0 + width : u0, *v1 = y + 1 < height ? v0 + width : v0;
#pragma GCC ivdep
    for (int64_t x = 0; x < width - 1; ++x) {
        const float ux = u0[x + 1] - u0[x], vx = v0[x + 1] - v0[x], uy = u1[x] - u0[x], vy = v1[x] - v0[x];
        out[x] = half_alpha / std::sqrt(ux * ux + uy * uy + vx * vx + vy * vy + epsilon2);
    }
    const int64_t x = width - 1;
    const float uy = u1[x] - u0[x], vy = v1[x] - v0[x];
    out[x] = half_alpha / std::sqrt(uy * uy + vy * vy + epsilon2);
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int flowzoo_relax(
    const float* a11, const float* a12, const float* a22, const float* b1, const float* b2, const float* right,
    const float* below, const float* before, float* after, int64_t batch, int64_t height, int64_t width, int64_t sweeps, float factor,
    int64_t threads) {
    // All sweeps run over a band of rows while it is in the cache. A pass over one colour needs the pass before it one row
    // further, so a band starts with a margin of as many rows as passes, which shrinks by one row a pass; and pass p
    // follows p rows behind the first. The result is that of sweeping the whole image pass by pass.
    const int64_t size = height * width, bands = (height + kSorRows - 1) / kSorRows, passes = 2 * sweeps;
    return run_tasks(0, batch * bands, threads, [&](auto next) {
        std::vector<float> zeros(width);
        std::vector<int32_t> chosen(width + 1);  // from 0: pixels with even x; from 1: with odd x
        for (int64_t x = 0; x <= width; ++x) chosen[x] = x % 2 == 0;
        Band band(kSorRows + 2 * passes < height ? kSorRows + 2 * passes : height, width);
        for (int64_t task = next(); task >= 0; task = next()) {
            const int64_t sample = task / bands, at = sample * size, first = task % bands * kSorRows;
            const int64_t last = first + kSorRows < height ? first + kSorRows : height;
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

// data: (batch, 11, height, width): x, y, xx, xy, yy, change, xt, yt and the reciprocal normalisers of the three
// residuals (0 where the flow leaves the image). system: (batch, 7, height, width), in the order of flowzoo_relax.
extern "C" __attribute__((visibility("default"))) int flowzoo_variational_system(
    const float* data, const float* flow, const float* step, float* system, int64_t batch, int64_t height,
    int64_t width, float alpha, float delta, float gamma, float epsilon, int64_t threads) {
    const int64_t size = height * width, bands = (height + kRows - 1) / kRows;
    const float epsilon2 = epsilon * epsilon;
    // First the flow with its step and the edges' weights: every pixel's part, then sums of neighbours.
    return run_tasks(0, batch * bands, threads, [&](auto next) {
        std::vector<float> u((kRows + 3) * width), v((kRows + 3) * width), part((kRows + 2) * width);
        for (int64_t task = next(); task >= 0; task = next()) {
            const int64_t sample = task / bands, first = task % bands * kRows;
            const int64_t last = first + kRows < height ? first + kRows : height;
            // Rows from..to-1 of the flow are needed: one above the task's and two below.
            const int64_t from = first > 0 ? first - 1 : 0, to = last + 2 < height ? last + 2 : height;
            const float *fu = flow + 2 * sample * size, *fv = fu + size;
            const float *su = step + 2 * sample * size, *sv = su + size;
            for (int64_t i = 0; i < (to - from) * width; ++i) {
                u[i] = fu[from * width + i] + su[from * width + i];
                v[i] = fv[from * width + i] + sv[from * width + i];
            }
            const int64_t parts = (last + 1 < height ? last + 1 : height) - from;
            for (int64_t y = 0; y < parts; ++y)
                smoothness_row(u.data(), v.data(), y, to - from, width, alpha / 2, epsilon2, part.data() + y * width);
            const float* base = data + 11 * sample * size;
            float* out = system + 7 * sample * size;
            for (int64_t y = first; y < last; ++y) {
                const int64_t at = y * width;
                const float *fx = base + at, *fy = fx + size, *fxx = fy + size, *fxy = fxx + size, *fyy = fxy + size;
                const float *ft = fyy + size, *fxt = ft + size, *fyt = fxt + size;
                const float *n0 = fyt + size, *n1 = n0 + size, *n2 = n1 + size;
                const float *du = su + at, *dv = sv + at, *here = part.data() + (y - from) * width;
                float *a11 = out + at, *a12 = a11 + size, *a22 = a12 + size, *b1 = a22 + size, *b2 = b1 + size;
                float *right = b2 + size, *below = right + size;
                const bool has_below = y + 1 < height;
                const float* under = has_below ? here + width : here;
#pragma GCC ivdep
                for (int64_t x = 0; x < width; ++x) {
                    const float r0 = ft[x] + fx[x] * du[x] + fy[x] * dv[x];
                    const float r1 = fxt[x] + fxx[x] * du[x] + fxy[x] * dv[x];
                    const float r2 = fyt[x] + fxy[x] * du[x] + fyy[x] * dv[x];
                    const float k0 = delta * n0[x] / std::sqrt(r0 * r0 * n0[x] + epsilon2);
                    const float k = gamma / std::sqrt(r1 * r1 * n1[x] + r2 * r2 * n2[x] + epsilon2);
                    const float k1 = k * n1[x], k2 = k * n2[x];
                    a11[x] = k0 * fx[x] * fx[x] + k1 * fxx[x] * fxx[x] + k2 * fxy[x] * fxy[x];
                    a12[x] = k0 * fx[x] * fy[x] + k1 * fxx[x] * fxy[x] + k2 * fxy[x] * fyy[x];
                    a22[x] = k0 * fy[x] * fy[x] + k1 * fxy[x] * fxy[x] + k2 * fyy[x] * fyy[x];
                    b1[x] = -(k0 * fx[x] * ft[x] + k1 * fxx[x] * fxt[x] + k2 * fxy[x] * fyt[x]);
                    b2[x] = -(k0 * fy[x] * ft[x] + k1 * fxy[x] * fxt[x] + k2 * fyy[x] * fyt[x]);
                    below[x] = has_below ? here[x] + under[x] : 0.0f;
                }
#pragma GCC ivdep
                for (int64_t x = 0; x < width - 1; ++x) right[x] = here[x] + here[x + 1];
                right[width - 1] = 0.0f;
                // The pull of the neighbours' flow (without the step, which SOR moves).
                const float *u0 = fu + at, *v0 = fv + at;
                for (int64_t x = 0; x + 1 < width; ++x) {
                    const float pull_u = right[x] * (u0[x + 1] - u0[x]), pull_v = right[x] * (v0[x + 1] - v0[x]);
                    b1[x] += pull_u, b1[x + 1] -= pull_u;
                    b2[x] += pull_v, b2[x + 1] -= pull_v;
                }
                if (has_below) {
#pragma GCC ivdep
                    for (int64_t x = 0; x < width; ++x) {
                        b1[x] += below[x] * (u0[x + width] - u0[x]);
                        b2[x] += below[x] * (v0[x + width] - v0[x]);
                    }
                }
                if (y > 0) {
                    const float* over = here - width;
#pragma GCC ivdep
                    for (int64_t x = 0; x < width; ++x) {
                        const float weight = over[x] + here[x];
                        b1[x] += weight * (u0[x - width] - u0[x]);
                        b2[x] += weight * (v0[x - width] - v0[x]);
                    }
                }
            }
        }
    });
}
