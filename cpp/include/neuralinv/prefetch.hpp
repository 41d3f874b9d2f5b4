// Memory that will be needed soon, on its way into the cache while arithmetic goes on.
#pragma once

#include "batch.hpp"
#include "simd.hpp"

namespace neuralinv::NEURALINV_TARGET {

// Two stretches of memory to bring into the cache, one after the other, a few lines at a time: elimination alone keeps the
// memory idle, and more lines than the core can wait for at once would hold up the elimination.
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

// For inverses X of matrices b..b+group-1: where they go, and then what the next group reads, in `calls` calls of fetch.
// Nothing, if the whole batch is likely to be in the cache already.
template <class T>
NEURALINV_INLINE Ahead look_ahead(const MatrixBatch<T>& A, std::int64_t b, int group, const T* X, int calls) {
    constexpr std::int64_t cache = std::int64_t(1) << 20;
    const std::int64_t matrix = A.n * A.n * std::int64_t(sizeof(T)), bytes = matrix * group;
    if (A.count * matrix <= cache) return {};
    const char* target = reinterpret_cast<const char*>(X) + b * matrix;
    const char* next = reinterpret_cast<const char*>(A.data + (b + group) * A.batch_stride);
    return {target, target + bytes, next, next + bytes, int(2 * bytes / 64) / calls + 1};
}

}  // namespace neuralinv::NEURALINV_TARGET
