// Symmetric positive definite block-tridiagonal matrices: the Cholesky factor and blocks of the inverse, one sequence at a
// time. Solves with the factor: block_tridiagonal_solve.hpp.
//
//     M = [ D₀  B₀ᵀ            ]     F = [ L₀              ]     M = F Fᵀ
//         [ B₀  D₁  B₁ᵀ        ]         [ C₀  L₁          ]
//         [     B₁  D₂  ⋱      ]         [     C₁  L₂      ]
//         [         ⋱   ⋱      ]         [         ⋱   ⋱   ]
//
//     L_t L_tᵀ = D_t − C_{t−1} C_{t−1}ᵀ      C_t = B_t L_t⁻ᵀ
//
// Shapes, all row by row without gaps: D, L (steps, n, n); B, C (steps − 1, n, n); right-hand sides (steps, n, k). Of D_t
// and L_t the lower triangle is read.
#pragma once

#include "block_tridiagonal_registers.hpp"

namespace neuralinv::NEURALINV_TARGET {

// Scratch that the kernels of this header and of block_tridiagonal_rev.hpp need, in entries.
template <class Size>
inline std::int64_t scratch_entries(Size size) {
    return 5 * size.padded() + size.stride();
}

// ---- factor ----------------------------------------------------------------------------------------------------------

// L_t and C_t in place of S = D_t − C_{t−1} C_{t−1}ᵀ in l and B_t in c, both (n, n) as columns; c is null in the last
// step. scaled: padded, pivots: n entries.
//
// Returns 0, the first pivot, counted from 1, that is not a positive finite number, or extreme_pivot.
//
// Column j loses, left-looking, what earlier columns put into it, and waits for a reciprocal, not for a square root: with
// d_k the pivots and columns l, c before they are divided by the roots,
//     l[:, j] = S[:, j] − Σ_{k<j} l[:, k] (l[j, k] / d_k),   c[:, j] = B[:, j] − Σ_{k<j} c[:, k] (l[j, k] / d_k),
//     L[:, j] = l[:, j] / √d_j,   C[:, j] = c[:, j] / √d_j.
// The chain pivot → reciprocal → next pivot sets the pace for small n. Pivots are summed apart, in scalars, which saves
// them a way through memory. Columns go `together` at a time: what columns before them all subtract comes first.
//
// 1/d may leave the range where 1/√d does not: `careful` divides each column by its root at once.
template <bool careful, class Size, class T>
NEURALINV_INLINE std::int64_t factor_columns(Size size, T* l, T* c, T* scaled, T* pivots) {
    constexpr int together = Size::together;
    const int n = size.n(), stride = size.stride();
    for (int first = 0; first < n; first += together) {
        const int last = first + together < n ? first + together : n;
        if (first > 0) {
            add_product<-1>(size, l, l, scaled, stride, 1, first, last, 0, first);
            if (c) add_product<-1>(size, c, c, scaled, stride, 1, first, last, 0, first);
        }
        for (int j = first; j < last; ++j) {
            T pivot = l[j * stride + j];
            for (int k = first; k < j; ++k) pivot -= l[k * stride + j] * scaled[k * stride + j];
            if (!is_positive_and_finite(pivot)) return j + 1;
            if (!careful && is_extreme(pivot)) return extreme_pivot;
            pivots[j] = pivot;
            add_product_inline<-1>(size, l, l, scaled, stride, 1, j, j + 1, first, j);
            if (c) add_product_inline<-1>(size, c, c, scaled, stride, 1, j, j + 1, first, j);
            const T scale = 1 / (careful ? square_root(pivot) : pivot);
            if (careful) {
                scale_column(size, l, j, scale);
                if (c) scale_column(size, c, j, scale);
            }
            const Vector<T> factor = broadcast<T>(careful ? T(1) : scale);
            for (int row = 0; row < stride; row += lanes<T>)
                store<T>(load<T>(l + j * stride + row) * factor, scaled + j * stride + row);
        }
    }
    for (int j = 0; j < n; ++j) {
        const T root = square_root(pivots[j]);
        if (!careful) {
            scale_column(size, l, j, 1 / root);
            if (c) scale_column(size, c, j, 1 / root);
        }
        l[j * stride + j] = root;
    }
    return 0;
}

// The factorisation, a step after another, along the sequence or, `mirrored`, against it: that is the factor of the same
// matrix in the opposite order, whose blocks below the diagonal are B_tᵀ.
template <class Size, class T>
struct Factorization {
    Size size;
    T* const l;  // L_t: columns
    T* const scaled;
    T* c;        // C_{t−1}, after `eliminate` C_t: columns
    T* next;
    T* const pivots;

    NEURALINV_INLINE Factorization(Size size_, T* scratch)
        : size(size_), l(scratch), scaled(l + size.padded()), c(scaled + size.padded()), next(c + size.padded()),
          pivots(next + size.padded()) {
        clear(size, l);
        clear(size, c);
        clear(size, next);
    }

    // What C loses in the next block of the diagonal, which lies in l.
    NEURALINV_INLINE void subtract(const T* columns) { add_product<-1>(size, l, columns, columns, size.stride(), 1); }

    // L_t and, unless B is null, C_t from what lies in l. Returns what `factor_columns` does. One function for all calls,
    // which spares the compiler much.
    template <bool careful>
    __attribute__((noinline)) std::int64_t eliminate(bool mirrored, const T* B, T* L, T* C) {
        if (B) mirrored ? load_rows(size, B, next) : load_columns(size, B, next);
        const std::int64_t status = factor_columns<careful>(size, l, B ? next : nullptr, scaled, pivots);
        if (status != 0) return status;
        store_columns(size, l, L);
        clear_above_diagonal(size, L);
        if (B) store_columns(size, next, C);
        T* const swap = c;
        c = next;
        next = swap;
        return 0;
    }
};

// F y = b is solved on the way for k right-hand sides b, y (steps, n, k), if n + k ≤ stride: they ride along in the padding,
// as more rows below L_t. With yᵀ_{t−1} below C_{t−1}, what the blocks lose is what bᵀ_t has to lose, and (bᵀ − yᵀ Cᵀ) L⁻ᵀ
// is what becomes of rows below L_t.
template <bool careful, class Size, class T>
NEURALINV_INLINE std::int64_t factor_steps(Size size, std::int64_t steps, const T* D, const T* B, T* L, T* C, T* scratch,
                                           int k, const T* b, T* y) {
    const int n = size.n(), stride = size.stride();
    Factorization<Size, T> factors(size, scratch);
    T* const l = factors.l;
    for (std::int64_t t = 0; t < steps; ++t) {
        const bool last = t + 1 == steps;
        const std::int64_t at = t * size.block();
        load_columns(size, D + at, l);
        for (int j = 0; j < n; ++j)
            for (int r = 0; r < k; ++r) l[j * stride + n + r] = b[(t * n + j) * k + r];
        if (t > 0) factors.subtract(factors.c);
        const std::int64_t status = factors.template eliminate<careful>(false, last ? nullptr : B + at, L + at, C + at);
        if (status != 0) return status == extreme_pivot ? extreme_pivot : t * n + status;
        for (int j = 0; j < n; ++j)
            for (int r = 0; r < k; ++r)
                y[(t * n + j) * k + r] = factors.c[j * stride + n + r] = l[j * stride + n + r];
    }
    return 0;
}

// Tell whether k right-hand sides are solved for on the way.
template <class Size>
NEURALINV_INLINE bool ride_along(Size size, std::int64_t k) {
    return k > 0 && (size.n() + k <= size.stride() || (k == 1 && size.n() <= largest_in_registers));
}

// `factor_steps`, or the same in registers. k is 0 or rides along.
template <int n = 1, class Size, class T>
NEURALINV_INLINE std::int64_t factor_quickly(Size size, std::int64_t steps, const T* D, const T* B, T* L, T* C,
                                             T* scratch, int k, const T* b, T* y) {
    if constexpr (n > largest_in_registers) {
        return factor_steps<false>(size, steps, D, B, L, C, scratch, k, b, y);
    } else {
        if (size.n() != n || k > 1) return factor_quickly<n + 1>(size, steps, D, B, L, C, scratch, k, b, y);
        return k ? factor_in_registers<n, true>(steps, D, B, L, C, b, y)
                 : factor_in_registers<n, false>(steps, D, B, L, C, b, y);
    }
}

template <class T>
__attribute__((noinline, cold)) std::int64_t factor_carefully(int n, std::int64_t steps, const T* D, const T* B, T* L,
                                                              T* C, T* scratch) {
    return factor_steps<true>(BlockSize<T, 0, 1>{n}, steps, D, B, L, C, scratch, 0, D, L);
}

// Factor one sequence. Returns 0, or the order k ≥ 1 of the first leading minor of M that is not positive (LAPACK's info
// for the dense matrix): pivot (k − 1) mod n of step (k − 1) / n is not a positive finite number. NaN and infinity
// anywhere in what is read end there, too.
template <class Size, class T>
inline std::int64_t factor_sequence(Size size, std::int64_t steps, const T* D, const T* B, T* L, T* C, T* scratch) {
    const std::int64_t status = factor_quickly(size, steps, D, B, L, C, scratch, 0, D, L);
    return __builtin_expect(status == extreme_pivot, 0) ? factor_carefully(size.n(), steps, D, B, L, C, scratch)
                                                        : status;
}

// ---- blocks of the inverse -------------------------------------------------------------------------------------------

// The blocks Σ_tt = (M⁻¹)_tt and Σ_{t+1,t} of the inverse, from the last to the first (Takahashi, Fagan & Chin 1973; for
// state-space models the smoother of Rauch, Tung & Striebel 1965). From Σ = F⁻ᵀ F⁻¹, i.e. Fᵀ Σ = F⁻¹, whose part above
// the diagonal is zero:
//     Σ_{t+1,t} = −Σ_{t+1,t+1} C_t L_t⁻¹      Σ_tt = L_t⁻ᵀ (I + C_tᵀ Σ_{t+1,t+1} C_t) L_t⁻¹.
// The recursion goes one step back at a time.
template <class Size, class T>
struct InverseRecursion {
    Size size;
    T* sigma;           // Σ_{t+1,t+1}, after `step` Σ_tt: columns, symmetric
    T* const negative;  // after `step` −Σ_{t+1,t}: columns
    T* const rows;      // of C_t
    T* inner;
    T* const work;
    T* const reciprocal;

    NEURALINV_INLINE InverseRecursion(Size size_, T* scratch)
        : size(size_), sigma(scratch), negative(sigma + size.padded()), rows(negative + size.padded()),
          inner(rows + size.padded()), work(inner + size.padded()), reciprocal(work + size.padded()) {
        clear(size, sigma);
        clear(size, rows);
        clear(size, work);
    }

    // l: L_t; c: C_t, null in the last step. Inline where the size is known, and else one function for all calls.
    NEURALINV_INLINE void step(const T* l, const T* c) {
        if constexpr (Size::fixed)
            step_inline(l, c);
        else
            step_apart(l, c);
    }

    __attribute__((noinline)) void step_apart(const T* l, const T* c) { step_inline(l, c); }

    NEURALINV_INLINE void step_inline(const T* l, const T* c) {
        const int n = size.n(), stride = size.stride();
        reciprocals(size, l, reciprocal);
        if (c) {
            add_product<0>(size, negative, sigma, c, n, 1);
            load_rows(size, c, rows);
            add_product<0>(size, inner, rows, negative, 1, stride);
            solve_from_right(size, negative, l, reciprocal);
        } else {
            clear(size, inner);
        }
        for (int j = 0; j < n; ++j) inner[j * stride + j] += T(1);
        solve_from_both_sides(size, inner, l, reciprocal, work);
        T* const swap = inner;
        inner = sigma;
        sigma = swap;
    }
};

// diagonal: (steps, n, n), symmetric; below: (steps − 1, n, n).
template <class Size, class T>
inline void inverse_blocks_sequence(Size size, std::int64_t steps, const T* L, const T* C, T* diagonal, T* below,
                                    T* scratch) {
    InverseRecursion<Size, T> recursion(size, scratch);
    for (std::int64_t t = steps - 1; t >= 0; --t) {
        const std::int64_t at = t * size.block();
        const bool last = t + 1 == steps;
        recursion.step(L + at, last ? nullptr : C + at);
        store_rows(size, recursion.sigma, diagonal + at);
        if (last) continue;
        for (int j = 0; j < size.n(); ++j) scale_column(size, recursion.negative, j, T(-1));
        store_columns(size, recursion.negative, below + at);
    }
}

}  // namespace neuralinv::NEURALINV_TARGET
