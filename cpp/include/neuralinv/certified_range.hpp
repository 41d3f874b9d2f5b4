// Inverses and bounds of their errors in one go.
#pragma once

#include "certificate.hpp"
#include "certificate_doubled.hpp"
#include "loops.hpp"
#include "ranges.hpp"

namespace neuralinv::NEURALINV_TARGET {

// Inverses whose bound misses the tolerance, once more in double precision and its double. A lies row by row without gaps.
template <class T>
__attribute__((noinline, cold)) void certify_again(const T* A, T* X, int n, double* bound) {
    constexpr int widest = largest_certified;
    alignas(64) double memory[5 * widest * widest];
    const int pitch = (n + lanes<double> - 1) / lanes<double> * lanes<double>, entries = n * n;
    double *wide = memory, *inverse = wide + widest * widest, *padded = inverse + widest * widest;
    for (int e = 0; e < entries; ++e) wide[e] = double(A[e]);
    const MatrixBatch<double> matrix{wide, 1, n, entries, n, 1};
    if (sizeof(T) == 4) {
        if (invert(matrix, 0, 1, inverse, nullptr).status != success) return;
    } else {
        for (int e = 0; e < entries; ++e) inverse[e] = double(X[e]);
    }
    for (int i = 0; i < n; ++i)
        for (int j = 0; j < pitch; ++j) padded[i * pitch + j] = j < n ? inverse[i * n + j] : 0;
    // `target` apart from X: an answer with a larger bound than the one there is is no better.
    T target[widest * widest];
    const double found = certify_doubled(wide, padded, n, pitch, target, padded + n * pitch);
    if (!(found < *bound)) return;
    *bound = found;
    for (int e = 0; e < entries; ++e) X[e] = target[e];
}

// certify_again for those of [begin, end) that need it. Returns whether all bounds are at most the tolerance then.
template <class T>
NEURALINV_INLINE bool improve_bounds(const T* A, T* X, int n, std::int64_t begin, std::int64_t end, double tolerance, double* bounds) {
    const std::int64_t entries = std::int64_t(n) * n;
    bool met = true;
    for (std::int64_t b = begin; b < end; b += lanes<double>) {
        Vector<double> next;
        if (b + lanes<double> <= end) {
            __builtin_memcpy(&next, bounds + b, sizeof(next));
            if (__builtin_expect(!any<double>(~Mask<double>(next <= broadcast(tolerance))), 1)) continue;
        }
        for (std::int64_t c = b; c < end && c < b + lanes<double>; ++c)
            if (!(bounds[c] <= tolerance)) {
                certify_again(A + c * entries, X + c * entries, n, bounds + c);
                met = met && bounds[c] <= tolerance;
            }
    }
    return met;
}

// Invert matrices [begin, end) of A, row by row without gaps, and bound the errors, while they are in the first-level cache.
// missed: set where a bound is above the tolerance, by any of several threads.
template <class T>
FirstFailure certified_invert(const MatrixBatch<T>& A, std::int64_t begin, std::int64_t end, T* X, Status* info,
                              double tolerance, double* bounds, bool* missed) {
    const std::int64_t fits = 65536 / (A.n * A.n * std::int64_t(sizeof(T))) / lanes<T> * lanes<T>;
    const std::int64_t length = A.n > largest_unrolled && fits > lanes<T> ? fits : lanes<T>;
    FirstFailure first{-1, success};
    for (std::int64_t b = begin; b < end;) {
        const std::int64_t start = b;
        bool again = false;  // whether a bound misses the tolerance
        with_size<largest_unrolled, 2>(A.n, [&](auto size) NEURALINV_LAMBDA {
            if constexpr (constexpr int n = fixed_or<0, decltype(size)>; n > 0) {
                b = certified_tiles<T, n>(A, b, end, X, info, tolerance, bounds, again);
                if constexpr (inverts_closed<T, n>)
                    if (b < end && certified_tail<T, n>(A, b, end - b, X, info, tolerance, bounds, again)) b = end;
            }
        });
        const std::int64_t next = b + length < end ? b + length : end;
        const FirstFailure failure = invert(A, b, next, X, info);
        if (first.index < 0) first = failure;
        again = !certify(A.data, X, int(A.n), b, next, tolerance, bounds) || again;
        if (again && !improve_bounds(A.data, X, int(A.n), start, next, tolerance, bounds)) __atomic_store_n(missed, true, __ATOMIC_RELAXED);
        b = next;
    }
    return first;
}

}  // namespace neuralinv::NEURALINV_TARGET
