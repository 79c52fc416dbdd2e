// One linearisation of variational refinement, from the images to the moved flow: what variational.cpp and relaxation.cpp
// do in turn, row by row, so that neither data terms nor system are ever in memory as a whole.
// flowzoo/operators/variational defines it.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "threads.h"
#include "variational_rows.h"

namespace {

struct Numbers {
    float normaliser, mismatch, least, alpha, delta, gamma, epsilon, factor, largest;
};

// Some rows of a map, of which the last `depth` are kept. Each begins on a cache line.
class Ring {
public:
    Ring(int64_t depth, int64_t width) : depth_(depth), stride_((width + 15) / 16 * 16), values_(depth * stride_) {
        std::fill_n(values_.get(), depth * stride_, 0.0f);
    }
    float* row(int64_t y) { return values_.get() + y % depth_ * stride_; }

private:
    int64_t depth_, stride_;
    Buffer values_;
};

// Rows of what belongs to the pixels of one colour, which are every second of a row: even x + y is colour 0.
// A zero stands before and behind the row, whose first pixel begins a cache line.
constexpr int64_t kBefore = 16;
struct Colour {
    Ring a12, b1, b2, right, below, inverse1, inverse2, du, dv;
    Colour(int64_t depth, int64_t stride)
        : a12(depth, stride),
          b1(depth, stride),
          b2(depth, stride),
          right(depth, stride),
          below(depth, stride),
          inverse1(depth, stride),
          inverse2(depth, stride),
          du(depth, stride),
          dv(depth, stride) {}
};

constexpr int64_t kNear = 8;  // rows kept of what the system is made of: five are needed

// Rows of the linear system about the flow, made from the top downwards.
class SystemRows {
public:
    SystemRows(int64_t height, int64_t width, const Numbers& numbers)
        : height_(height),
          width_(width),
          n_(numbers),
          mean_(kNear, width),
          change_(kNear, width),
          inside_(kNear, width),
          gx_(kNear, width),
          gy_(kNear, width),
          part_(kNear, width),
          below_(2, width),
          padded_((width + kLanes - 1) / kLanes * kLanes),
          work_(13 * padded_) {}

    // To begin with row `from`.
    void start(const float* first, const float* second, const float* edges, const float* flow, int64_t from) {
        first_ = first, second_ = second, edges_ = edges, u_ = flow, v_ = flow + height_ * width_;
        warped_ = std::max<int64_t>(from - kReach, 0);
        sloped_ = parts_ = std::max<int64_t>(from - 1, 0);
        float* above = below_.row(from + 1);  // of row from - 1
        if (from == 0) {
            std::fill_n(above, width_, 0.0f);
        } else {
            prepare(from);
            weigh_below(from - 1, above);
        }
    }

    // Row y, which follows the one before; written to both colours.
    void make(int64_t y, Colour* colours) {
        prepare(y);
        float* w = work_.data();
        float *fxx = w, *fxy = w + padded_, *fyy = w + 2 * padded_, *fxt = w + 3 * padded_, *fyt = w + 4 * padded_;
        float *trust = w + 5 * padded_, *a12 = w + 6 * padded_, *b1 = w + 7 * padded_, *b2 = w + 8 * padded_;
        float *right = w + 9 * padded_, *inverse1 = w + 10 * padded_, *inverse2 = w + 11 * padded_;
        float* sums = w + 12 * padded_;
        const float *fx = gx_.row(y), *fy = gy_.row(y), *ft = change_.row(y);
        slope_row(fx, width_, fxx);
        slope_between(at(gx_, y - 1), at(gx_, y + 1), width_, fxy);
        slope_between(at(gy_, y - 1), at(gy_, y + 1), width_, fyy);
        slope_row(ft, width_, fxt);
        slope_between(at(change_, y - 1), at(change_, y + 1), width_, fyt);
        find_trust(y, sums, trust);
        float *below = below_.row(y), *above = below_.row(y + 1);
        weigh_below(y, below);
        const float *here = part_.row(y), *across = edges_ + y * width_;
        right[width_ - 1] = 0.0f;
#pragma GCC ivdep
        for (int64_t x = 0; x < width_ - 1; ++x) right[x] = across[x] * (here[x] + here[x + 1]);
        const float least_square = n_.normaliser * n_.normaliser, epsilon2 = n_.epsilon * n_.epsilon;
        for (int64_t x = 0; x < width_; x += kLanes) {  // rows have room for whole vectors
            const Vec f_x = load(fx + x), f_y = load(fy + x), f_t = load(ft + x), trusted = load(trust + x);
            const Vec f_xx = load(fxx + x), f_xy = load(fxy + x), f_yy = load(fyy + x);
            const Vec f_xt = load(fxt + x), f_yt = load(fyt + x);
            const Vec n0 = trusted * reciprocal(f_x * f_x + f_y * f_y + least_square);
            const Vec n1 = trusted * reciprocal(f_xx * f_xx + f_xy * f_xy + least_square);
            const Vec n2 = trusted * reciprocal(f_xy * f_xy + f_yy * f_yy + least_square);
            const Vec k0 = n_.delta * n0 * reciprocal_root(f_t * f_t * n0 + epsilon2);
            const Vec k = n_.gamma * reciprocal_root(f_xt * f_xt * n1 + f_yt * f_yt * n2 + epsilon2);
            const Vec k1 = k * n1, k2 = k * n2;
            store(inverse1 + x, k0 * f_x * f_x + k1 * f_xx * f_xx + k2 * f_xy * f_xy);
            store(inverse2 + x, k0 * f_y * f_y + k1 * f_xy * f_xy + k2 * f_yy * f_yy);
            store(a12 + x, k0 * f_x * f_y + k1 * f_xx * f_xy + k2 * f_xy * f_yy);
            store(b1 + x, -(k0 * f_x * f_t + k1 * f_xx * f_xt + k2 * f_xy * f_yt));
            store(b2 + x, -(k0 * f_y * f_t + k1 * f_xy * f_xt + k2 * f_yy * f_yt));
        }
        pull(y, right, below, above, b1, b2, inverse1, inverse2);
        Colour &even = colours[y & 1], &odd = colours[1 - (y & 1)];
        pick(a12, even.a12.row(y), odd.a12.row(y));
        pick(b1, even.b1.row(y), odd.b1.row(y));
        pick(b2, even.b2.row(y), odd.b2.row(y));
        pick(right, even.right.row(y), odd.right.row(y));
        pick(below, even.below.row(y), odd.below.row(y));
        pick(inverse1, even.inverse1.row(y), odd.inverse1.row(y));
        pick(inverse2, even.inverse2.row(y), odd.inverse2.row(y));
    }

private:
    float* at(Ring& rows, int64_t y) { return rows.row(std::clamp<int64_t>(y, 0, height_ - 1)); }

    // Everything about the flow that row y of the system needs.
    void prepare(int64_t y) {
        for (; warped_ <= std::min(y + kReach, height_ - 1); ++warped_) {
            float *warped = mean_.row(warped_), *difference = change_.row(warped_);
            const float* here = first_ + warped_ * width_;
            warp_row(second_, u_ + warped_ * width_, v_ + warped_ * width_, warped_, height_, width_, warped,
                     inside_.row(warped_));
#pragma GCC ivdep
            for (int64_t x = 0; x < width_; ++x) {
                difference[x] = warped[x] - here[x];
                warped[x] = (here[x] + warped[x]) / 2;
            }
        }
        for (; sloped_ <= std::min(y + 1, height_ - 1); ++sloped_) {
            slope_row(mean_.row(sloped_), width_, gx_.row(sloped_));
            slope_between(at(mean_, sloped_ - 1), at(mean_, sloped_ + 1), width_, gy_.row(sloped_));
        }
        for (; parts_ <= std::min(y + 1, height_ - 1); ++parts_)
            smoothness_row(u_, v_, parts_, height_, width_, n_.alpha / 2, n_.epsilon * n_.epsilon, part_.row(parts_));
    }

    void find_trust(int64_t y, float* sums, float* trust) {
        const int64_t top = std::max<int64_t>(y - kReach, 0), bottom = std::min(y + kReach, height_ - 1);
        std::fill_n(sums, width_, 0.0f);
        for (int64_t r = top; r <= bottom; ++r) {
            const float* difference = change_.row(r);
#pragma GCC ivdep
            for (int64_t x = 0; x < width_; ++x) sums[x] += std::fabs(difference[x]);
        }
        mean_row(sums, bottom - top + 1, width_, trust);
        trust_row(inside_.row(y), width_, n_.mismatch, n_.least, trust);
    }

    // Weights of the edges from row y to the next.
    void weigh_below(int64_t y, float* out) {
        if (y + 1 == height_) {
            std::fill_n(out, width_, 0.0f);
            return;
        }
        const float *down = edges_ + height_ * width_ + y * width_, *here = part_.row(y), *under = part_.row(y + 1);
#pragma GCC ivdep
        for (int64_t x = 0; x < width_; ++x) out[x] = down[x] * (here[x] + under[x]);
    }

    // Adds the pull of the neighbours' flow to b1 and b2, and turns a11 and a22 into reciprocals of SOR's divisors.
    void pull(int64_t y, const float* right, const float* below, const float* above, float* b1, float* b2,
              float* inverse1, float* inverse2) {
        const float *u = u_ + y * width_, *v = v_ + y * width_;
        const int64_t up = y > 0 ? -width_ : 0, down = y + 1 < height_ ? width_ : 0;
        auto add = [&](int64_t x, float left, int64_t before, int64_t behind) {
            b1[x] += left * (u[x + before] - u[x]) + right[x] * (u[x + behind] - u[x]) +
                     above[x] * (u[x + up] - u[x]) + below[x] * (u[x + down] - u[x]);
            b2[x] += left * (v[x + before] - v[x]) + right[x] * (v[x + behind] - v[x]) +
                     above[x] * (v[x + up] - v[x]) + below[x] * (v[x + down] - v[x]);
            const float total = left + above[x] + right[x] + below[x];
            inverse1[x] = 1.0f / (inverse1[x] + total);
            inverse2[x] = 1.0f / (inverse2[x] + total);
        };
        add(0, 0.0f, 0, width_ > 1 ? 1 : 0);
#pragma GCC ivdep
        for (int64_t x = 1; x < width_ - 1; ++x) add(x, right[x - 1], -1, 1);
        if (width_ > 1) add(width_ - 1, right[width_ - 2], -1, 0);
    }

    // What belongs to the row's pixels of even x, and of odd x.
    void pick(const float* from, float* __restrict even, float* __restrict odd) {
        const int64_t pairs = width_ / 2;
        even += kBefore, odd += kBefore;
        for (int64_t i = 0; i < pairs; ++i) {
            even[i] = from[2 * i];
            odd[i] = from[2 * i + 1];
        }
        even[pairs] = width_ % 2 ? from[width_ - 1] : 0.0f;
        even[pairs + width_ % 2] = odd[pairs] = 0.0f;
    }

    int64_t height_, width_;
    Numbers n_;
    Ring mean_, change_, inside_, gx_, gy_, part_, below_;
    int64_t padded_;
    std::vector<float> work_;
    const float *first_ = nullptr, *second_ = nullptr, *edges_ = nullptr, *u_ = nullptr, *v_ = nullptr;
    int64_t warped_ = 0, sloped_ = 0, parts_ = 0;
};

// SOR's pass over the pixels of one colour in row y.
void relax_row(Colour* colours, int64_t colour, int64_t y, int64_t height, int64_t width, float factor,
               const float* zeros) {
    Colour &own = colours[colour], &other = colours[1 - colour];
    const int64_t begin = (y + colour) & 1, count = (width - begin + 1) / 2;
    const float *a12 = own.a12.row(y) + kBefore, *b1 = own.b1.row(y) + kBefore, *b2 = own.b2.row(y) + kBefore;
    const float *right = own.right.row(y) + kBefore, *below = own.below.row(y) + kBefore;
    const float *inverse1 = own.inverse1.row(y) + kBefore, *inverse2 = own.inverse2.row(y) + kBefore;
    const int64_t before = kBefore - 1 + begin;
    // The neighbours to the left and right are the other colour's numbers i - 1 and i, or i and i + 1.
    const float *left = other.right.row(y) + before;
    const float *du_left = other.du.row(y) + before, *dv_left = other.dv.row(y) + before;
    const float *du_right = du_left + 1, *dv_right = dv_left + 1;
    const float *above = y > 0 ? other.below.row(y - 1) + kBefore : zeros;
    const float *du_up = y > 0 ? other.du.row(y - 1) + kBefore : zeros;
    const float *dv_up = y > 0 ? other.dv.row(y - 1) + kBefore : zeros;
    const bool last = y + 1 == height;
    const float *du_down = last ? zeros : other.du.row(y + 1) + kBefore;
    const float *dv_down = last ? zeros : other.dv.row(y + 1) + kBefore;
    float *du = own.du.row(y) + kBefore, *dv = own.dv.row(y) + kBefore;
#pragma GCC ivdep
    for (int64_t i = 0; i < count; ++i) {
        const float u = b1[i] + left[i] * du_left[i] + right[i] * du_right[i] + above[i] * du_up[i] + below[i] * du_down[i];
        const float v = b2[i] + left[i] * dv_left[i] + right[i] * dv_right[i] + above[i] * dv_up[i] + below[i] * dv_down[i];
        const float next = du[i] + factor * ((u - a12[i] * dv[i]) * inverse1[i] - du[i]);
        dv[i] += factor * ((v - a12[i] * next) * inverse2[i] - dv[i]);
        du[i] = next;
    }
}

// A row of one component of the moved flow, which stays where the system says nothing (0 / 0).
void move_row(Ring Colour::*step, Colour* colours, int64_t y, int64_t width, float largest, const float* flow,
              float* __restrict out) {
    const auto moved = [largest](float at, float by) {
        by = by == by ? by : 0.0f;
        by = by < -largest ? -largest : by;
        return at + (by > largest ? largest : by);
    };
    const float* even = (colours[y & 1].*step).row(y) + kBefore;
    const float* odd = (colours[1 - (y & 1)].*step).row(y) + kBefore;
    for (int64_t i = 0; i < width / 2; ++i) {
        out[2 * i] = moved(flow[2 * i], even[i]);
        out[2 * i + 1] = moved(flow[2 * i + 1], odd[i]);
    }
    if (width % 2) out[width - 1] = moved(flow[width - 1], even[width / 2]);
}

}  // namespace

// first, second: (batch, height, width) grey images; edges, flow and the moved flow: (batch, 2, height, width).
extern "C" __attribute__((visibility("default"))) int flowzoo_variational_step(
    const float* first, const float* second, const float* edges, const float* flow, float* moved, int64_t batch,
    int64_t height, int64_t width, int64_t sweeps, float normaliser, float mismatch, float least, float alpha, float delta,
    float gamma, float epsilon, float factor, float largest, int64_t threads) {
    // Pass p over one colour follows p rows behind the system, and needs the pass before it one row further: a band of rows
    // begins and ends with a margin of as many rows as passes, which shrinks by one row a pass. So bands cost something;
    // there are as few as the threads need. The result is that of whole passes.
    const Numbers numbers{normaliser, mismatch, least, alpha, delta, gamma, epsilon, factor, largest};
    const int64_t size = height * width, passes = 2 * sweeps;
    const int64_t wanted = std::max<int64_t>(1, (threads + batch - 1) / batch);
    const int64_t rows = std::max((height + wanted - 1) / wanted, std::min(height, 2 * passes));
    const int64_t bands = (height + rows - 1) / rows;
    return run_tasks(0, batch * bands, threads, [&](auto next) {
        const int64_t stride = kBefore + (width + 1) / 2 + 1;
        const std::vector<float> zeros(stride, 0.0f);
        const int64_t depth = std::min(passes + 3, height + 2);
        Colour colours[2] = {Colour(depth, stride), Colour(depth, stride)};
        SystemRows system(height, width, numbers);
        for (int64_t task = next(); task >= 0; task = next()) {
            const int64_t sample = task / bands, begin = task % bands * rows, end = std::min(begin + rows, height);
            const int64_t from = std::max<int64_t>(begin - passes, 0), to = std::min(end + passes, height);
            const float* flows = flow + 2 * sample * size;
            float* out = moved + 2 * sample * size;
            system.start(first + sample * size, second + sample * size, edges + 2 * sample * size, flows, from);
            auto clear = [&](int64_t y) {
                for (Colour& colour : colours) {
                    std::fill_n(colour.du.row(y), stride, 0.0f);
                    std::fill_n(colour.dv.row(y), stride, 0.0f);
                }
            };
            clear(from);
            for (int64_t front = from; front < end + std::max<int64_t>(passes, 1) - 1; ++front) {
                if (front + 1 < to) clear(front + 1);
                if (front < to) system.make(front, colours);
                for (int64_t pass = 0; pass < passes; ++pass) {
                    const int64_t y = front - pass, margin = passes - 1 - pass;
                    if (y >= from && y < to && y >= begin - margin && y < end + margin)
                        relax_row(colours, pass & 1, y, height, width, factor, zeros.data());
                }
                const int64_t done = front - std::max<int64_t>(passes, 1) + 1;
                if (done < begin || done >= end) continue;
                move_row(&Colour::du, colours, done, width, largest, flows + done * width, out + done * width);
                move_row(&Colour::dv, colours, done, width, largest, flows + size + done * width,
                         out + size + done * width);
            }
        }
    });
}
