// error_bounds.hpp of doubles for n up to 8, a matrix in each lane, where their inverses are anyway.
#pragma once

#include "error_bounds.hpp"
#include "sum_of_squares.hpp"
#include "tiles.hpp"

namespace neuralinv::NEURALINV_TARGET {

inline constexpr int largest_certified_in_lanes = largest_unrolled;

template <int fixed_n>
inline constexpr int room = fixed_n > 0 ? fixed_n : largest_certified_in_lanes;

struct Squares {
    SumOfSquares residual, size, inverse_size;
};

// 1 in the middle: entry (i, j) of the identity stands j − i beyond it.
inline constexpr double identity_row[2 * largest_certified_in_lanes + 4] = {0, 0, 0, 0, 0, 0, 0, 0, 1};

// Adds the squares of rows i..i+rows-1, columns j..j+width-1 of R̂ = I − A X. row: (rows, n) of −A; inverse: (n, n).
template <int rows, int width>
NEURALINV_INLINE void residual_block(const Vector<double>* row, const Vector<double>* inverse, int n, int i, int j, Squares& squares) {
    Vector<double> sum[rows * width];
    for (int p = 0; p < rows; ++p)
        for (int w = 0; w < width; ++w)
            sum[p * width + w] = broadcast<double>(identity_row[largest_certified_in_lanes + j + w - i - p]);
    for (int k = 0; k < n; ++k)
        static_for<0, width>([&](auto w_) NEURALINV_LAMBDA {
            constexpr int w = decltype(w_)::value;
            const Vector<double> x = inverse[k * n + j + w];
            static_for<0, rows>([&](auto p_) NEURALINV_LAMBDA {
                constexpr int p = decltype(p_)::value;
                sum[p * width + w] += row[p * n + k] * x;
            });
        });
    for (int e = 0; e < rows * width; ++e) squares.residual.add(e, sum[e]);
}

template <int fixed_n, int rows>
NEURALINV_INLINE void residual_rows(const Vector<double>* a, const Vector<double>* inverse, int n, int i, Squares& squares) {
    Vector<double> row[rows * room<fixed_n>];
    const auto take = [&](int e, int part) NEURALINV_LAMBDA {
        const Vector<double> entry = a[i * n + e];
        squares.size.add(part, entry);
        row[e] = -entry;
    };
    int e = 0;
    for (; e + 4 <= rows * n; e += 4) static_for<0, 4>([&](auto q) NEURALINV_LAMBDA { take(e + decltype(q)::value, decltype(q)::value); });
    for (; e < rows * n; ++e) take(e, 0);
    int j = 0;
    for (; j + 4 <= n; j += 4) residual_block<rows, 4>(row, inverse, n, i, j, squares);
    for (; j < n; ++j) residual_block<rows, 1>(row, inverse, n, i, j, squares);
}

// The bounds of the inverses x: (n, n) of a: (n, n). bounds: (lanes).
template <int fixed_n>
NEURALINV_INLINE void certify_lanes(const Vector<double>* a, const Vector<double>* x, int any_n, double* bounds) {
    const int n = fixed_n > 0 ? fixed_n : any_n;
    Squares squares;
    int e = 0;
    for (; e + 4 <= n * n; e += 4)
        static_for<0, 4>([&](auto q) NEURALINV_LAMBDA { squares.inverse_size.add(decltype(q)::value, x[e + decltype(q)::value]); });
    for (; e < n * n; ++e) squares.inverse_size.add(0, x[e]);
    int i = 0;
    for (; i + 2 <= n; i += 2) residual_rows<fixed_n, 2>(a, x, n, i, squares);
    if (i < n) residual_rows<fixed_n, 1>(a, x, n, i, squares);
    const auto found = bound_residual(n, squares.residual.total(), squares.size.total(), squares.inverse_size.total(),
                                      Traits<double>::smallest_normal);
    store_vector(found.rho, bounds);
}

// One full tile of inverses that are there: A and X (lanes, n, n), bounds (lanes).
inline __attribute__((noinline)) void certify_tile(const double* A, const double* X, int n, double* bounds) {
    constexpr int most = largest_certified_in_lanes * largest_certified_in_lanes;
    Vector<double> a[most], x[most];
    load_tile<double>(A, n * n, n, a);
    load_tile<double>(X, n * n, n, x);
    certify_lanes<0>(a, x, n, bounds);
}

}  // namespace neuralinv::NEURALINV_TARGET
