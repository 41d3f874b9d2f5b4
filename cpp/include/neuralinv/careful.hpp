// Elimination for matrices that the fast kernels give back: one at a time, with divisions where they multiply by
// reciprocals that over- or underflow, and without fused multiply-adds, so that a pivot is zero where LAPACK finds it zero.
#pragma once

#include "batch.hpp"
#include "right_sides.hpp"
#include "status.hpp"

namespace neuralinv {

enum class Structure {
    general,   // partial pivoting
    positive,  // symmetric positive definite: the lower triangle alone is read, nothing is swapped
};

// Matrix b of the batch. X: (n, n), or (n, B.columns); NaN unless the status is success, which it is not where a pivot is
// zero, or, of positive matrices, not positive. O(n³) operations, memory from the heap.
template <class T>
Status invert_carefully(const MatrixBatch<T>& A, std::int64_t b, Structure structure, T* X);

template <class T>
Status solve_carefully(const MatrixBatch<T>& A, const RightSides<T>& B, std::int64_t b, Structure structure, T* X);

template <class T>
Status slogdet_carefully(const MatrixBatch<T>& A, std::int64_t b, Structure structure, T* sign, T* logabsdet);

// Sign and logarithm of the product of the pivots. odd: the number of swaps is odd. A zero pivot gives 0 and −inf.
template <class T>
void slogdet_of_pivots(const T* pivots, int n, bool odd, T* sign, T* logabsdet);

}  // namespace neuralinv
