// Which kernel for which size: as measured by cpp/bench.
#pragma once

#include "columns_range.hpp"
#include "general.hpp"
#include "implicit_range.hpp"
#include "positive.hpp"
#include "symmetric_solution.hpp"
#include "tiles.hpp"

namespace neuralinv::NEURALINV_TARGET {

// Real matrices up to these sizes are eliminated one in each lane; larger ones one after another, in columns, but for inverses
// a little larger: implicit_range.hpp. Positive definite ones, for which nothing is swapped, stay in lanes up to
// largest_positive_tile.
inline constexpr int largest_inverse_in_lanes = largest_unrolled;
inline constexpr int largest_solution_in_lanes = NEURALINV_VECTOR_BYTES == 64 ? 16 : 12;
inline constexpr int largest_determinant_in_lanes = 16;
// Positive definite systems with at most one right-hand side to so many rows are solved from L D Lᵀ: with more of them, columns
// that take right-hand sides along are faster.
inline constexpr int smallest_symmetric_solution = 32, sides_worth_of_rows = 16;

// Beyond n = 8 a few matrices would wait for the lanes left empty.
template <class T>
NEURALINV_INLINE bool fills_lanes(std::int64_t n, std::int64_t count) {
    return n <= 8 || count > lanes<T> / 2;
}

template <class S>
inline constexpr bool is_real = Field<S>::parts == 1;

template <class S>
FirstFailure invert(const MatrixBatch<S>& A, std::int64_t begin, std::int64_t end, S* X, Status* info) {
    if constexpr (!is_real<S>) {
        return invert_general_range(A, begin, end, X, info);
    } else {
        if (A.n <= largest_inverse_in_lanes) return invert_range(A, begin, end, X, info);
        if (A.n <= largest_by_lanes<S>) return invert_by_lanes(A, begin, end, X, info);
        return invert_columns(A, begin, end, X, info);
    }
}

template <class S>
FirstFailure solve(const MatrixBatch<S>& A, const RightSides<S>& B, std::int64_t begin, std::int64_t end, S* X,
                   Status* info) {
    if constexpr (is_real<S>)
        if (A.n > largest_solution_in_lanes || !fills_lanes<S>(A.n, end - begin))
            return solve_columns(A, B, Structure::general, begin, end, X, info);
    return solve_range(A, B, begin, end, X, info);
}

template <class S>
void slogdet(const MatrixBatch<S>& A, std::int64_t begin, std::int64_t end, S* sign, RealOf<S>* logabsdet) {
    if constexpr (is_real<S>)
        if (A.n > largest_determinant_in_lanes || !fills_lanes<S>(A.n, end - begin)) {
            slogdet_columns(A, Structure::general, begin, end, sign, logabsdet, nullptr);
            return;
        }
    slogdet_range(A, begin, end, sign, logabsdet);
}

template <class T>
FirstFailure invert_positive(const MatrixBatch<T>& A, std::int64_t begin, std::int64_t end, T* X, Status* info) {
    if (A.n > largest_positive_tile || !fills_lanes<T>(A.n, end - begin))
        return invert_symmetric(A, begin, end, X, info);
    return invert_positive_range(A, begin, end, X, info);
}

template <class T>
FirstFailure solve_positive(const MatrixBatch<T>& A, const RightSides<T>& B, std::int64_t begin, std::int64_t end, T* X,
                            Status* info) {
    if (A.n > largest_positive_tile || !fills_lanes<T>(A.n, end - begin)) {
        if (A.n >= smallest_symmetric_solution && sides_worth_of_rows * B.columns <= A.n) return solve_symmetric(A, B, begin, end, X, info);
        return solve_columns(A, B, Structure::positive, begin, end, X, info);
    }
    return solve_positive_range(A, B, begin, end, X, info);
}

template <class T>
FirstFailure slogdet_positive(const MatrixBatch<T>& A, std::int64_t begin, std::int64_t end, T* sign, T* logabsdet,
                              Status* info) {
    if (A.n > largest_positive_tile || !fills_lanes<T>(A.n, end - begin))
        return slogdet_symmetric(A, begin, end, sign, logabsdet, info);
    return slogdet_positive_range(A, begin, end, sign, logabsdet, info);
}

}  // namespace neuralinv::NEURALINV_TARGET
