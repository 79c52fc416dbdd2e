// Tasks 0..count-1 shared out to the caller's OpenMP threads where it has named them, else to threads that live for one
// call.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

// GOMP_parallel of the OpenMP runtime that the calling program uses already. Its threads wait for work in a busy loop: new
// ones beside them would have to share their cores.
typedef void (*Parallel)(void (*function)(void*), void* data, unsigned threads, unsigned flags);
inline Parallel openmp_parallel = nullptr;

// Work is a callable that takes a callable `next` and does every task that it returns, until that is negative.
// Tasks begin..end-1 are done. Returns 0, or 1 when memory ran out (the caller then uses its portable version).
template <class Work>
static int run_tasks(int64_t begin, int64_t end, int64_t threads, Work work) {
    std::atomic<int64_t> counter(begin);
    std::atomic<int> status(0);
    auto body = [&] {
        try {
            work([&]() -> int64_t {
                const int64_t task = counter.fetch_add(1, std::memory_order_relaxed);
                return task < end ? task : -1;
            });
        } catch (const std::bad_alloc&) {
            status = 1;
        }
    };
    const int64_t wanted = threads < end - begin ? threads : end - begin;
    if (openmp_parallel && wanted > 1) {
        openmp_parallel([](void* data) { (*static_cast<decltype(body)*>(data))(); }, &body, wanted, 0);
        return status;
    }
    std::vector<std::thread> others;
    try {
        for (int64_t i = 1; i < wanted; ++i) others.emplace_back(body);
    } catch (const std::bad_alloc&) {
    } catch (const std::system_error&) {
        // Fewer threads than wanted still do all of the work.
    }
    body();
    for (std::thread& other : others) other.join();
    return status;
}

// Floats on a cache-line boundary.
class Buffer {
public:
    explicit Buffer(int64_t count) : data_(static_cast<float*>(std::aligned_alloc(64, (count * 4 + 63) / 64 * 64))) {
        if (!data_) throw std::bad_alloc();
    }
    ~Buffer() { std::free(data_); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    float* get() const { return data_; }

private:
    float* data_;
};
