// Inverses and bounds of their errors for n up to 8, a matrix in each lane: inverted, certified and written in one go.
//
// The smallest are inverted by cofactors (certificate_closed.hpp), other floats certified in floats (certificate_floats.hpp). The few
// whose bound misses the tolerance are looked at in doubles (certificate_rows.hpp), and corrected where that is needed.
#pragma once

#include "certificate_closed.hpp"
#include "certificate_floats.hpp"
#include "certificate_lanes.hpp"
#include "certificate_rows.hpp"

namespace neuralinv::NEURALINV_TARGET {

// A number for each lane, in the order of the matrices.
template <class T, int entries, int... b>
NEURALINV_INLINE Vector<T> in_order(Vector<T> x, std::integer_sequence<int, b...>) {
    return __builtin_shufflevector(x, x, lane_of<T, entries>(b)...);
}

// A bit for each lane where it holds.
template <class T>
NEURALINV_INLINE unsigned bits(Condition<T> c) {
#if NEURALINV_VECTOR_BYTES == 64
    return c;
#elif NEURALINV_VECTOR_BYTES == 32
    return sizeof(T) == 4 ? unsigned(_mm256_movemask_ps(__m256(c))) : unsigned(_mm256_movemask_pd(__m256d(c)));
#elif defined(__x86_64__)
    return sizeof(T) == 4 ? unsigned(_mm_movemask_ps(__m128(c))) : unsigned(_mm_movemask_pd(__m128d(c)));
#else
    unsigned found = 0;
    for (int lane = 0; lane < lanes<T>; ++lane) found |= unsigned(c[lane] & 1) << lane;
    return found;
#endif
}

// From where on a bound misses the tolerance, or a residual proves nothing.
NEURALINV_INLINE double least_missed(double tolerance) { return tolerance < 1 ? tolerance : 1; }

// Sizes whose inverses are closed forms.
template <class T, int n>
inline constexpr bool inverts_closed = sizeof(T) == 4 ? n <= 5 : n == 2 && fuses;

// Replace x: (n, n), what it was made of in a, by the inverses, and bound their errors, in the order of the matrices. False: some
// matrix needs `invert_single`. doubtful: a bit for each of those that need more; their bounds are none. Of doubles, whether
// there is any that misses the tolerance.
template <int n>
NEURALINV_INLINE bool invert_and_bound(const Vector<float>* a, Vector<float>* x, TileAhead<float, n> ahead, double tolerance,
                                       double* bounds, unsigned& doubtful) {
    constexpr unsigned all_lanes = (1u << lanes<float>) - 1;
    constexpr int half = lanes<double>;
    if constexpr (inverts_closed<float, n>) {
        Vector<double> found[2];
        if (!invert_closed<n>(a, x, found, ahead)) return false;
        if constexpr (interleaves<float, n> && n > 2) {  // of 2×2 matrices all bounds are the same
            const auto order = std::make_integer_sequence<int, half>{};
            const Vector<double> low = found[0], high = found[1];
            found[0] = by_matrix<float, n * n, 0>(low, high, order);
            found[1] = by_matrix<float, n * n, half>(low, high, order);
        }
        store_vector(found[0], bounds);
        store_vector(found[1], bounds + half);
        const Vector<double> least = broadcast(least_missed(tolerance));
        doubtful = all_lanes & ~(bits<double>(greater(least, found[0])) | bits<double>(greater(least, found[1])) << half);
        return true;
    } else {
        if (!invert_lanes<float, n>(x, ahead)) return false;
        Vector<float> bound = bound_in_floats<n>(a, x);
        if constexpr (interleaves<float, n>) bound = in_order<float, n * n>(bound, std::make_integer_sequence<int, lanes<float>>{});
        store_vector(widen_half<0>(bound), bounds);
        store_vector(widen_half<1>(bound), bounds + half);
        const float least = float(least_missed(tolerance) * (1 - 0x1p-23));  // rounded down
        doubtful = all_lanes & ~bits<float>(greater(broadcast(least), bound));
        return true;
    }
}

template <int n>
NEURALINV_INLINE bool invert_and_bound(const Vector<double>* a, Vector<double>* x, TileAhead<double, n> ahead, double tolerance,
                                       double* bounds, unsigned& doubtful) {
    if constexpr (inverts_closed<double, n>) {
        double bound;
        if (!invert_closed(a, x, bound, ahead)) return false;
        store_vector(broadcast(bound), bounds);
    } else {
        if (!invert_lanes<double, n>(x, ahead)) return false;
        certify_lanes<double, n>(a, x, bounds);
        if constexpr (interleaves<double, n>) order_by_matrix<double, n * n>(bounds);
    }
    doubtful = any<double>(~Mask<double>(load_vector(bounds) <= broadcast(tolerance)));
    return true;
}

// Tiles at a time: alone, the smallest matrices would wait for their divisions.
template <int n>
inline constexpr int tiles_together = n == 2 ? 2 : 1;

// Invert and certify full tiles that lie row by row, from matrix b of A on. False: some matrix needs `invert_single`.
// doubtful: (tiles_together), as for `invert_and_bound`.
template <class T, int n>
NEURALINV_INLINE bool certify_new_tiles(const MatrixBatch<T>& A, std::int64_t b, T* X, double tolerance, double* bounds,
                                        unsigned* doubtful) {
    constexpr int entries = n * n, tiles = tiles_together<n>;
    const T* source = A.data + b * entries;
    T* target = X + b * entries;
    Vector<T> a[tiles][entries], x[tiles][entries];
    bool done = true;
    static_for<0, tiles>([&](auto t_) NEURALINV_LAMBDA {
        constexpr int t = decltype(t_)::value, first = t * lanes<T>;
        if constexpr (interleaves<T, n>)
            load_interleaved<T, entries>(source + first * entries, a[t]);
        else
            load_unrolled<T, n, false>(source + first * entries, entries, a[t]);
        if constexpr (!inverts_closed<T, n>)
            static_for<0, entries>([&](auto e) NEURALINV_LAMBDA { x[t][decltype(e)::value] = a[t][decltype(e)::value]; });
        done = invert_and_bound<n>(a[t], x[t], tile_ahead<n>(A, b + first, X), tolerance, bounds + b + first, doubtful[t]) && done;
    });
    if (__builtin_expect(!done, 0)) return false;
    static_for<0, tiles>([&](auto t_) NEURALINV_LAMBDA {
        constexpr int t = decltype(t_)::value, at = t * lanes<T> * entries;
        if constexpr (interleaves<T, n>)
            store_interleaved<T, entries>(x[t], target + at);
        else
            store_unrolled<T, n>(x[t], target + at, entries);
    });
    return true;
}

// Invert and certify full tiles of [begin, end), until one is met whose matrices need `invert_single`. Returns where it
// stopped. missed: set where a bound is above the tolerance.
template <class T, int n>
__attribute__((noinline)) std::int64_t certified_tiles(const MatrixBatch<T>& A, std::int64_t begin, std::int64_t end, T* X,
                                                       Status* info, double tolerance, double* bounds, bool& missed) {
    constexpr int step = lanes<T> * tiles_together<n>, entries = n * n;
    // Doubtful inverses are looked at a little later, when they have reached the cache.
    constexpr int later = 16384 / (lanes<T> * entries * int(sizeof(T))) / tiles_together<n> * tiles_together<n>;
    constexpr int known = n >= smallest_fixed ? n : 0;
    alignas(64) double memory[certificate_room<known>(n)];
    Waiting<known, T> waiting{A.data, X, n, tolerance, bounds, memory, {}};
    unsigned doubtful[later];
    std::int64_t b = begin;
    for (bool more = true; more;) {
        const std::int64_t from = b;
        int tiles = 0;
        for (; tiles < later; tiles += tiles_together<n>, b += step) {
            more = b + step <= end && certify_new_tiles<T, n>(A, b, X, tolerance, bounds, doubtful + tiles);
            if (!more) break;
        }
        if (info) __builtin_memset(info + from, 0, std::size_t(b - from) * sizeof(Status));
        for (int t = 0; t < tiles; ++t)
            if constexpr (sizeof(T) == 8)  // which nothing here corrects
                missed = missed || doubtful[t];
            else
                for (unsigned left = doubtful[t]; left; left &= left - 1) waiting.add(from + t * lanes<T> + __builtin_ctz(left));
    }
    waiting.settle();
    if (!waiting.met) missed = true;
    return b;
}

// The same of the last `count` matrices, from b of A on, which do not fill the lanes, where a closed form needs no elimination
// anyway: of the same matrix comes the same inverse wherever it stands. False: nothing was done.
template <class T, int n>
__attribute__((noinline)) bool certified_tail(const MatrixBatch<T>& A, std::int64_t b, std::int64_t count, T* X, Status* info,
                                              double tolerance, double* bounds, bool& missed) {
    constexpr int step = lanes<T> * tiles_together<n>, entries = n * n;
    if (count >= step) return false;
    T in[step * entries], out[step * entries];
    double found[step];
    for (int m = 0; m < step; ++m)  // the last stands in for those after
        __builtin_memcpy(in + m * entries, A.data + (b + (m < count ? m : count - 1)) * entries, entries * sizeof(T));
    if (certified_tiles<T, n>({in, step, n, entries, n, 1}, 0, step, out, nullptr, tolerance, found, missed) < step) return false;
    __builtin_memcpy(X + b * entries, out, std::size_t(count) * entries * sizeof(T));
    __builtin_memcpy(bounds + b, found, std::size_t(count) * sizeof(double));
    if (info) __builtin_memset(info + b, 0, std::size_t(count) * sizeof(Status));
    return true;
}

}  // namespace neuralinv::NEURALINV_TARGET
