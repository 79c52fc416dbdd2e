// Where backward warping reads; flowzoo/operators/warp defines it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>

// The two whole places around one along an axis of `size`, their weights, and how these change with the place. One outside
// has 0 of both, and the number of the nearest place inside.
struct Side {
    int64_t number[2];
    float weight[2], change[2];

    Side(float place, int64_t size) {
        const float before = std::floor(place), beyond = place - before;
        const int64_t first = static_cast<int64_t>(before);
        const bool inside[2] = {first >= 0, first + 1 < size};
        for (int64_t i = 0; i < 2; ++i) {
            number[i] = std::min(std::max<int64_t>(first + i, 0), size - 1);
            weight[i] = inside[i] ? (i ? beyond : 1 - beyond) : 0.0f;
            change[i] = inside[i] ? (i ? 1.0f : -1.0f) : 0.0f;
        }
    }
};

// The four neighbours of a place, by pixel numbers, and their weights. One outside the map has weight 0, and the number of
// a pixel inside; where all are outside, or flow is not a number, `any` is false.
struct Neighbours {
    int64_t number[4];
    float weight[4];
    bool any;

    Neighbours() = default;
    Neighbours(const Side& across, const Side& down, int64_t width, bool inside) : any(inside) {
        for (int64_t i = 0; i < 4; ++i) {
            number[i] = down.number[i / 2] * width + across.number[i % 2];
            weight[i] = down.weight[i / 2] * across.weight[i % 2];
        }
    }
};

// The same, and how the weights change with x and y. `counts`: a neighbour of which one of these is not 0.
struct Changes : Neighbours {
    float by_x[4], by_y[4];
    bool counts[4];

    Changes() = default;
    Changes(const Side& across, const Side& down, int64_t width, bool inside) : Neighbours(across, down, width, inside) {
        for (int64_t i = 0; i < 4; ++i) {
            by_x[i] = down.weight[i / 2] * across.change[i % 2];
            by_y[i] = down.change[i / 2] * across.weight[i % 2];
            counts[i] = inside && (by_x[i] != 0 || by_y[i] != 0);
        }
    }
};

// A row of pixels and the flow from them.
struct Row {
    const float *flow_x, *flow_y;
    int64_t y, height, width;

    // flow: (batch, 2, height, width); task: sample * height + y.
    Row(const float* flow, int64_t task, int64_t height, int64_t width)
        : flow_x(flow + task / height * 2 * height * width + task % height * width), flow_y(flow_x + height * width),
          y(task % height), height(height), width(width) {}

    // What pixel `x` reads: Neighbours or Changes.
    template <class Found>
    Found read(int64_t x) const {
        float to_x = static_cast<float>(x) + flow_x[x], to_y = static_cast<float>(y) + flow_y[x];
        const bool any = to_x > -1 && to_x < static_cast<float>(width) && to_y > -1 && to_y < static_cast<float>(height);
        if (!any) to_x = to_y = 0;
        return Found(Side(to_x, width), Side(to_y, height), width, any);
    }
};

constexpr int kPlanes = 4;  // at a time, so that a pixel's neighbours stay in registers

// Does work(first, count) for groups of planes, `count` being a constant.
template <class Work>
void in_groups(int64_t planes, Work work) {
    int64_t first = 0;
    for (; planes - first >= kPlanes; first += kPlanes) work(first, std::integral_constant<int, kPlanes>());
    for (; first < planes; ++first) work(first, std::integral_constant<int, 1>());
}
