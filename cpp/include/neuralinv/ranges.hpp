// Which kernel for which size: as measured by cpp/bench.
#pragma once

#include "certificate.hpp"
#include "columns_range.hpp"
#include "general.hpp"
#include "positive.hpp"
#include "tiles.hpp"

namespace neuralinv::NEURALINV_TARGET {

// Real matrices up to these sizes are eliminated one in each lane; larger ones one after another, in columns.
inline constexpr int largest_inverse_in_lanes = largest_unrolled;
inline constexpr int largest_solution_in_lanes = 8;
inline constexpr int largest_positive_in_lanes = 32;

template <class S>
inline constexpr bool is_real = Field<S>::parts == 1;

template <class S>
FirstFailure invert(const MatrixBatch<S>& A, std::int64_t begin, std::int64_t end, S* X, Status* info) {
    if constexpr (!is_real<S>) {
        return invert_general_range(A, begin, end, X, info);
    } else {
        if (A.n <= largest_inverse_in_lanes) return invert_range(A, begin, end, X, info);
        return invert_columns(A, Structure::general, begin, end, X, info);
    }
}

// Invert matrices [begin, end) of A, row by row without gaps, and bound the errors, while they are in the first-level cache.
template <class T>
FirstFailure certified_invert(const MatrixBatch<T>& A, std::int64_t begin, std::int64_t end, T* X, Status* info,
                              double tolerance, double* bounds) {
    const std::int64_t fits = 16384 / (A.n * A.n * std::int64_t(sizeof(T))) / lanes<T> * lanes<T>;
    const std::int64_t length = A.n > largest_unrolled && fits > lanes<T> ? fits : lanes<T>;
    FirstFailure first{-1, success};
    for (std::int64_t b = begin; b < end;) {
        switch (A.n) {
            case 2: b = certified_tiles<T, 2>(A, b, end, X, info, tolerance, bounds); break;
            case 3: b = certified_tiles<T, 3>(A, b, end, X, info, tolerance, bounds); break;
            case 4: b = certified_tiles<T, 4>(A, b, end, X, info, tolerance, bounds); break;
            case 5: b = certified_tiles<T, 5>(A, b, end, X, info, tolerance, bounds); break;
            case 6: b = certified_tiles<T, 6>(A, b, end, X, info, tolerance, bounds); break;
            case 7: b = certified_tiles<T, 7>(A, b, end, X, info, tolerance, bounds); break;
            case 8: b = certified_tiles<T, 8>(A, b, end, X, info, tolerance, bounds); break;
        }
        const std::int64_t next = b + length < end ? b + length : end;
        const FirstFailure failure = invert(A, b, next, X, info);
        if (first.index < 0) first = failure;
        certify(A.data, X, int(A.n), b, next, tolerance, bounds);
        b = next;
    }
    return first;
}

template <class S>
FirstFailure solve(const MatrixBatch<S>& A, const RightSides<S>& B, std::int64_t begin, std::int64_t end, S* X,
                   Status* info) {
    if constexpr (is_real<S>)
        if (A.n > largest_solution_in_lanes) return solve_columns(A, B, Structure::general, begin, end, X, info);
    return solve_range(A, B, begin, end, X, info);
}

template <class S>
void slogdet(const MatrixBatch<S>& A, std::int64_t begin, std::int64_t end, S* sign, RealOf<S>* logabsdet) {
    if constexpr (is_real<S>)
        if (A.n > largest_solution_in_lanes) {
            slogdet_columns(A, Structure::general, begin, end, sign, logabsdet, nullptr);
            return;
        }
    slogdet_range(A, begin, end, sign, logabsdet);
}

template <class T>
FirstFailure invert_positive(const MatrixBatch<T>& A, std::int64_t begin, std::int64_t end, T* X, Status* info) {
    if (A.n > largest_positive_in_lanes) return invert_columns(A, Structure::positive, begin, end, X, info);
    return invert_positive_range(A, begin, end, X, info);
}

template <class T>
FirstFailure solve_positive(const MatrixBatch<T>& A, const RightSides<T>& B, std::int64_t begin, std::int64_t end, T* X,
                            Status* info) {
    if (A.n > largest_positive_in_lanes) return solve_columns(A, B, Structure::positive, begin, end, X, info);
    return solve_positive_range(A, B, begin, end, X, info);
}

template <class T>
FirstFailure slogdet_positive(const MatrixBatch<T>& A, std::int64_t begin, std::int64_t end, T* sign, T* logabsdet,
                              Status* info) {
    if (A.n > largest_positive_in_lanes)
        return slogdet_columns(A, Structure::positive, begin, end, sign, logabsdet, info);
    return slogdet_positive_range(A, begin, end, sign, logabsdet, info);
}

}  // namespace neuralinv::NEURALINV_TARGET
