// Symmetric positive definite block-tridiagonal matrices: the Cholesky factor and solves with it, one sequence at a time.
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

#include "small_blocks.hpp"

namespace neuralinv::NEURALINV_TARGET {

template <class T>
NEURALINV_INLINE T square_root(T x) {
    if constexpr (sizeof(T) == sizeof(float))
        return __builtin_sqrtf(x);
    else
        return __builtin_sqrt(x);
}

// Scratch that the kernels of this header and of block_tridiagonal_rev.hpp need, in entries.
template <class Size>
inline std::int64_t scratch_entries(Size size) {
    return 5 * size.padded() + size.stride();
}

// ---- factor ----------------------------------------------------------------------------------------------------------

// What factor_columns returns for a pivot whose reciprocal leaves the range of normal numbers.
inline constexpr std::int64_t extreme_pivot = -1;

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
            if (!(pivot > 0 && pivot - pivot == 0)) return j + 1;  // infinity minus itself is not a number
            if (!careful && !(pivot >= Traits<T>::smallest_normal && pivot <= 1 / Traits<T>::smallest_normal))
                return extreme_pivot;
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

// F y = b is solved on the way for k right-hand sides b, y (steps, n, k), if n + k ≤ stride: they ride along in the padding,
// as more rows below L_t. With yᵀ_{t−1} below C_{t−1}, what the blocks lose is what bᵀ_t has to lose, and (bᵀ − yᵀ Cᵀ) L⁻ᵀ
// is what becomes of rows below L_t.
template <bool careful, class Size, class T>
NEURALINV_INLINE std::int64_t factor_steps(Size size, std::int64_t steps, const T* D, const T* B, T* L, T* C, T* scratch,
                                           int k, const T* b, T* y) {
    const int n = size.n(), stride = size.stride();
    T* const l = scratch;
    T* const scaled = l + size.padded();
    T* c = scaled + size.padded();
    T* c_before = c + size.padded();
    T* const pivots = c_before + size.padded();
    clear(size, l);
    clear(size, c);
    clear(size, c_before);
    for (std::int64_t t = 0; t < steps; ++t) {
        const bool last = t + 1 == steps;
        load_columns(size, D + t * size.block(), l);
        for (int j = 0; j < n; ++j)
            for (int r = 0; r < k; ++r) l[j * stride + n + r] = b[(t * n + j) * k + r];
        if (t > 0) add_product<-1>(size, l, c_before, c_before, stride, 1);
        if (!last) load_columns(size, B + t * size.block(), c);
        const std::int64_t status = factor_columns<careful>(size, l, last ? nullptr : c, scaled, pivots);
        if (status != 0) return status == extreme_pivot ? extreme_pivot : t * n + status;
        store_columns(size, l, L + t * size.block());
        clear_above_diagonal(size, L + t * size.block());
        if (!last) store_columns(size, c, C + t * size.block());
        for (int j = 0; j < n; ++j)
            for (int r = 0; r < k; ++r)
                y[(t * n + j) * k + r] = c[j * stride + n + r] = l[j * stride + n + r];
        T* const swap = c;
        c = c_before;
        c_before = swap;
    }
    return 0;
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
    const std::int64_t status = factor_steps<false>(size, steps, D, B, L, C, scratch, 0, D, L);
    return __builtin_expect(status == extreme_pivot, 0) ? factor_carefully(size.n(), steps, D, B, L, C, scratch)
                                                        : status;
}

// ---- solves with the factor ------------------------------------------------------------------------------------------

// Groups of `piece` rows are what the vectors of a single right-hand side go by.

// The sum of the pieces of 16 bytes that a vector consists of.
template <class T>
NEURALINV_INLINE Piece<T> sum_of_pieces(Vector<T> v) {
#if NEURALINV_VECTOR_BYTES == 16
    return v;
#elif NEURALINV_VECTOR_BYTES == 32
    return Piece<T>(lower(Half256(v))) + Piece<T>(upper(Half256(v)));
#else
    const Half256 a = lower(Half512(v)), b = upper(Half512(v));
    return (Piece<T>(lower(a)) + Piece<T>(upper(a))) + (Piece<T>(lower(b)) + Piece<T>(upper(b)));
#endif
}

// Entry r is the sum of all entries of p[r].
NEURALINV_INLINE Piece<float> sums_of_entries(const Piece<float> (&p)[4]) {
    const Piece<float> a = __builtin_shufflevector(p[0], p[1], 0, 4, 1, 5) + __builtin_shufflevector(p[0], p[1], 2, 6, 3, 7);
    const Piece<float> b = __builtin_shufflevector(p[2], p[3], 0, 4, 1, 5) + __builtin_shufflevector(p[2], p[3], 2, 6, 3, 7);
    return __builtin_shufflevector(a, b, 0, 1, 4, 5) + __builtin_shufflevector(a, b, 2, 3, 6, 7);
}

NEURALINV_INLINE Piece<double> sums_of_entries(const Piece<double> (&p)[2]) {
    return __builtin_shufflevector(p[0], p[1], 0, 2) + __builtin_shufflevector(p[0], p[1], 1, 3);
}

// sum[r] gets Σ_{k < count} rows[r·n + k] x[k] as vectors, pieces and, `rest`, scalars.
template <class T>
struct RowSums {
    Vector<T> wide[piece<T>] = {};
    Piece<T> narrow[piece<T>] = {};
    Piece<T> rest = {};

    NEURALINV_INLINE void add(const T* rows, int n, const T* x, int count) {
        int k = 0;
        for (; k + lanes<T> <= count; k += lanes<T>) add_to(wide, rows + k, n, x + k);
        if constexpr (lanes<T> > piece<T>)
            for (; k + piece<T> <= count; k += piece<T>) add_to(narrow, rows + k, n, x + k);
        for (; k < count; ++k)
            static_for<0, piece<T>>([&](auto r_) NEURALINV_LAMBDA {
                constexpr int r = decltype(r_)::value;
                rest[r] += rows[r * n + k] * x[k];
            });
    }

    NEURALINV_INLINE Piece<T> totals() const {
        Piece<T> sums[piece<T>];
        static_for<0, piece<T>>([&](auto r_) NEURALINV_LAMBDA {
            constexpr int r = decltype(r_)::value;
            sums[r] = sum_of_pieces<T>(wide[r]) + narrow[r];
        });
        return sums_of_entries(sums) + rest;
    }

   private:
    template <class V>
    NEURALINV_INLINE static void add_to(V (&sum)[piece<T>], const T* rows, int n, const T* x) {
        V factor;
        __builtin_memcpy(&factor, x, sizeof(V));
        static_for<0, piece<T>>([&](auto r_) NEURALINV_LAMBDA {
            constexpr int r = decltype(r_)::value;
            V row;
            __builtin_memcpy(&row, rows + r * n, sizeof(V));
            sum[r] = sum[r] + row * factor;
        });
    }
};

// x[i] −= Σ_{r < count} rows[r·n + i] values[r] for i < end.
template <int count, class V, class T>
NEURALINV_INLINE int subtract_rows_as(T* __restrict x, const T* __restrict rows, int n, const T* values, int i, int end) {
    constexpr int width = int(sizeof(V) / sizeof(T));
    for (; i + width <= end; i += width) {
        V sum;
        __builtin_memcpy(&sum, x + i, sizeof(V));
        static_for<0, count>([&](auto r_) NEURALINV_LAMBDA {
            constexpr int r = decltype(r_)::value;
            V row;
            __builtin_memcpy(&row, rows + r * n + i, sizeof(V));
            sum = sum - row * values[r];
        });
        __builtin_memcpy(x + i, &sum, sizeof(V));
    }
    return i;
}

template <int count, class T>
NEURALINV_INLINE void subtract_rows(T* __restrict x, const T* __restrict rows, int n, const T* values, int end) {
    int i = subtract_rows_as<count, Vector<T>>(x, rows, n, values, 0, end);
    if constexpr (lanes<T> > piece<T>) i = subtract_rows_as<count, Piece<T>>(x, rows, n, values, i, end);
    for (; i < end; ++i)
        for (int r = 0; r < count; ++r) x[i] -= rows[r * n + i] * values[r];
}

// One step of F x = b for one right-hand side: x = L⁻¹ (b − C x_before). C is null in the first step.
template <class Size, class T>
NEURALINV_INLINE void step_forward(Size size, const T* __restrict L, const T* __restrict C, const T* b,
                                   const T* x_before, T* x) {
    const int n = size.n();
    if constexpr (Size::fixed) {  // the vector stays in registers
        constexpr int m = Size{}.n();
        T s[m];
        static_for<0, m>([&](auto i) NEURALINV_LAMBDA { s[decltype(i)::value] = b[decltype(i)::value]; });
        if (C)
            static_for<0, m>([&](auto k_) NEURALINV_LAMBDA {
                constexpr int k = decltype(k_)::value;
                const T value = x_before[k];
                static_for<0, m>(
                    [&](auto i) NEURALINV_LAMBDA { s[decltype(i)::value] -= C[decltype(i)::value * m + k] * value; });
            });
        static_for<0, m>([&](auto k_) NEURALINV_LAMBDA {
            constexpr int k = decltype(k_)::value;
            // The quotient of ones does not depend on x: it is ready when s[k] is.
            const T value = s[k] * (T(1) / L[k * m + k]);
            x[k] = value;
            static_for<k + 1, m>(
                [&](auto i) NEURALINV_LAMBDA { s[decltype(i)::value] -= L[decltype(i)::value * m + k] * value; });
        });
    } else {
        int i = 0;
        for (; i + piece<T> <= n; i += piece<T>) {
            RowSums<T> sums;
            if (C) sums.add(C + i * n, n, x_before, n);
            sums.add(L + i * n, n, x, i);
            const Piece<T> totals = sums.totals();
            for (int r = i; r < i + piece<T>; ++r) {
                T value = b[r] - totals[r - i];
                for (int k = i; k < r; ++k) value -= L[r * n + k] * x[k];
                x[r] = value * (T(1) / L[r * n + r]);
            }
        }
        for (; i < n; ++i) {
            T value = b[i];
            if (C)
                for (int k = 0; k < n; ++k) value -= C[i * n + k] * x_before[k];
            for (int k = 0; k < i; ++k) value -= L[i * n + k] * x[k];
            x[i] = value * (T(1) / L[i * n + i]);
        }
    }
}

// One step of Fᵀ x = b for one right-hand side: x = L⁻ᵀ (b − Cᵀ x_after). C is null in the last step.
template <class Size, class T>
NEURALINV_INLINE void step_backward(Size size, const T* __restrict L, const T* __restrict C, const T* b,
                                    const T* x_after, T* __restrict x) {
    const int n = size.n();
    if constexpr (Size::fixed) {  // the vector stays in registers
        constexpr int m = Size{}.n();
        T s[m];
        static_for<0, m>([&](auto i) NEURALINV_LAMBDA { s[decltype(i)::value] = b[decltype(i)::value]; });
        if (C)
            static_for<0, m>([&](auto k_) NEURALINV_LAMBDA {
                constexpr int k = decltype(k_)::value;
                const T value = x_after[k];
                static_for<0, m>(
                    [&](auto i) NEURALINV_LAMBDA { s[decltype(i)::value] -= C[k * m + decltype(i)::value] * value; });
            });
        static_for<0, m>([&](auto step) NEURALINV_LAMBDA {
            constexpr int k = m - 1 - decltype(step)::value;
            const T value = s[k] * (T(1) / L[k * m + k]);
            x[k] = value;
            static_for<0, k>(
                [&](auto i) NEURALINV_LAMBDA { s[decltype(i)::value] -= L[k * m + decltype(i)::value] * value; });
        });
    } else {
        for (int i = 0; i < n; ++i) x[i] = b[i];
        if (C) {
            int k = 0;
            for (; k + piece<T> <= n; k += piece<T>) subtract_rows<piece<T>>(x, C + k * n, n, x_after + k, n);
            for (; k < n; ++k) subtract_rows<1>(x, C + k * n, n, x_after + k, n);
        }
        int end = n;
        for (; end % piece<T> != 0; --end) {
            const T value = x[end - 1] *= T(1) / L[(end - 1) * n + end - 1];
            subtract_rows<1>(x, L + (end - 1) * n, n, &value, end - 1);
        }
        for (; end > 0; end -= piece<T>) {
            const int begin = end - piece<T>;
            T values[piece<T>];
            for (int k = end - 1; k >= begin; --k) {
                T value = x[k];
                for (int r = k + 1; r < end; ++r) value -= L[r * n + k] * values[r - begin];
                values[k - begin] = x[k] = value * (T(1) / L[k * n + k]);
            }
            subtract_rows<piece<T>>(x, L + begin * n, n, values, begin);
        }
    }
}

// target −= s · source for rows of k right-hand sides.
template <class T>
NEURALINV_INLINE void subtract_row(T* __restrict target, const T* __restrict source, T s, std::int64_t k) {
    for (std::int64_t r = 0; r < k; ++r) target[r] -= s * source[r];
}

template <class T>
NEURALINV_INLINE void divide_row(T* target, T divisor, std::int64_t k) {
    for (std::int64_t r = 0; r < k; ++r) target[r] /= divisor;
}

// The same two steps for k right-hand sides, which fill the vectors.
template <class Size, class T>
NEURALINV_INLINE void step_forward(Size size, std::int64_t k, const T* L, const T* C, const T* b, const T* x_before,
                                   T* x) {
    const int n = size.n();
    for (std::int64_t e = 0; e < n * k; ++e) x[e] = b[e];
    for (int i = 0; i < n; ++i) {
        if (C)
            for (int m = 0; m < n; ++m) subtract_row(x + i * k, x_before + m * k, C[i * n + m], k);
        for (int m = 0; m < i; ++m) subtract_row(x + i * k, x + m * k, L[i * n + m], k);
        divide_row(x + i * k, L[i * n + i], k);
    }
}

template <class Size, class T>
NEURALINV_INLINE void step_backward(Size size, std::int64_t k, const T* L, const T* C, const T* b, const T* x_after,
                                    T* x) {
    const int n = size.n();
    for (std::int64_t e = 0; e < n * k; ++e) x[e] = b[e];
    for (int i = n - 1; i >= 0; --i) {
        if (C)
            for (int m = 0; m < n; ++m) subtract_row(x + i * k, x_after + m * k, C[m * n + i], k);
        for (int m = i + 1; m < n; ++m) subtract_row(x + i * k, x + m * k, L[m * n + i], k);
        divide_row(x + i * k, L[i * n + i], k);
    }
}

// One step of F x = b, or of Fᵀ x = b. b, x: (steps, n, k); x may be b.
template <class Size, class T>
NEURALINV_INLINE void solve_step(Size size, std::int64_t steps, std::int64_t k, bool transposed, std::int64_t t,
                                 const T* L, const T* C, const T* b, T* x) {
    const std::int64_t entries = size.n() * k, block = size.block();
    const bool first = t == (transposed ? steps - 1 : 0);
    const T* const l = L + t * block;
    const T* const c = first ? nullptr : C + (transposed ? t : t - 1) * block;
    const T* const neighbour = x + (transposed ? t + 1 : t - 1) * entries;
    const T* const rhs = b + t * entries;
    T* const result = x + t * entries;
    if (k == 1)
        transposed ? step_backward(size, l, c, rhs, neighbour, result)
                   : step_forward(size, l, c, rhs, neighbour, result);
    else
        transposed ? step_backward(size, k, l, c, rhs, neighbour, result)
                   : step_forward(size, k, l, c, rhs, neighbour, result);
}

// All steps of F x = b, or of Fᵀ x = b.
template <class Size, class T>
inline void solve_sequence(Size size, std::int64_t steps, std::int64_t k, bool transposed, const T* L, const T* C,
                           const T* b, T* x) {
    for (std::int64_t step = 0; step < steps; ++step)
        solve_step(size, steps, k, transposed, transposed ? steps - 1 - step : step, L, C, b, x);
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

    // l: L_t; c: C_t, null in the last step.
    NEURALINV_INLINE void step(const T* l, const T* c) {
        const int n = size.n(), stride = size.stride();
        reciprocals(size, l, reciprocal);
        clear(size, inner);
        for (int j = 0; j < n; ++j) inner[j * stride + j] = T(1);
        if (c) {
            clear(size, negative);
            add_product<1>(size, negative, sigma, c, n, 1);
            load_rows(size, c, rows);
            add_product<1>(size, inner, rows, negative, 1, stride);
            solve_from_right(size, negative, l, reciprocal);
        }
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
