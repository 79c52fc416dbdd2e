// The exponential function of a vector of floats.
#pragma once

#include <cstdint>

// exp(x) for x <= 0 to about 2 units in the last place; NaN gives NaN. `Whole` is a vector of as many int32_t.
template <class Floats, class Whole>
static inline __attribute__((always_inline)) Floats exponential(Floats x) {
    x = x < -87.0f ? Floats{} - 87.0f : x;
    const Floats shifted = x * 1.44269504f + 12582912.0f;  // 1.5 * 2^23: the sum rounds to a whole number
    const Floats whole = shifted - 12582912.0f;
    const Floats r = (x - whole * 0.693145752f) - whole * 1.42860677e-6f;
    Floats p = Floats{} + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    const Whole power = (reinterpret_cast<Whole>(shifted) << 23) + 0x3f800000;  // low bits: the whole number
    return p * reinterpret_cast<Floats>(power);
}
