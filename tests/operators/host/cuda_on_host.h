// Runs a CUDA source on the host, one block at a time. Every CUDA thread is a fiber; a fiber runs until it meets a barrier
// or ends. Before each block, shared memory is filled with NaN. The order in which waiting fibers continue is forward
// or reversed (each warp as far as it gets) or shuffled, so code that lacks a barrier gives different (or NaN) results. Waiting at different barriers, or
// at a barrier that others have passed by ending, is reported as an error.
#pragma once

#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

#define FLOWZOO_HOST 1
#define __global__ __attribute__((visibility("default")))
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __shared__ static __attribute__((section("flowzoo_shared")))
#define DYNAMIC_SHARED(name) float* name = reinterpret_cast<float*>(host::dynamic_shared)

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};
struct __align__(16) float4 {
    float x, y, z, w;
};

extern dim3 threadIdx, blockIdx, blockDim, gridDim;
dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace host {

constexpr size_t kStack = 256 * 1024;
enum class State { ready, block_barrier, warp_barrier, finished };

struct Fiber {
    ucontext_t context;
    State state;
    std::vector<char> stack;
    unsigned exchanges;  // shuffles done: two buffers suffice, since nobody passes the next one before all came
    void* fake_stack;
};

std::vector<Fiber> fibers;
ucontext_t scheduler;
size_t current = 0;
char* dynamic_shared = nullptr;
float exchanged[2][1024];
void (*body)(void**) = nullptr;
void** body_arguments = nullptr;
void* scheduler_fake_stack = nullptr;
const void* scheduler_stack = nullptr;
size_t scheduler_stack_size = 0;

inline void before_switch(void** save, const void* stack, size_t size) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(save, stack, size);
#else
    (void)save, (void)stack, (void)size;
#endif
}
inline void after_switch(void* saved, const void** stack, size_t* size) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(saved, stack, size);
#else
    (void)saved, (void)stack, (void)size;
#endif
}

inline void leave(State state) {
    Fiber& fiber = fibers[current];
    fiber.state = state;
    before_switch(state == State::finished ? nullptr : &fiber.fake_stack, scheduler_stack, scheduler_stack_size);
    swapcontext(&fiber.context, &scheduler);
    after_switch(fibers[current].fake_stack, nullptr, nullptr);
}

inline void fiber_main() {
    after_switch(nullptr, &scheduler_stack, &scheduler_stack_size);
    body(body_arguments);
    leave(State::finished);
}

inline void resume(size_t index) {
    current = index;
    threadIdx.x = index % blockDim.x;
    threadIdx.y = index / blockDim.x;
    threadIdx.z = 0;
    Fiber& fiber = fibers[index];
    before_switch(&scheduler_fake_stack, fiber.stack.data(), fiber.stack.size());
    swapcontext(&scheduler, &fiber.context);
    after_switch(scheduler_fake_stack, nullptr, nullptr);
}

// Lets a warp go if all of its threads wait for each other.
inline bool release_warp(size_t start, size_t count) {
    const size_t end = start + 32 < count ? start + 32 : count;
    for (size_t i = start; i < end; ++i)
        if (fibers[i].state != State::warp_barrier) return false;
    for (size_t i = start; i < end; ++i) fibers[i].state = State::ready;
    return true;
}

// Lets go whoever has waited for everybody. Returns an error message, or null.
inline const char* release(size_t count) {
    size_t finished = 0, at_block = 0;
    for (const Fiber& fiber : fibers) {
        finished += fiber.state == State::finished;
        at_block += fiber.state == State::block_barrier;
    }
    if (finished == count) return nullptr;
    if (at_block == count) {
        for (Fiber& fiber : fibers) fiber.state = State::ready;
        return nullptr;
    }
    bool any = false;
    for (size_t start = 0; start < count; start += 32) any |= release_warp(start, count);
    return any ? nullptr : "barrier divergence: some threads of the block never arrive";
}

// Where a warp's turns begin in a straight order.
inline size_t first_turn(size_t warp, size_t count, int order) {
    const size_t end = warp + 32 < count ? warp + 32 : count;
    return order == 1 ? count - end : warp;
}

inline uint32_t next_random(uint32_t& seed) {
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed;
}

}  // namespace host

extern "C" char __start_flowzoo_shared[] __attribute__((weak, visibility("hidden")));
extern "C" char __stop_flowzoo_shared[] __attribute__((weak, visibility("hidden")));

namespace host {

// order: 0 forward, 1 reversed, 2 shuffled. Returns null or an error message.
inline const char* run(void (*kernel)(void**), void** arguments, int64_t first_block, int64_t blocks, unsigned x, unsigned y,
                       int64_t shared_bytes, int order, uint32_t seed) {
    const size_t count = static_cast<size_t>(x) * y;
    if (count > 1024) return "more than 1024 threads in a block";
    // Static shared memory is that of all of a file's kernels together here; the compiler's report has each one's.
    if (shared_bytes > 227 * 1024) return "more than 227 KiB of dynamic shared memory";
    blockDim = dim3{x, y, 1};
    body = kernel;
    body_arguments = arguments;
    if (fibers.size() != count) {
        fibers.clear();
        fibers.resize(count);
        for (Fiber& fiber : fibers) fiber.stack.resize(kStack);
    }
    std::vector<size_t> turns(count);
    std::vector<float> dynamic(shared_bytes / 4);  // exactly as large as asked for, so that sanitizers see overruns
    dynamic_shared = reinterpret_cast<char*>(dynamic.data());
    for (int64_t block = first_block; block < first_block + blocks; ++block) {
        blockIdx.x = static_cast<unsigned>(block);
        if (__start_flowzoo_shared)
            std::memset(__start_flowzoo_shared, 0xff, __stop_flowzoo_shared - __start_flowzoo_shared);
        if (shared_bytes > 0) std::memset(dynamic_shared, 0xff, shared_bytes);
        for (size_t i = 0; i < count; ++i) {
            Fiber& fiber = fibers[i];
            getcontext(&fiber.context);
            fiber.context.uc_stack.ss_sp = fiber.stack.data();
            fiber.context.uc_stack.ss_size = fiber.stack.size();
            fiber.context.uc_link = nullptr;
            makecontext(&fiber.context, fiber_main, 0);
            fiber.state = State::ready;
            fiber.exchanges = 0;
            fiber.fake_stack = nullptr;
            turns[i] = order == 1 ? count - 1 - i : i;
        }
        for (;;) {
            if (order == 2)
                for (size_t i = count - 1; i > 0; --i) std::swap(turns[i], turns[next_random(seed) % (i + 1)]);
            bool ran = false;
            for (size_t turn = 0; turn < count; ++turn) {
                const size_t index = turns[turn];
                if (fibers[index].state != State::ready) continue;
                resume(index);
                ran = true;
                // In the two straight orders a warp goes on alone as far as it can, past its own barriers.
                const size_t warp = index / 32 * 32;
                if (order != 2 && release_warp(warp, count)) turn = first_turn(warp, count, order) - 1;
            }
            if (!ran) break;
            if (const char* problem = release(count)) return problem;
        }
    }
    return nullptr;
}

template <class... Arguments, size_t... Index>
void call(void (*kernel)(Arguments...), void** values, std::index_sequence<Index...>) {
    kernel(*static_cast<Arguments*>(values[Index])...);
}

inline float half_bits_to_float(uint16_t half) {
    const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16, exponent = half >> 10 & 31u, fraction = half & 1023u;
    float value;
    if (exponent == 31) {
        const uint32_t bits = 0x7f800000u | fraction << 13;
        std::memcpy(&value, &bits, 4);
    } else {
        value = exponent ? std::ldexp(static_cast<float>(fraction + 1024), static_cast<int>(exponent) - 25)
                         : std::ldexp(static_cast<float>(fraction), -24);
    }
    return sign ? -value : value;
}

inline uint16_t float_to_half_bits(float value) {
    const uint16_t sign = std::signbit(value) ? 0x8000u : 0;
    const float size = std::fabs(value);
    if (std::isnan(value)) return sign | 0x7e00u;
    if (size >= 65520.0f) return sign | 0x7c00u;
    int exponent;
    std::frexp(size, &exponent);  // size = fraction * 2^exponent, fraction in [0.5, 1)
    const int step = exponent - 11 < -24 ? -24 : exponent - 11;
    const float units = std::nearbyint(std::ldexp(size, -step));  // ties to even
    const float rounded = std::ldexp(units, step);
    if (rounded < 6.103515625e-05f) return sign | static_cast<uint16_t>(std::ldexp(rounded, 24));
    std::frexp(rounded, &exponent);
    const auto fraction = static_cast<uint16_t>(std::ldexp(rounded, 11 - exponent)) & 1023u;
    return static_cast<uint16_t>(sign | (exponent + 14) << 10 | fraction);
}

}  // namespace host

inline float host_half_to_float(unsigned short value) { return host::half_bits_to_float(value); }
inline unsigned short host_float_to_half(float value) { return host::float_to_half_bits(value); }

inline void __syncthreads() { host::leave(host::State::block_barrier); }
inline void __syncwarp() { host::leave(host::State::warp_barrier); }

inline float __shfl_xor_sync(unsigned, float value, int mask) {
    host::Fiber& fiber = host::fibers[host::current];
    float* buffer = host::exchanged[fiber.exchanges++ % 2];
    const size_t me = host::current;
    buffer[me] = value;
    host::leave(host::State::warp_barrier);
    return buffer[me ^ static_cast<size_t>(mask)];
}

inline float atomicAdd(float* target, float value) {
    const float before = *target;
    *target = before + value;
    return before;
}
inline unsigned long long atomicAdd(unsigned long long* target, unsigned long long value) {
    const unsigned long long before = *target;
    *target = before + value;
    return before;
}
template <class Value>
inline Value __ldg(const Value* source) {
    return *source;
}
inline float __uint_as_float(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}
inline unsigned __float_as_uint(float value) {
    unsigned bits;
    std::memcpy(&bits, &value, 4);
    return bits;
}

// An entry point that takes the arguments as addresses, like the driver's launch call.
#define LAUNCHER(kernel)                                                                                              \
    namespace host {                                                                                                  \
    template <class... Arguments>                                                                                     \
    void call_##kernel(void (*function)(Arguments...), void** values) {                                               \
        call(function, values, std::index_sequence_for<Arguments...>());                                              \
    }                                                                                                                 \
    }                                                                                                                 \
    extern "C" __attribute__((visibility("default"))) const char* launch_##kernel(                                    \
        void** arguments, int64_t first_block, int64_t blocks, unsigned x, unsigned y, int64_t shared_bytes,          \
        int order, uint32_t seed) {                                                                                   \
        return host::run([](void** values) { host::call_##kernel(kernel, values); }, arguments, first_block, blocks,  \
                         x, y, shared_bytes, order, seed);                                                            \
    }
