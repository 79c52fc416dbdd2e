// Red-black SOR, one pass over the pixels of one colour. See flowzoo/operators/relaxation/definition.py.
//
// A thread has one pixel. Between the passes lies the end of a launch: a pixel's neighbours all have the other colour,
// which the pass only reads.

#include "common.cuh"

// system: (batch, 7, height, width), step: (batch, 2, height, width), changed in place where x + y + colour is even.
extern "C" __global__ void __launch_bounds__(256)
relax_pass(const float* system, float* step, Long batch, Long height, Long width, Long colour, float factor,
           Long first_block) {
    const Long half = (width + 1) / 2, plane = height * width;
    Long index = (blockIdx.x + first_block) * 256 + threadIdx.x;
    if (index >= batch * height * half) return;
    const Long i = take(index, half), y = take(index, height), x = 2 * i + (y + colour) % 2;
    if (x >= width) return;
    const float* s = system + index * 7 * plane + y * width + x;
    float *du = step + index * 2 * plane + y * width + x, *dv = du + plane;
    const float right = s[5 * plane], below = s[6 * plane];
    const float left = x > 0 ? s[5 * plane - 1] : 0.0f, above = y > 0 ? s[6 * plane - width] : 0.0f;
    float u = s[3 * plane], v = s[4 * plane];
    if (x > 0) u += left * du[-1], v += left * dv[-1];
    if (x + 1 < width) u += right * du[1], v += right * dv[1];
    if (y > 0) u += above * du[-width], v += above * dv[-width];
    if (y + 1 < height) u += below * du[width], v += below * dv[width];
    const float total = left + above + right + below, a12 = s[plane], now_u = du[0], now_v = dv[0];
    const float next = now_u + factor * ((u - a12 * now_v) / (s[0] + total) - now_u);
    du[0] = next;
    dv[0] = now_v + factor * ((v - a12 * next) / (s[2 * plane] + total) - now_v);
}
