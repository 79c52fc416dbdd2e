// Forward warping: every value is added to the four neighbours of p + flow(p). See flowzoo/operators/splat/definition.py.
//
// A thread has one pixel of one channel.

#include "sums.cuh"

// result is zero at the start.
extern "C" __global__ void __launch_bounds__(256)
splat(const Storage* values, const float* flow, Sum* result, const double* fixed_scale, Long batch, Long channels,
      Long height, Long width, Long first_block) {
    const Long plane = height * width, index = (blockIdx.x + first_block) * 256 + threadIdx.x;
    if (index >= batch * channels * plane) return;
    const Long place = index % plane, image = index / plane / channels;
    const float limit = static_cast<float>(height + width + 2);
    const float x = bounded(flow[image * 2 * plane + place], limit);
    const float y = bounded(flow[(image * 2 + 1) * plane + place], limit);
    const float whole_x = floorf(x), whole_y = floorf(y), right = x - whole_x, down = y - whole_y;
    const Long left = place % width + static_cast<Long>(whole_x), top = place / width + static_cast<Long>(whole_y);
    const float value = widen(values[index]);
    const double scale = FIXED ? *fixed_scale : 1.0;
    Sum* target = result + (index - place);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
        const Long row = top + k / 2, column = left + k % 2;
        if (row < 0 || row >= height || column < 0 || column >= width) continue;
        const float share = (k / 2 ? down : 1.0f - down) * (k % 2 ? right : 1.0f - right);
        add(target + row * width + column, value * share, scale);
    }
}
