// error_bounds.hpp for n up to 8, a matrix in each lane, where their inverses are anyway.
#pragma once

#include "error_bounds.hpp"
#include "tiles.hpp"
#include "widen.hpp"

namespace neuralinv::NEURALINV_TARGET {

inline constexpr int largest_certified_in_lanes = largest_unrolled;

// Rows `row`: (rows, n) times columns j..j+width-1 of M: (n, n), added to sum: (rows, width).
template <int rows, int width, class V>
NEURALINV_INLINE void add_products(const V* row, const V* M, int n, int j, V* sum) {
    for (int k = 0; k < n; ++k)
        static_for<0, width>([&](auto w_) NEURALINV_LAMBDA {
            constexpr int w = decltype(w_)::value;
            const V m = M[k * n + j + w];
            static_for<0, rows>([&](auto r_) NEURALINV_LAMBDA {
                constexpr int r = decltype(r_)::value;
                sum[r * width + w] += row[r * n + k] * m;
            });
        });
}

template <int fixed_n>
inline constexpr int room = fixed_n > 0 ? fixed_n : largest_certified_in_lanes;

// Σ x², in several sums: one would wait for itself.
struct SumOfSquares {
    Vector<double> part[4] = {};

    NEURALINV_INLINE void add(int e, Vector<double> x) { part[e % 4] += x * x; }
    NEURALINV_INLINE Vector<double> total() const { return (part[0] + part[1]) + (part[2] + part[3]); }
};

struct Squares {
    SumOfSquares residual, size, inverse_size;
};

// 1 in the middle: entry (i, j) of the identity stands j − i beyond it.
inline constexpr double identity_row[2 * largest_certified_in_lanes + 4] = {0, 0, 0, 0, 0, 0, 0, 0, 1};

// Rows i..i+rows-1, columns j..j+width-1 of R̂ = I − A X. row: (rows, n) of −A; inverse: (n, n); r: (n, n), of which one half
// of the lanes is written, or null where nobody asks.
template <int half, int rows, int width>
NEURALINV_INLINE void residual_block(const Vector<double>* row, const Vector<double>* inverse, int n, int i, int j,
                                     Vector<float>* r, Squares& squares) {
    Vector<double> sum[rows * width];
    for (int p = 0; p < rows; ++p)
        for (int w = 0; w < width; ++w)
            sum[p * width + w] = broadcast<double>(identity_row[largest_certified_in_lanes + j + w - i - p]);
    add_products<rows, width>(row, inverse, n, j, sum);
    for (int p = 0; p < rows; ++p)
        for (int w = 0; w < width; ++w) {
            const Vector<double> entry = sum[p * width + w];
            squares.residual.add(p * width + w, entry);
            if (r) narrow_half<half>(entry, r[(i + p) * n + j + w]);
        }
}

template <int half, int fixed_n, int rows, class T>
NEURALINV_INLINE void residual_rows(const Vector<T>* a, const Vector<double>* inverse, int n, int i, Vector<float>* r,
                                    Squares& squares) {
    Vector<double> row[rows * room<fixed_n>];
    const auto take = [&](int e, int part) NEURALINV_LAMBDA {
        const Vector<double> entry = widen_half<half>(a[i * n + e]);
        squares.size.add(part, entry);
        row[e] = -entry;
    };
    int e = 0;
    for (; e + 4 <= rows * n; e += 4) static_for<0, 4>([&](auto q) NEURALINV_LAMBDA { take(e + decltype(q)::value, decltype(q)::value); });
    for (; e < rows * n; ++e) take(e, 0);
    int j = 0;
    for (; j + 4 <= n; j += 4) residual_block<half, rows, 4>(row, inverse, n, i, j, r, squares);
    for (; j < n; ++j) residual_block<half, rows, 1>(row, inverse, n, i, j, r, squares);
}

// The bounds of one half of the lanes. inverse: (n, n), x as doubles; r: (n, n) or null.
template <class T, int half, int fixed_n>
NEURALINV_INLINE Residual<Vector<double>> bound_half(const Vector<T>* a, const Vector<double>* inverse, int any_n,
                                                     Vector<float>* r) {
    const int n = fixed_n > 0 ? fixed_n : any_n;
    Squares squares;
    int e = 0;
    for (; e + 4 <= n * n; e += 4)
        static_for<0, 4>([&](auto q) NEURALINV_LAMBDA {
            squares.inverse_size.add(decltype(q)::value, inverse[e + decltype(q)::value]);
        });
    for (; e < n * n; ++e) squares.inverse_size.add(0, inverse[e]);
    int i = 0;
    for (; i + 2 <= n; i += 2) residual_rows<half, fixed_n, 2, T>(a, inverse, n, i, r, squares);
    if (i < n) residual_rows<half, fixed_n, 1, T>(a, inverse, n, i, r, squares);
    return bound_residual(n, squares.residual.total(), squares.size.total(), squares.inverse_size.total(),
                          Traits<T>::smallest_normal);
}

// One half of the lanes of x: (n, n). The bound of what x is or, where it misses the tolerance, of what correct_lanes will
// make of it with r: (n, n) and with `take`, which is 1 in those lanes and 0 in the others.
template <int half, int fixed_n>
NEURALINV_INLINE bool certify_half(const Vector<float>* a, const Vector<float>* x, int any_n, double tolerance, double* bounds,
                                   Vector<float>* r, Vector<float>& take) {
    const int n = fixed_n > 0 ? fixed_n : any_n;
    Vector<double> inverse[room<fixed_n> * room<fixed_n>];
    for (int e = 0; e < n * n; ++e) inverse[e] = widen_half<half>(x[e]);
    const Residual<Vector<double>> found = bound_half<float, half, fixed_n>(a, inverse, n, r);
    const Mask<double> missed = Mask<double>(found.rho > broadcast(tolerance));
    const bool any_missed = any<double>(missed);
    Vector<double> bound = found.rho;
    if (any_missed) bound = missed ? bound_corrected_float(n, found) : bound;
    narrow_half<half>(missed ? broadcast<double>(1) : broadcast<double>(0), take);
    __builtin_memcpy(bounds, &bound, sizeof(bound));
    return any_missed;
}

// Rows i.. of x + take · (x r).
template <int fixed_n, int rows>
NEURALINV_INLINE void correct_rows(Vector<float>* x, const Vector<float>* r, int n, int i, const Vector<float>& take) {
    Vector<float> row[rows * room<fixed_n>];
    for (int e = 0; e < rows * n; ++e) row[e] = x[i * n + e];
    const auto correct_block = [&](int j, auto width_) NEURALINV_LAMBDA {
        constexpr int width = decltype(width_)::value;
        Vector<float> sum[rows * width] = {};
        add_products<rows, width>(row, r, n, j, sum);
        for (int p = 0; p < rows; ++p)
            for (int c = 0; c < width; ++c) x[(i + p) * n + j + c] += take * sum[p * width + c];
    };
    int j = 0;
    for (; j + 4 <= n; j += 4) correct_block(j, Index<4>{});
    for (; j < n; ++j) correct_block(j, Index<1>{});
}

// All lanes: bounds of the inverses x: (n, n) of a: (n, n), corrected where that is needed. Returns whether x changed. A matrix
// that meets the tolerance stays as it is, whatever its neighbours need. bounds: (lanes<T>).
template <int fixed_n>
NEURALINV_INLINE bool certify_lanes(const Vector<float>* a, Vector<float>* x, int any_n, double tolerance, double* bounds) {
    const int n = fixed_n > 0 ? fixed_n : any_n;
    Vector<float> r[room<fixed_n> * room<fixed_n>], take;
    const bool lower = certify_half<0, fixed_n>(a, x, n, tolerance, bounds, r, take);
    const bool upper = certify_half<1, fixed_n>(a, x, n, tolerance, bounds + lanes<double>, r, take);
    if (!(lower || upper)) return false;
    int i = 0;
    for (; i + 2 <= n; i += 2) correct_rows<fixed_n, 2>(x, r, n, i, take);
    if (i < n) correct_rows<fixed_n, 1>(x, r, n, i, take);
    return true;
}

template <int fixed_n>
NEURALINV_INLINE bool certify_lanes(const Vector<double>* a, Vector<double>* x, int n, double, double* bounds) {
    const Vector<double> rho = bound_half<double, 0, fixed_n>(a, x, n, nullptr).rho;
    __builtin_memcpy(bounds, &rho, sizeof(rho));
    return false;
}

// One full tile of inverses that are there: A and X (lanes, n, n), bounds (lanes).
template <class T>
__attribute__((noinline)) void certify_tile(const T* A, T* X, int n, double tolerance, double* bounds) {
    Vector<T> a[largest_certified_in_lanes * largest_certified_in_lanes], x[largest_certified_in_lanes * largest_certified_in_lanes];
    load_tile<T>(A, n * n, n, a);
    load_tile<T>(X, n * n, n, x);
    if (certify_lanes<0>(a, x, n, tolerance, bounds)) store_tile<T>(x, n, X, n * n);
}

}  // namespace neuralinv::NEURALINV_TARGET
