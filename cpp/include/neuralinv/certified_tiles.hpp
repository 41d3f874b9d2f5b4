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

// A number for each lane, in the order of the matrices.
template <class T, int entries, int... b>
NEURALINV_INLINE Vector<T> in_order(Vector<T> x, std::integer_sequence<int, b...>) {
    return __builtin_shufflevector(x, x, lane_of<T, entries>(b)...);
}

// A bit for each lane where it holds.
NEURALINV_INLINE unsigned bits(Condition<float> c) {
#if NEURALINV_VECTOR_BYTES == 64
    return c;
#elif NEURALINV_VECTOR_BYTES == 32
    return unsigned(_mm256_movemask_ps(__m256(c)));
#elif defined(__x86_64__)
    return unsigned(_mm_movemask_ps(__m128(c)));
#else
    unsigned found = 0;
    for (int lane = 0; lane < lanes<float>; ++lane) found |= unsigned(c[lane] & 1) << lane;
    return found;
#endif
}

// Bounds of all lanes, in the order of the matrices. Returns a bit for each of those that need doubles; their bounds are none.
template <int n>
NEURALINV_INLINE unsigned first_bounds(const Vector<float>* a, Vector<float>* x, double tolerance, double* bounds) {
    Vector<float> bound = bound_in_floats<n>(a, x);
    if constexpr (interleaves<float, n>) bound = in_order<float, n * n>(bound, std::make_integer_sequence<int, lanes<float>>{});
    store_vector(widen_half<0>(bound), bounds);
    store_vector(widen_half<1>(bound), bounds + lanes<double>);
    constexpr unsigned all_lanes = (1u << lanes<float>) - 1;
    const double below_one = tolerance < 1 ? tolerance : 1;  // from where on a residual proves nothing
    return all_lanes & ~bits(greater(broadcast(float(below_one * (1 - 0x1p-23))), bound));  // rounded down
}

template <int n>
NEURALINV_INLINE unsigned first_bounds(const Vector<double>* a, Vector<double>* x, double tolerance, double* bounds) {
    certify_lanes<n>(a, x, n, tolerance, bounds);
    if constexpr (interleaves<double, n>) order_by_matrix<double, n * n>(bounds);
    return 0;
}

// Tiles at a time: alone, the smallest matrices would wait for their divisions.
template <int n>
inline constexpr int tiles_together = n == 2 ? 2 : 1;

// Invert and certify full tiles that lie row by row, from matrix b of A on. False: some matrix needs `invert_single`.
// doubtful: (tiles_together), bits of `first_bounds`.
template <class T, int n>
NEURALINV_INLINE bool certify_new_tiles(const MatrixBatch<T>& A, std::int64_t b, T* X, double tolerance, double* bounds,
                                        unsigned* doubtful) {
    constexpr int entries = n * n, tiles = tiles_together<n>;
    const T* source = A.data + b * entries;
    T* target = X + b * entries;
    Vector<T> a[tiles][entries], x[tiles][entries];
    bool done = true;
    static_for<0, tiles>([&](auto t_) NEURALINV_LAMBDA {
        constexpr int t = decltype(t_)::value, at = t * lanes<T> * entries;
        if constexpr (interleaves<T, n>)
            load_interleaved<T, entries>(source + at, a[t]);
        else
            load_unrolled<T, n, false>(source + at, entries, a[t]);
        static_for<0, entries>([&](auto e) NEURALINV_LAMBDA { x[t][decltype(e)::value] = a[t][decltype(e)::value]; });
        done = invert_lanes<T, n>(x[t], tile_ahead<n>(A, b + t * lanes<T>, X)) && done;
    });
    if (__builtin_expect(!done, 0)) return false;
    static_for<0, tiles>([&](auto t_) NEURALINV_LAMBDA {
        constexpr int t = decltype(t_)::value, at = t * lanes<T> * entries;
        doubtful[t] = first_bounds<n>(a[t], x[t], tolerance, bounds + b + t * lanes<T>);
        if constexpr (interleaves<T, n>)
            store_interleaved<T, entries>(x[t], target + at);
        else
            store_unrolled<T, n>(x[t], target + at, entries);
    });
    return true;
}

// Invert and certify full tiles of [begin, end), until one is met whose matrices need `invert_single`. Returns where it
// stopped.
template <class T, int n>
__attribute__((noinline)) std::int64_t certified_tiles(const MatrixBatch<T>& A, std::int64_t begin, std::int64_t end, T* X,
                                                       Status* info, double tolerance, double* bounds) {
    constexpr int together = lanes<T> * tiles_together<n>;
    // Doubtful inverses are looked at a little later, when they have reached the cache.
    constexpr int later = 16384 / (lanes<T> * n * n * int(sizeof(T))) / tiles_together<n> * tiles_together<n>;
    Doubtful<T, n> waiting;
    unsigned doubtful[later];
    std::int64_t b = begin;
    for (bool more = true; more;) {
        const std::int64_t from = b;
        int tiles = 0;
        for (; tiles < later; tiles += tiles_together<n>, b += together) {
            more = b + together <= end && certify_new_tiles<T, n>(A, b, X, tolerance, bounds, doubtful + tiles);
            if (!more) break;
        }
        if (info) __builtin_memset(info + from, 0, std::size_t(b - from) * sizeof(Status));
        for (int t = 0; t < tiles; ++t)
            for (unsigned left = doubtful[t]; left; left &= left - 1) {
                waiting.take(A.data, X, from + t * lanes<T> + __builtin_ctz(left));
                if (waiting.count == lanes<T>) settle(waiting, X, tolerance, bounds);
            }
    }
    settle(waiting, X, tolerance, bounds);
    return b;
}

}  // namespace neuralinv::NEURALINV_TARGET
