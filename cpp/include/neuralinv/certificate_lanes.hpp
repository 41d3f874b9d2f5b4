// error_bounds.hpp with a matrix in each lane: of doubles for n up to 8, where their inverses are in lanes anyway, and of floats
// for sizes whose rows would leave much of two vectors empty.
#pragma once

#include "error_bounds.hpp"
#include "sum_of_squares.hpp"
#include "tiles.hpp"
#include "widen.hpp"

namespace neuralinv::NEURALINV_TARGET {

// Rows and columns of R̂ formed at once: as many as registers hold.
inline constexpr int residual_edge = NEURALINV_VECTOR_BYTES == 64 ? 4 : 2;

// Adds the squares of rows i..i+rows-1, columns j..j+width-1 of R̂ = I − A X. row: (rows, n) of A; inverse: (n, n).
template <int n, int rows, int width>
NEURALINV_INLINE void residual_block(const Vector<double>* row, const Vector<double>* inverse, int i, int j, SumOfSquares& squares) {
    Vector<double> sum[rows * width];
    static_for<0, rows * width>([&](auto e_) NEURALINV_LAMBDA {
        constexpr int e = decltype(e_)::value;
        sum[e] = broadcast<double>(double(i + e / width == j + e % width));
    });
    const Vector<double>* right = inverse + j;
#pragma GCC unroll 1
    for (int k = 0; k < n; ++k, right += n) {
        Vector<double> x[width];
        static_for<0, width>([&](auto w) NEURALINV_LAMBDA { x[decltype(w)::value] = right[decltype(w)::value]; });
        static_for<0, rows>([&](auto p_) NEURALINV_LAMBDA {
            constexpr int p = decltype(p_)::value;
            const Vector<double> a = row[p * n + k];
            static_for<0, width>([&](auto w) NEURALINV_LAMBDA { sum[p * width + decltype(w)::value] -= a * x[decltype(w)::value]; });
        });
    }
    static_for<0, rows * width>([&](auto e) NEURALINV_LAMBDA { squares.add(decltype(e)::value, sum[decltype(e)::value]); });
}

template <class T, int half, int n, int rows>
NEURALINV_INLINE void residual_rows(const Vector<T>* a, const Vector<double>* inverse, int i, SumOfSquares& squares, SumOfSquares& size) {
    constexpr int columns = residual_edge;
    Vector<double> row[rows * n];
    static_for<0, rows * n>([&](auto e_) NEURALINV_LAMBDA {
        constexpr int e = decltype(e_)::value;
        row[e] = widen_half<half>(a[i * n + e]);
        size.add(e, row[e]);
    });
    int j = 0;
    for (; j + columns <= n; j += columns) residual_block<n, rows, columns>(row, inverse, i, j, squares);
    if constexpr (n % columns > 0) residual_block<n, rows, n % columns>(row, inverse, i, j, squares);
}

// Bounds of one half of the lanes of the inverses x: (n, n) of a: (n, n).
template <class T, int half, int n>
NEURALINV_INLINE Vector<double> bound_half(const Vector<T>* a, const Vector<T>* x) {
    constexpr int rows = residual_edge;
    Vector<double> inverse[n * n];
    SumOfSquares inverse_size, squares, size;
    static_for<0, n * n>([&](auto e_) NEURALINV_LAMBDA {
        constexpr int e = decltype(e_)::value;
        inverse[e] = widen_half<half>(x[e]);
        inverse_size.add(e, inverse[e]);
    });
    int i = 0;
    for (; i + rows <= n; i += rows) residual_rows<T, half, n, rows>(a, inverse, i, squares, size);
    if constexpr (n % rows > 0) residual_rows<T, half, n, n % rows>(a, inverse, i, squares, size);
    return bound_residual(n, squares.total(), size.total(), inverse_size.total(), double(Traits<T>::smallest_normal)).rho;
}

// Bounds of all lanes, in their order. bounds: (lanes<T>).
template <class T, int n>
NEURALINV_INLINE void certify_lanes(const Vector<T>* a, const Vector<T>* x, double* bounds) {
    store_vector(bound_half<T, 0, n>(a, x), bounds);
    if constexpr (sizeof(T) == 4) store_vector(bound_half<T, 1, n>(a, x), bounds + lanes<double>);
}

// One full tile of inverses that are there: A and X (lanes, n, n), bounds (lanes).
template <class T, int n>
__attribute__((noinline)) void certify_tile(const T* A, const T* X, double* bounds) {
    Vector<T> a[n * n], x[n * n];
    load_tile<T>(A, n * n, n, a);
    load_tile<T>(X, n * n, n, x);
    certify_lanes<T, n>(a, x, bounds);
}

}  // namespace neuralinv::NEURALINV_TARGET
