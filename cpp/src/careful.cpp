#include "neuralinv/careful.hpp"

#include <cmath>
#include <limits>
#include <utility>
#include <vector>

namespace neuralinv {
namespace {

// L and U of one matrix in place of it, as LAPACK's getf2 makes them, or, without swaps, of a positive definite one.
template <class T>
struct Factor {
    int n;
    std::vector<T> a;      // (n, n), row by row
    std::vector<int> rows;  // (n): which row of the matrix stands where
    bool odd = false;       // the number of swaps
    Status status = success;

    T& at(int i, int j) { return a[std::size_t(i) * std::size_t(n) + std::size_t(j)]; }

    Factor(const MatrixBatch<T>& A, std::int64_t b, Structure structure)
        : n(int(A.n)), a(std::size_t(A.n * A.n)), rows(std::size_t(A.n)) {
        const T* source = A.data + b * A.batch_stride;
        const bool general = structure == Structure::general;
        for (int i = 0; i < n; ++i) {
            rows[std::size_t(i)] = i;
            for (int j = 0; j < n; ++j)
                at(i, j) = general || j <= i ? source[i * A.row_stride + j * A.column_stride]
                                             : source[j * A.row_stride + i * A.column_stride];
        }
        for (int k = 0; k < n; ++k) {
            if (general) bring_largest(k);
            const T pivot = at(k, k);
            if (status == success && (general ? pivot == T(0) : !(pivot > T(0)))) status = k + 1;
            for (int i = k + 1; i < n; ++i) {
                const T l = at(i, k) / pivot;
                at(i, k) = l;
                for (int j = k + 1; j < n; ++j) at(i, j) -= l * at(k, j);
            }
        }
    }

    void bring_largest(int k) {
        int best = k;
        for (int i = k + 1; i < n; ++i)
            if (std::fabs(at(i, k)) > std::fabs(at(best, k))) best = i;
        if (best == k) return;
        odd = !odd;
        std::swap(rows[std::size_t(k)], rows[std::size_t(best)]);
        for (int j = 0; j < n; ++j) std::swap(at(k, j), at(best, j));
    }

    // x: (n, columns), row by row; holds the right-hand sides in the order of `rows`.
    void solve(T* x, std::int64_t columns) {
        for (int k = 0; k < n; ++k)
            for (int i = k + 1; i < n; ++i)
                for (std::int64_t c = 0; c < columns; ++c) x[i * columns + c] -= at(i, k) * x[k * columns + c];
        for (int k = n - 1; k >= 0; --k) {
            for (std::int64_t c = 0; c < columns; ++c) x[k * columns + c] /= at(k, k);
            for (int i = 0; i < k; ++i)
                for (std::int64_t c = 0; c < columns; ++c) x[i * columns + c] -= at(i, k) * x[k * columns + c];
        }
    }
};

template <class T>
Status fail(Status status, T* X, std::int64_t entries) {
    for (std::int64_t e = 0; e < entries; ++e) X[e] = std::numeric_limits<T>::quiet_NaN();
    return status;
}

}  // namespace

template <class T>
Status invert_carefully(const MatrixBatch<T>& A, std::int64_t b, Structure structure, T* X) {
    Factor<T> factor(A, b, structure);
    if (factor.status != success) return fail(factor.status, X, A.n * A.n);
    for (int i = 0; i < factor.n; ++i)
        for (int j = 0; j < factor.n; ++j) X[i * factor.n + j] = T(factor.rows[std::size_t(i)] == j);
    factor.solve(X, A.n);
    return success;
}

template <class T>
Status solve_carefully(const MatrixBatch<T>& A, const RightSides<T>& B, std::int64_t b, Structure structure, T* X) {
    Factor<T> factor(A, b, structure);
    if (factor.status != success) return fail(factor.status, X, A.n * B.columns);
    const T* source = B.data + b * B.batch_stride;
    for (int i = 0; i < factor.n; ++i)
        for (std::int64_t c = 0; c < B.columns; ++c)
            X[i * B.columns + c] = source[factor.rows[std::size_t(i)] * B.row_stride + c * B.column_stride];
    factor.solve(X, B.columns);
    return success;
}

template <class T>
Status slogdet_carefully(const MatrixBatch<T>& A, std::int64_t b, Structure structure, T* sign, T* logabsdet) {
    Factor<T> factor(A, b, structure);
    std::vector<T> pivots(std::size_t(factor.n));
    for (int k = 0; k < factor.n; ++k) pivots[std::size_t(k)] = factor.at(k, k);
    slogdet_of_pivots(pivots.data(), factor.n, factor.odd, sign, logabsdet);
    if (structure == Structure::positive && factor.status != success) fail(success, sign, 1), fail(success, logabsdet, 1);
    return structure == Structure::positive ? factor.status : success;
}

template <class T>
void slogdet_of_pivots(const T* pivots, int n, bool odd, T* sign, T* logabsdet) {
    // Mantissas are multiplied, exponents added: one logarithm for all, and nothing over- or underflows.
    double product = odd ? -1 : 1;
    std::int64_t exponent = 0;
    for (int k = 0; k < n; ++k) {
        if (pivots[k] == T(0)) {
            *sign = 0;
            *logabsdet = -std::numeric_limits<T>::infinity();
            return;
        }
        int shift = 0;  // stays 0 for infinities and NaN, which take their course
        product *= std::frexp(double(pivots[k]), &shift);
        exponent += shift;
        product = std::frexp(product, &shift);
        exponent += shift;
    }
    constexpr double log_2 = 0.693147180559945309417232121458;
    *sign = T(product < 0 ? -1 : 1);
    *logabsdet = T(std::log(std::fabs(product)) + double(exponent) * log_2);
}

#define NEURALINV_INSTANTIATE(T)                                                                                   \
    template Status invert_carefully<T>(const MatrixBatch<T>&, std::int64_t, Structure, T*);                       \
    template Status solve_carefully<T>(const MatrixBatch<T>&, const RightSides<T>&, std::int64_t, Structure, T*);  \
    template Status slogdet_carefully<T>(const MatrixBatch<T>&, std::int64_t, Structure, T*, T*);                  \
    template void slogdet_of_pivots<T>(const T*, int, bool, T*, T*);
NEURALINV_INSTANTIATE(float)
NEURALINV_INSTANTIATE(double)

}  // namespace neuralinv
