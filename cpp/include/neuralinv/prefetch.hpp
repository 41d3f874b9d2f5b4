// Memory that will be needed soon, on its way into the cache while arithmetic goes on.
#pragma once

#include "batch.hpp"
#include "right_sides.hpp"
#include "simd.hpp"

namespace neuralinv::NEURALINV_TARGET {

// Two stretches of memory to bring into the cache, one after the other, a few lines at a time: elimination alone keeps the
// memory idle, and of more lines than the core can wait for at once most would be dropped.
struct Ahead {
    const char* at = nullptr;
    const char* end = nullptr;
    const char* then = nullptr;
    const char* then_end = nullptr;
    int lines = 0;  // to each call of fetch

    NEURALINV_INLINE void fetch() {
        for (int i = 0; i < lines; ++i) {
            __builtin_prefetch(at);
            at += 64;
            if (at >= end) at = then, end = then_end;
        }
    }
};

// The same for matrices so small that looking ahead would cost more than it saves.
struct NothingAhead {
    NEURALINV_INLINE void fetch() {}
};

// In bytes: while a core works on as many, memory answers.
inline constexpr std::int64_t least_ahead = 4096;

// Where fetching begins, the next group of `bytes` being at `next`: there, or farther ahead where groups are small.
NEURALINV_INLINE const char* group_ahead(const void* next, std::int64_t bytes) {
    return static_cast<const char*>(next) + (bytes < least_ahead ? least_ahead - bytes : 0);
}

// Of a batch of `bytes` that is likely to be in the cache already, nothing is fetched.
NEURALINV_INLINE bool in_cache(std::int64_t bytes) { return bytes <= std::int64_t(1) << 20; }

// For matrices b..b+group-1 that are only read: what the next group reads, in `calls` calls of fetch.
template <class T>
NEURALINV_INLINE Ahead look_ahead(const MatrixBatch<T>& A, std::int64_t b, int group, int calls) {
    const std::int64_t matrix = A.n * A.n * std::int64_t(sizeof(T)), bytes = matrix * group;
    if (in_cache(A.count * matrix)) return {};
    const char* const next = group_ahead(A.data + (b + group) * A.batch_stride, bytes);
    return {next, next + bytes, next, next + bytes, int(bytes / 64) / calls + 1};
}

// For their inverses X: where they go, and then the same.
template <class T>
NEURALINV_INLINE Ahead look_ahead(const MatrixBatch<T>& A, std::int64_t b, int group, const T* X, int calls) {
    const Ahead read = look_ahead(A, b, group, calls);
    if (read.lines == 0) return read;
    const std::int64_t bytes = read.end - read.at;
    const char* const target = group_ahead(X + b * A.n * A.n, bytes);
    return {target, target + bytes, read.at, read.end, int(2 * bytes / 64) / calls + 1};
}

// What the next group reads, and its right-hand sides, unless those are more than the matrices.
template <class T>
NEURALINV_INLINE Ahead look_ahead(const MatrixBatch<T>& A, const RightSides<T>& B, std::int64_t b, int group, int calls) {
    const std::int64_t sides = A.n * B.columns * std::int64_t(sizeof(T)) * group;
    Ahead ahead = look_ahead(A, b, group, calls);
    if (ahead.lines == 0 || B.columns > A.n) return ahead;
    ahead.then = group_ahead(B.data + (b + group) * B.batch_stride, sides);
    ahead.then_end = ahead.then + sides;
    ahead.lines += int(sides / 64) / calls;
    return ahead;
}

}  // namespace neuralinv::NEURALINV_TARGET
