// The inverse of one matrix, entry by entry: what decides whether a matrix is singular.
//
// Steps, pivots and roundings are those of unrolled.hpp, and what rows k.. see are those of LAPACK's getf2, so that a
// pivot is zero exactly where it is zero there. Where 1/p is not a normal number, this one divides by p instead.
#pragma once

#include "batch.hpp"
#include "simd.hpp"
#include "status.hpp"

namespace neuralinv::NEURALINV_TARGET {

NEURALINV_INLINE float rounded_scalar(float product) { return rounded(Vector<float>{} + product)[0]; }
NEURALINV_INLINE double rounded_scalar(double product) { return rounded(Vector<double>{} + product)[0]; }

// A: (n, n) with any strides; X: (n, n) row by row, NaN where the matrix is singular.
template <class T, int n>
__attribute__((noinline)) Status invert_single(const T* A, std::int64_t row_stride, std::int64_t column_stride, T* X) {
    T a[n][n];
    int original[n];  // which row of A stands in row k
    for (int i = 0; i < n; ++i) {
        original[i] = i;
        for (int j = 0; j < n; ++j) a[i][j] = A[i * row_stride + j * column_stride];
    }
    for (int k = 0; k < n; ++k) {
        int row = k;
        T best = a[k][k] < 0 ? -a[k][k] : a[k][k];
        for (int i = k + 1; i < n; ++i) {
            const T size = a[i][k] < 0 ? -a[i][k] : a[i][k];
            row = size > best ? i : row;
            best = size > best ? size : best;
        }
        for (int j = 0; j < n; ++j) {
            const T kept = a[k][j];
            a[k][j] = a[row][j];
            a[row][j] = kept;
        }
        const int kept = original[k];
        original[k] = original[row];
        original[row] = kept;

        const T p = a[k][k];
        if (p == 0) {
            for (int e = 0; e < n * n; ++e) X[e] = T(__builtin_nanf(""));
            return k + 1;
        }
        const T r = T(1) / p, size = r < 0 ? -r : r;
        const bool multiply = size > Traits<T>::smallest_normal && size < T(1) / Traits<T>::smallest_normal;
        for (int i = 0; i < n; ++i) {
            if (i == k) continue;
            const T l = multiply ? rounded_scalar(a[i][k] * r) : a[i][k] / p;
            for (int j = 0; j < k; ++j) a[i][j] = a[i][j] - l * a[k][j];
            if (i < k)
                for (int j = k + 1; j < n; ++j) a[i][j] = a[i][j] - l * a[k][j];
            else
                for (int j = k + 1; j < n; ++j) a[i][j] = a[i][j] - rounded_scalar(l * a[k][j]);
            a[i][k] = -l;
        }
        for (int j = 0; j < n; ++j) a[k][j] = multiply ? rounded_scalar(a[k][j] * r) : a[k][j] / p;
        a[k][k] = r;
    }
    for (int i = 0; i < n; ++i)
        for (int j = 0; j < n; ++j) X[i * n + original[j]] = a[i][j];
    return success;
}

}  // namespace neuralinv::NEURALINV_TARGET
