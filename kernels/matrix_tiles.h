// Products of small bfloat16 matrices with sums in float32: by the processor's matrix tiles (AMX) where it has them, else
// by its dot products of pairs (AVX-512 BF16).
#pragma once

#include <cstdint>
#include <cstring>

#include "half.h"

// Sanitizers do not see what intrinsics read and write.
#if defined(__AVX512BF16__) && defined(__AVX512VL__) && defined(__AVX512BW__) && !defined(__SANITIZE_ADDRESS__)
#define FLOWZOO_PAIRS 1
#include <immintrin.h>
#if defined(__AMX_TILE__) && defined(__AMX_BF16__) && defined(__linux__)
#define FLOWZOO_TILES 1
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

namespace {

constexpr int64_t kSide = 16;             // rows and columns of a tile of sums
constexpr int64_t kDepth = 32;            // bfloat16 numbers in a row of a tile, of which a step makes products
constexpr int64_t kTile = kSide * kDepth;  // of a tile

// Where the operands of a product's steps are. Rows of `left` are `row` numbers apart. Of step (chunk, tap) `left` is
// chunk * chunk_size + offset[tap] numbers further, and `right` one more tile.
struct Steps {
    int64_t chunks, taps, chunk_size, row;
    const int64_t* offset;
};

// The operands' second terms are what rounding left of the first ones; either may be null, the left ones alone, too.
struct Operands {
    const Half* left[2];  // of the upper and the lower tiles of sums
    const Half* left_rest[2];
    const Half* right[2];  // of the left and the right ones: rows of 16 columns with two numbers of a column each
    const Half* right_rest[2];
};

// Lines of the caches that are soon needed, in pixels of rows. Which of them there are does not matter to the result.
struct Lines {
    uintptr_t at = 0;  // of the pixel
    int64_t row_step = 0, pixel_step = 0, bytes = 0;
    int64_t rows = 0, pixels = 0;  // left; of a row
    int64_t pixel = 0, byte = 0;

    int64_t count() const { return rows * pixels * ((bytes + 63) / 64); }

    // Brings the next one near.
    template <bool kWritten>
    inline void touch() {
        if (rows <= 0) return;
        __builtin_prefetch(reinterpret_cast<const void*>(at + byte), kWritten, kWritten ? 3 : 2);
        if ((byte += 64) < bytes) return;
        byte = 0;
        at += pixel_step;
        if (++pixel < pixels) return;
        pixel = 0;
        at += row_step - pixels * pixel_step;
        --rows;
    }
};

// What is touched in a product's steps: `reads` of them each, and one line of the result.
struct Ahead {
    Lines read, written;
    int64_t reads = 0;
};

#if defined(FLOWZOO_TILES)

// Whether this process may use them: Linux wants to be asked once for the tiles.
inline bool products_allowed() {
    static const bool allowed = syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tile data */) == 0;
    return allowed;
}

// Sets this thread's tiles up for as long as it lives.
class TilesInUse {
public:
    TilesInUse() {
        struct {
            uint8_t palette, start, reserved[14];
            uint16_t bytes[16];
            uint8_t rows[16];
        } shape = {};
        shape.palette = 1;
        for (int i = 0; i < 8; ++i) {
            shape.bytes[i] = kDepth * sizeof(Half);
            shape.rows[i] = kSide;
        }
        asm volatile("" : : "r"(&shape) : "memory");
        _tile_loadconfig(&shape);
    }
    ~TilesInUse() { _tile_release(); }
    TilesInUse(const TilesInUse&) = delete;
    TilesInUse& operator=(const TilesInUse&) = delete;
};

// sums: 2 x kColumns tiles of floats, one after the other.
template <int kColumns>
__attribute__((noinline)) void multiply_tiles(const Operands& of, const Steps& steps, Ahead& ahead, float* sums) {
    constexpr int64_t kBytes = kDepth * sizeof(Half);
    const int64_t row = steps.row * sizeof(Half);
    asm volatile("" : : : "memory");  // the intrinsics do not say that they read memory
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    int64_t right = 0;
    for (int64_t chunk = 0; chunk < steps.chunks; ++chunk) {
        for (int64_t tap = 0; tap < steps.taps; ++tap, right += kTile) {
            const int64_t left = chunk * steps.chunk_size + steps.offset[tap];
            for (int64_t i = 0; i < ahead.reads; ++i) ahead.read.touch<false>();
            ahead.written.touch<true>();
            _tile_loadd(4, of.left[0] + left, row);
            _tile_loadd(6, of.right[0] + right, kBytes);
            _tile_loadd(5, of.left[1] + left, row);
            _tile_dpbf16ps(0, 4, 6);
            if (kColumns == 2) _tile_loadd(7, of.right[1] + right, kBytes);
            _tile_dpbf16ps(2, 5, 6);
            if (kColumns == 2) {
                _tile_dpbf16ps(1, 4, 7);
                _tile_dpbf16ps(3, 5, 7);
            }
            if (!of.right_rest[0]) continue;
            _tile_loadd(6, of.right_rest[0] + right, kBytes);
            if (kColumns == 2) _tile_loadd(7, of.right_rest[1] + right, kBytes);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(2, 5, 6);
            if (kColumns == 2) {
                _tile_dpbf16ps(1, 4, 7);
                _tile_dpbf16ps(3, 5, 7);
            }
            if (!of.left_rest[0]) continue;
            _tile_loadd(4, of.left_rest[0] + left, row);
            _tile_loadd(6, of.right[0] + right, kBytes);
            _tile_loadd(5, of.left_rest[1] + left, row);
            _tile_dpbf16ps(0, 4, 6);
            if (kColumns == 2) _tile_loadd(7, of.right[1] + right, kBytes);
            _tile_dpbf16ps(2, 5, 6);
            if (kColumns == 2) {
                _tile_dpbf16ps(1, 4, 7);
                _tile_dpbf16ps(3, 5, 7);
            }
        }
    }
    constexpr int64_t kSums = kSide * kSide, kSumBytes = kSide * sizeof(float);
    _tile_stored(0, sums, kSumBytes);
    if (kColumns == 2) _tile_stored(1, sums + kSums, kSumBytes);
    _tile_stored(2, sums + kColumns * kSums, kSumBytes);
    if (kColumns == 2) _tile_stored(3, sums + 3 * kSums, kSumBytes);
    asm volatile("" : : : "memory");
}

#else

struct TilesInUse {
    TilesInUse() {}
    ~TilesInUse() {}
};

#if defined(FLOWZOO_PAIRS)

inline bool products_allowed() { return true; }

constexpr int kRun = 8;  // pixels whose sums, of two vectors each, the registers hold

// Adds to the sums of kRun pixels from `left` on, in kColumns vectors each.
template <int kColumns>
inline __attribute__((always_inline)) void add_pairs(
    const Half* left, int64_t row, const Half* const* right, int64_t at, __m512 (*sums)[kColumns]) {
#pragma GCC unroll 1
    for (int64_t k = 0; k < kDepth / 2; ++k) {
        __m512i factors[kColumns];
#pragma GCC unroll 2
        for (int j = 0; j < kColumns; ++j) {
            factors[j] = _mm512_loadu_si512(right[j] + at + k * kDepth);
            asm("" : "+v"(factors[j]));
        }
#pragma GCC unroll 8
        for (int i = 0; i < kRun; ++i) {
            int32_t pair;
            std::memcpy(&pair, left + i * row + 2 * k, sizeof pair);
            __m512i both = _mm512_set1_epi32(pair);
            asm volatile("" : "+v"(both));  // or gcc loads all of them first, for which there are no registers
#pragma GCC unroll 2
            for (int j = 0; j < kColumns; ++j)
                sums[i][j] = _mm512_dpbf16_ps(sums[i][j], (__m512bh)both, (__m512bh)factors[j]);
        }
    }
}

template <int kColumns>
__attribute__((noinline)) void multiply_tiles(const Operands& of, const Steps& steps, Ahead& ahead, float* sums) {
    for (int64_t run = 0; run < 2 * kSide; run += kRun) {
        const int64_t tile = run / kSide, pixel = run % kSide;
        __m512 run_sums[kRun][kColumns];
#pragma GCC unroll 8
        for (int i = 0; i < kRun; ++i)
            for (int j = 0; j < kColumns; ++j) run_sums[i][j] = _mm512_setzero_ps();
        int64_t right = 0;
        for (int64_t chunk = 0; chunk < steps.chunks; ++chunk)
            for (int64_t tap = 0; tap < steps.taps; ++tap, right += kTile) {
                const int64_t left = chunk * steps.chunk_size + steps.offset[tap] + pixel * steps.row;
                if (tile == 0 && pixel == 0) {
                    for (int64_t i = 0; i < ahead.reads; ++i) ahead.read.touch<false>();
                    ahead.written.touch<true>();
                }
                add_pairs<kColumns>(of.left[tile] + left, steps.row, of.right, right, run_sums);
                if (!of.right_rest[0]) continue;
                add_pairs<kColumns>(of.left[tile] + left, steps.row, of.right_rest, right, run_sums);
                if (!of.left_rest[0]) continue;
                add_pairs<kColumns>(of.left_rest[tile] + left, steps.row, of.right, right, run_sums);
            }
#pragma GCC unroll 8
        for (int i = 0; i < kRun; ++i)
            for (int j = 0; j < kColumns; ++j)
                _mm512_storeu_ps(sums + ((tile * kColumns + j) * kSide + pixel + i) * kSide, run_sums[i][j]);
    }
}

#else

inline bool products_allowed() { return false; }

inline void add_product(const Half* left, int64_t row, const Half* right, float* sums) {
    for (int64_t i = 0; i < kSide; ++i)
        for (int64_t k = 0; k < kDepth; ++k) {
            const float value = widen(left[i * row + k]);
            for (int64_t j = 0; j < kSide; ++j) sums[i * kSide + j] += value * widen(right[(k / 2 * kSide + j) * 2 + k % 2]);
        }
}

template <int kColumns>
void multiply_tiles(const Operands& of, const Steps& steps, Ahead&, float* sums) {
    std::memset(sums, 0, 2 * kColumns * kSide * kSide * sizeof(float));
    int64_t right = 0;
    for (int64_t chunk = 0; chunk < steps.chunks; ++chunk)
        for (int64_t tap = 0; tap < steps.taps; ++tap, right += kTile)
            for (int i = 0; i < 2; ++i)
                for (int j = 0; j < kColumns; ++j) {
                    const int64_t left = chunk * steps.chunk_size + steps.offset[tap];
                    float* to = sums + (i * kColumns + j) * kSide * kSide;
                    add_product(of.left[i] + left, steps.row, of.right[j] + right, to);
                    if (!of.right_rest[0]) continue;
                    add_product(of.left[i] + left, steps.row, of.right_rest[j] + right, to);
                    if (!of.left_rest[0]) continue;
                    add_product(of.left_rest[i] + left, steps.row, of.right[j] + right, to);
                }
}

#endif
#endif

}  // namespace
