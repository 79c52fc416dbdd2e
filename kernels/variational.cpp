// What a fixed-point step of variational refinement needs: the data terms, linearised, and the linear system.
// flowzoo/operators/variational defines both.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "threads.h"
#include "variational_rows.h"

namespace {

constexpr int64_t kRows = 16;  // of a task

}  // namespace

// first, second: (batch, height, width) grey images. data: (batch, 11, height, width): derivatives x, y, xx, xy, yy of
// the mean of the first image and the warped second one, their difference and its derivatives x and y, and the weights of
// these three residuals: the reciprocals of their squared normalisers times the reliability, 0 where the flow leaves the
// image.
extern "C" __attribute__((visibility("default"))) int flowzoo_variational_data(
    const float* first_image, const float* second_image, const float* flow, float* data, int64_t batch, int64_t height,
    int64_t width, float normaliser, float mismatch, float least_trust, int64_t threads) {
    const int64_t size = height * width, bands = (height + kRows - 1) / kRows;
    const float least_square = normaliser * normaliser;
    return run_tasks(0, batch * bands, threads, [&](auto next) {
        const int64_t most = (kRows + 2 * kReach) * width;
        std::vector<float> mean(most), change(most), inside(most), gx(most), gy(most), sums(width), trust(width);
        for (int64_t task = next(); task >= 0; task = next()) {
            const int64_t sample = task / bands, first = task % bands * kRows;
            const int64_t last = std::min(first + kRows, height);
            const int64_t from = std::max<int64_t>(first - kReach, 0), to = std::min(last + kReach, height);
            const float *one = first_image + sample * size, *two = second_image + sample * size;
            const float *u = flow + 2 * sample * size, *v = u + size;
            auto row = [&](std::vector<float>& rows, int64_t y) {  // edges replicated
                return rows.data() + (std::clamp<int64_t>(y, 0, height - 1) - from) * width;
            };
            for (int64_t y = from; y < to; ++y) {
                float *warped = row(mean, y), *difference = row(change, y);
                const float* here = one + y * width;
                warp_row(two, u + y * width, v + y * width, y, height, width, warped, row(inside, y));
#pragma GCC ivdep
                for (int64_t x = 0; x < width; ++x) {
                    difference[x] = warped[x] - here[x];
                    warped[x] = (here[x] + warped[x]) / 2;
                }
            }
            // Slopes of the rows that have both neighbours here; the outermost ones are not needed.
            const int64_t slopes_from = std::max<int64_t>(first - 1, 0), slopes_to = std::min(last + 1, height);
            for (int64_t y = slopes_from; y < slopes_to; ++y) {
                slope_row(row(mean, y), width, row(gx, y));
                slope_between(row(mean, y - 1), row(mean, y + 1), width, row(gy, y));
            }
            float* out = data + 11 * sample * size;
            for (int64_t y = first; y < last; ++y) {
                float* plane[11];
                for (int i = 0; i < 11; ++i) plane[i] = out + i * size + y * width;
                std::copy_n(row(gx, y), width, plane[0]);
                std::copy_n(row(gy, y), width, plane[1]);
                slope_row(row(gx, y), width, plane[2]);
                slope_between(row(gx, y - 1), row(gx, y + 1), width, plane[3]);
                slope_between(row(gy, y - 1), row(gy, y + 1), width, plane[4]);
                std::copy_n(row(change, y), width, plane[5]);
                slope_row(row(change, y), width, plane[6]);
                slope_between(row(change, y - 1), row(change, y + 1), width, plane[7]);
                std::fill(sums.begin(), sums.end(), 0.0f);
                const int64_t top = std::max<int64_t>(y - kReach, 0), bottom = std::min(y + kReach, height - 1);
                for (int64_t r = top; r <= bottom; ++r) {
                    const float* difference = row(change, r);
                    for (int64_t x = 0; x < width; ++x) sums[x] += std::fabs(difference[x]);
                }
                mean_row(sums.data(), bottom - top + 1, width, trust.data());
                trust_row(row(inside, y), width, mismatch, least_trust, trust.data());
                const float *fx = plane[0], *fy = plane[1], *fxx = plane[2], *fxy = plane[3], *fyy = plane[4];
                float *n0 = plane[8], *n1 = plane[9], *n2 = plane[10];
#pragma GCC ivdep
                for (int64_t x = 0; x < width; ++x) {
                    n0[x] = trust[x] / (fx[x] * fx[x] + fy[x] * fy[x] + least_square);
                    n1[x] = trust[x] / (fxx[x] * fxx[x] + fxy[x] * fxy[x] + least_square);
                    n2[x] = trust[x] / (fxy[x] * fxy[x] + fyy[x] * fyy[x] + least_square);
                }
            }
        }
    });
}

// first, second: (batch, height, width) grey images. trust: likewise: how far the flow is to be believed.
extern "C" __attribute__((visibility("default"))) int flowzoo_flow_reliability(
    const float* first_image, const float* second_image, const float* flow, float* trust, int64_t batch, int64_t height,
    int64_t width, float mismatch, float least_trust, int64_t threads) {
    const int64_t size = height * width, bands = (height + kRows - 1) / kRows;
    return run_tasks(0, batch * bands, threads, [&](auto next) {
        std::vector<float> change((kRows + 2 * kReach) * width), inside(width), sums(width);
        const std::vector<float> ones(width, 1.0f);
        for (int64_t task = next(); task >= 0; task = next()) {
            const int64_t sample = task / bands, first = task % bands * kRows;
            const int64_t last = std::min(first + kRows, height);
            const int64_t from = std::max<int64_t>(first - kReach, 0), to = std::min(last + kReach, height);
            const float *u = flow + 2 * sample * size, *v = u + size;
            for (int64_t y = from; y < to; ++y) {
                float* difference = change.data() + (y - from) * width;
                const float* here = first_image + sample * size + y * width;
                warp_row(second_image + sample * size, u + y * width, v + y * width, y, height, width, difference,
                         inside.data());
#pragma GCC ivdep
                for (int64_t x = 0; x < width; ++x) difference[x] = std::fabs(difference[x] - here[x]);
            }
            for (int64_t y = first; y < last; ++y) {
                const int64_t top = std::max<int64_t>(y - kReach, 0), bottom = std::min(y + kReach, height - 1);
                std::fill(sums.begin(), sums.end(), 0.0f);
                for (int64_t r = top; r <= bottom; ++r) {
                    const float* difference = change.data() + (r - from) * width;
#pragma GCC ivdep
                    for (int64_t x = 0; x < width; ++x) sums[x] += difference[x];
                }
                float* out = trust + sample * size + y * width;
                mean_row(sums.data(), bottom - top + 1, width, out);
                trust_row(ones.data(), width, mismatch, least_trust, out);
            }
        }
    });
}

// data: what flowzoo_variational_data makes. edges: (batch, 2, height, width), factors of the smoothness between a pixel
// and its right and lower neighbour. system: (batch, 7, height, width), in the order of flowzoo_relaxation.
extern "C" __attribute__((visibility("default"))) int flowzoo_variational_system(
    const float* data, const float* edges, const float* flow, const float* step, float* system, int64_t batch,
    int64_t height, int64_t width, float alpha, float delta, float gamma, float epsilon, int64_t threads) {
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
            const float *base = data + 11 * sample * size, *edge = edges + 2 * sample * size;
            float* out = system + 7 * sample * size;
            for (int64_t y = first; y < last; ++y) {
                const int64_t at = y * width;
                const float *fx = base + at, *fy = fx + size, *fxx = fy + size, *fxy = fxx + size, *fyy = fxy + size;
                const float *ft = fyy + size, *fxt = ft + size, *fyt = fxt + size;
                const float *n0 = fyt + size, *n1 = n0 + size, *n2 = n1 + size;
                const float *du = su + at, *dv = sv + at, *here = part.data() + (y - from) * width;
                float *a11 = out + at, *a12 = a11 + size, *a22 = a12 + size, *b1 = a22 + size, *b2 = b1 + size;
                float *right = b2 + size, *below = right + size;
                const float *across = edge + at, *down = across + size;
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
                    below[x] = has_below ? down[x] * (here[x] + under[x]) : 0.0f;
                }
#pragma GCC ivdep
                for (int64_t x = 0; x < width - 1; ++x) right[x] = across[x] * (here[x] + here[x + 1]);
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
                        const float weight = down[x - width] * (over[x] + here[x]);
                        b1[x] += weight * (u0[x - width] - u0[x]);
                        b2[x] += weight * (v0[x - width] - v0[x]);
                    }
                }
            }
        }
    });
}
