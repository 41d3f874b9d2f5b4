// Inverses and bounds of their errors for n up to 8, a matrix in each lane: inverted, certified and written in one go.
//
// Floats are certified in floats (certificate_floats.hpp). The few whose bound misses the tolerance wait until they fill the
// lanes: then doubles bound them, and correct them where that is needed.
#pragma once

#include "certificate_floats.hpp"
#include "certificate_lanes.hpp"

namespace neuralinv::NEURALINV_TARGET {

// Matrices, with their inverses, that wait for doubles; `at` says where in the batch they are.
template <class T, int n>
struct Doubtful {
    static constexpr int entries = n * n;
    T a[lanes<T> * entries], x[lanes<T> * entries];
    std::int64_t at[lanes<T>];
    int count = 0;

    NEURALINV_INLINE void take(const T* A, const T* X, std::int64_t b) {
        __builtin_memcpy(a + count * entries, A + b * entries, entries * sizeof(T));
        __builtin_memcpy(x + count * entries, X + b * entries, entries * sizeof(T));
        at[count++] = b;
    }
};

// The bounds of those that wait, and their inverses, corrected where that is needed, to where they belong.
template <class T, int n>
__attribute__((noinline)) void settle(Doubtful<T, n>& waiting, T* X, double tolerance, double* bounds) {
    constexpr int entries = n * n;
    if (waiting.count == 0) return;
    for (int m = waiting.count; m < lanes<T>; ++m) {  // what is in the other lanes does no harm
        __builtin_memcpy(waiting.a + m * entries, waiting.a, entries * sizeof(T));
        __builtin_memcpy(waiting.x + m * entries, waiting.x, entries * sizeof(T));
    }
    Vector<T> a[entries], x[entries];
    load_unrolled<T, n, false>(waiting.a, entries, a);
    load_unrolled<T, n, false>(waiting.x, entries, x);
    double found[lanes<T>];
    const bool changed = certify_lanes<n>(a, x, n, tolerance, found);
    if (changed) store_unrolled<T, n>(x, waiting.x, entries);
    for (int m = 0; m < waiting.count; ++m) {
        const std::int64_t b = waiting.at[m];
        bounds[b] = found[m];
        if (changed) __builtin_memcpy(X + b * entries, waiting.x + m * entries, entries * sizeof(T));
    }
    waiting.count = 0;
}

// Bounds of all lanes. Returns whether they are final; else those that are not at most `tolerance` are none.
template <int n>
NEURALINV_INLINE bool first_bounds(const Vector<float>* a, Vector<float>* x, double tolerance, double* bounds) {
    // Rounded down.
    const Vector<float> limit = broadcast(float(tolerance * (1 - 0x1p-23))), bound = bound_in_floats<n>(a, x);
    store_whole(widen_half<0>(bound), bounds);
    store_whole(widen_half<1>(bound), bounds + lanes<double>);
    return !any<float>(~Mask<float>(bound <= limit));
}

template <int n>
NEURALINV_INLINE bool first_bounds(const Vector<double>* a, Vector<double>* x, double tolerance, double* bounds) {
    certify_lanes<n>(a, x, n, tolerance, bounds);
    return true;
}

// Invert and certify one full tile that lies row by row, from matrix b of A on. False: some matrix needs `invert_single`.
template <class T, int n>
__attribute__((noinline)) bool certified_tile(const MatrixBatch<T>& A, std::int64_t b, T* X, double tolerance, double* bounds,
                                              Doubtful<T, n>& waiting) {
    constexpr int entries = n * n;
    const T* source = A.data + b * entries;
    T* target = X + b * entries;
    Vector<T> a[entries], x[entries];
    if constexpr (interleaves<T, n>)
        load_interleaved<T, entries>(source, a);
    else
        load_unrolled<T, n, false>(source, entries, a);
    static_for<0, entries>([&](auto e) NEURALINV_LAMBDA { x[decltype(e)::value] = a[decltype(e)::value]; });
    if (__builtin_expect(!invert_lanes<T, n>(x, tile_ahead<n>(A, b, X)), 0)) return false;
    const bool final = first_bounds<n>(a, x, tolerance, bounds + b);
    if constexpr (interleaves<T, n>) {
        store_interleaved<T, entries>(x, target);
        order_by_matrix<T, entries>(bounds + b);
    } else {
        store_unrolled<T, n>(x, target, entries);
    }
    if (!final)
        for (std::int64_t c = b; c < b + lanes<T>; ++c)
            if (!(bounds[c] <= tolerance)) {
                waiting.take(A.data, X, c);
                if (waiting.count == lanes<T>) settle(waiting, X, tolerance, bounds);
            }
    return true;
}

// Invert and certify full tiles of [begin, end), until one is met whose matrices need `invert_single`. Returns where it
// stopped.
template <class T, int n>
inline std::int64_t certified_tiles(const MatrixBatch<T>& A, std::int64_t begin, std::int64_t end, T* X, Status* info,
                                    double tolerance, double* bounds) {
    Doubtful<T, n> waiting;
    std::int64_t b = begin;
    for (; b + lanes<T> <= end; b += lanes<T>) {
        if (!certified_tile<T, n>(A, b, X, tolerance, bounds, waiting)) break;
        if (info) __builtin_memset(info + b, 0, lanes<T> * sizeof(Status));
    }
    settle(waiting, X, tolerance, bounds);
    return b;
}

}  // namespace neuralinv::NEURALINV_TARGET
