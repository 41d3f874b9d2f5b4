// P A = L U by elimination with partial pivoting, real or complex, one matrix in each lane.
//
// Step k takes, of rows k.. of column k, the entry of largest magnitude as pivot (the first one, LAPACK's choice) and
// swaps its row into row k; then every row i below loses l(i) = a(i,k) / pivot times row k, and l(i) takes the place of
// a(i,k). Lanes choose different rows: a swap is a select in every lane.
#pragma once

#include "field.hpp"
#include "loops.hpp"

namespace neuralinv::NEURALINV_TARGET {

// The largest n of lu.hpp: complex matrices of 16 rows fill the first-level cache.
inline constexpr int largest_lu = 16;

// Rows to make room for: n, or the largest where n is known at run time only.
template <class N>
inline constexpr int lu_room = largest_lu;

template <int n>
inline constexpr int lu_room<Fixed<n>> = n;

// Columns that a swap keeps in registers at once, each of them twice.
template <class S, class N>
inline constexpr int swap_width = is_fixed<N> ? 1 : 4 / Field<S>::parts;

// The pivot's row among rows k.. of column k, minus k.
template <class S, class N, class K>
NEURALINV_INLINE LaneMask<S> choose_pivot(const Lane<S>* a, N n, K k) {
    using F = Field<S>;
    using T = RealOf<S>;
    Vector<T> best = F::magnitude(a[k * n + k]);
    Mask<T> row{};
    loop(k + one, n, [&](auto i) NEURALINV_LAMBDA {
        const Vector<T> size = F::magnitude(a[i * n + k]);
        const Mask<T> larger = Mask<T>(size > best);
        best = select<T>(larger, size, best);
        row = larger ? broadcast_mask<T>(i - k) : row;
    });
    return row;
}

// Exchange row k with the row that each lane names, counted from k. a: (n, columns) with `step` between rows.
template <class S, class N, class K, class Step, class Begin, class End>
NEURALINV_INLINE void swap_rows_of(Lane<S>* a, N n, K k, Step step, Begin begin, End end, LaneMask<S> row) {
    using F = Field<S>;
    loop_blocks<swap_width<S, Step>>(begin, end, [&](auto j, auto width) NEURALINV_LAMBDA {
        Lane<S> first[decltype(width)::value], chosen[decltype(width)::value];
        loop(zero, width, [&](auto c) NEURALINV_LAMBDA { first[c] = chosen[c] = a[k * step + j + c]; });
        loop(k + one, n, [&](auto r) NEURALINV_LAMBDA {
            const LaneMask<S> here = LaneMask<S>(row == broadcast_mask<RealOf<S>>(r - k));
            loop(zero, width, [&](auto c) NEURALINV_LAMBDA {
                const Lane<S> other = a[r * step + j + c];
                chosen[c] = F::choose(here, other, chosen[c]);
                a[r * step + j + c] = F::choose(here, first[c], other);
            });
        });
        loop(zero, width, [&](auto c) NEURALINV_LAMBDA { a[k * step + j + c] = chosen[c]; });
    });
}

// a: (n·n), replaced by U and, below the diagonal, L. pivot: (n) the diagonal of U. pivot_row: (n) the rows that were
// swapped, row k's counted from k. N: Fixed<n> or int.
template <class S, bool careful, class N, class Prefetch>
NEURALINV_INLINE void factor_general(Lane<S>* a, N n, Pivot<S>* pivot, LaneMask<S>* pivot_row, Prefetch& ahead) {
    using F = Field<S>;
    loop(zero, n, [&](auto k) NEURALINV_LAMBDA {
        ahead.fetch();
        pivot_row[k] = choose_pivot<S>(a, n, k);
        swap_rows_of<S>(a, n, k, n, zero, n, pivot_row[k]);
        pivot[k] = make_pivot<S>(a[k * n + k]);
        loop(k + one, n, [&](auto i) NEURALINV_LAMBDA {
            const Lane<S> l = divide<S, careful>(a[i * n + k], pivot[k]);
            a[i * n + k] = l;
            loop(k + one, n, [&](auto j) NEURALINV_LAMBDA {
                a[i * n + j] = F::template minus_product<careful>(a[i * n + j], l, a[k * n + j]);
            });
        });
    });
}

// The largest magnitude in every column of a: (n·n). scale: (n).
template <class S, class N>
NEURALINV_INLINE void column_scales(const Lane<S>* a, N n, Vector<RealOf<S>>* scale) {
    using T = RealOf<S>;
    loop(zero, n, [&](auto j) NEURALINV_LAMBDA {
        Vector<T> largest = Field<S>::magnitude(a[j]);
        loop(one, n, [&](auto i) NEURALINV_LAMBDA {
            const Vector<T> size = Field<S>::magnitude(a[i * n + j]);
            largest = select<T>(Mask<T>(size > largest), size, largest);
        });
        scale[j] = largest;
    });
}

// Where every pivot can be inverted and is certainly not zero.
template <class S, class N>
NEURALINV_INLINE LaneMask<S> safe_pivots(const Vector<RealOf<S>>* scale, const Pivot<S>* pivot, N n) {
    LaneMask<S> safe = ~LaneMask<S>{};
    loop(zero, n, [&](auto k) NEURALINV_LAMBDA {
        safe &= Field<S>::is_safe(pivot[k].value) &
                is_distinct<S>(Field<S>::magnitude(pivot[k].value), scale[k], n);
    });
    return safe;
}

// LAPACK's info: the first pivot that is exactly zero, counted from 1, or 0.
template <class S>
NEURALINV_INLINE LaneMask<S> first_zero_pivot(const Pivot<S>* pivot, int n) {
    using T = RealOf<S>;
    Mask<T> info{};
    for (int k = n - 1; k >= 0; --k) {
        const Mask<T> is_zero = Mask<T>(Field<S>::magnitude(pivot[k].value) == Vector<T>{});
        info = is_zero ? broadcast_mask<T>(k + 1) : info;
    }
    return info;
}

// U X = Y. b: (n, width) Y, gives X.
template <class S, bool careful, int width, class N>
NEURALINV_INLINE void substitute_back(const Lane<S>* a, N n, const Pivot<S>* pivot, Lane<S>* b) {
    using F = Field<S>;
    constexpr Fixed<width> w{};
    loop_down(zero, n, [&](auto i) NEURALINV_LAMBDA {
        Lane<S> x[width];
        loop(zero, w, [&](auto c) NEURALINV_LAMBDA { x[c] = b[i * w + c]; });
        loop(i + one, n, [&](auto m) NEURALINV_LAMBDA {
            loop(zero, w, [&](auto c) NEURALINV_LAMBDA {
                x[c] = F::template minus_product<careful>(x[c], a[i * n + m], b[m * w + c]);
            });
        });
        loop(zero, w, [&](auto c) NEURALINV_LAMBDA { b[i * w + c] = divide<S, careful>(x[c], pivot[i]); });
    });
}

// Solve A X = B for `width` right-hand sides. a, pivot, pivot_row: as factor_general leaves them, with L;
// b: (n, width) B, gives X.
template <class S, bool careful, int width, class N>
NEURALINV_INLINE void solve_general(const Lane<S>* a, N n, const Pivot<S>* pivot, const LaneMask<S>* pivot_row,
                                    Lane<S>* b) {
    using F = Field<S>;
    constexpr Fixed<width> w{};
    loop(zero, n, [&](auto k) NEURALINV_LAMBDA { swap_rows_of<S>(b, n, k, w, zero, w, pivot_row[k]); });
    loop(one, n, [&](auto i) NEURALINV_LAMBDA {  // L Y = P B
        Lane<S> y[width];
        loop(zero, w, [&](auto c) NEURALINV_LAMBDA { y[c] = b[i * w + c]; });
        loop(zero, i, [&](auto m) NEURALINV_LAMBDA {
            loop(zero, w, [&](auto c) NEURALINV_LAMBDA {
                y[c] = F::template minus_product<careful>(y[c], a[i * n + m], b[m * w + c]);
            });
        });
        loop(zero, w, [&](auto c) NEURALINV_LAMBDA { b[i * w + c] = y[c]; });
    });
    substitute_back<S, careful, width>(a, n, pivot, b);
}

// X = A⁻¹ = U⁻¹ L⁻¹ P, column by column of L⁻¹, whose columns begin with zeros; in the end P moves columns of X.
// x: (n·n), another array than a.
template <class S, bool careful, class N>
NEURALINV_INLINE void invert_from_factors(const Lane<S>* a, N n, const Pivot<S>* pivot, const LaneMask<S>* pivot_row,
                                          Lane<S>* x) {
    using F = Field<S>;
    loop(zero, n, [&](auto j) NEURALINV_LAMBDA {
        Lane<S> y[lu_room<N>];
        loop(zero, j, [&](auto i) NEURALINV_LAMBDA { y[i] = F::constant(0); });
        y[j] = F::constant(1);
        loop(j + one, n, [&](auto i) NEURALINV_LAMBDA {
            Lane<S> sum = F::negative(a[i * n + j]);
            loop(j + one, i, [&](auto m) NEURALINV_LAMBDA {
                sum = F::template minus_product<careful>(sum, a[i * n + m], y[m]);
            });
            y[i] = sum;
        });
        substitute_back<S, careful, 1>(a, n, pivot, y);
        loop(zero, n, [&](auto i) NEURALINV_LAMBDA { x[i * n + j] = y[i]; });
    });
    loop_down(zero, n, [&](auto k) NEURALINV_LAMBDA {  // columns of X are rows of its transpose
        loop(zero, n, [&](auto i) NEURALINV_LAMBDA {
            swap_rows_of<S>(x + i * n, n, k, one, zero, one, pivot_row[k]);
        });
    });
}

}  // namespace neuralinv::NEURALINV_TARGET
