// Red-black SOR for the systems of variational flow; see flowzoo/blocks/relaxation.py, which defines it.
#include <cstdint>
#include <vector>

#include "threads.h"

namespace {

struct Plane {
    const float *a11, *a12, *a22, *b1, *b2, *right, *below;
    float *du, *dv;
};

// One row's pixels of one colour. All pixels are computed and the others keep their value, so that the loop has no
// branch and vectorises; a neighbour outside has weight 0 and is read from `zeros`.
void relax_row(const Plane& p, int64_t y, int64_t height, int64_t width, int colour, float factor, const float* zeros,
               float* new_du, float* new_dv) {
    const int64_t at = y * width;
    const float *a11 = p.a11 + at, *a12 = p.a12 + at, *a22 = p.a22 + at, *b1 = p.b1 + at, *b2 = p.b2 + at;
    const float *right = p.right + at, *below = p.below + at;
    const float* above = y > 0 ? below - width : zeros;
    float *du = p.du + at, *dv = p.dv + at;
    const float *du_up = y > 0 ? du - width : zeros, *dv_up = y > 0 ? dv - width : zeros;
    const float *du_down = y + 1 < height ? du + width : zeros, *dv_down = y + 1 < height ? dv + width : zeros;
    auto update = [&](int64_t x, float left, float du_left, float dv_left, float du_right, float dv_right) {
        const float total = left + above[x] + right[x] + below[x];
        const float u = b1[x] + left * du_left + right[x] * du_right + above[x] * du_up[x] + below[x] * du_down[x];
        const float v = b2[x] + left * dv_left + right[x] * dv_right + above[x] * dv_up[x] + below[x] * dv_down[x];
        const float next = du[x] + factor * ((u - a12[x] * dv[x]) / (a11[x] + total) - du[x]);
        new_du[x] = next;
        new_dv[x] = dv[x] + factor * ((v - a12[x] * next) / (a22[x] + total) - dv[x]);
    };
    const bool single = width == 1;
    update(0, 0.0f, 0.0f, 0.0f, single ? 0.0f : du[1], single ? 0.0f : dv[1]);
#pragma GCC ivdep
    for (int64_t x = 1; x < width - 1; ++x) update(x, right[x - 1], du[x - 1], dv[x - 1], du[x + 1], dv[x + 1]);
    if (!single) update(width - 1, right[width - 2], du[width - 2], dv[width - 2], 0.0f, 0.0f);
    for (int64_t x = (y + colour) & 1; x < width; x += 2) {
        du[x] = new_du[x];
        dv[x] = new_dv[x];
    }
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int flowzoo_relax(
    const float* a11, const float* a12, const float* a22, const float* b1, const float* b2, const float* right,
    const float* below, float* step, int64_t batch, int64_t height, int64_t width, int64_t sweeps, float factor,
    int64_t threads) {
    constexpr int64_t kRows = 16;
    const int64_t size = height * width, bands = (height + kRows - 1) / kRows;
    for (int64_t sweep = 0; sweep < sweeps; ++sweep) {
        for (int colour = 0; colour < 2; ++colour) {
            const int status = run_tasks(0, batch * bands, threads, [&](auto next) {
                std::vector<float> zeros(width), new_du(width), new_dv(width);
                for (int64_t task = next(); task >= 0; task = next()) {
                    const int64_t sample = task / bands, at = sample * size, first = task % bands * kRows;
                    float* du = step + 2 * at;
                    const Plane plane{a11 + at, a12 + at, a22 + at, b1 + at, b2 + at, right + at, below + at, du, du + size};
                    const int64_t last = first + kRows < height ? first + kRows : height;
                    for (int64_t y = first; y < last; ++y)
                        relax_row(plane, y, height, width, colour, factor, zeros.data(), new_du.data(), new_dv.data());
                }
            });
            if (status != 0) return status;
        }
    }
    return 0;
}
