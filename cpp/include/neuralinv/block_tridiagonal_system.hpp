// The system M x = b and log det M in one pass over a sequence, and the gradients of both: less than factor, solves and
// their reverse passes one by one, for the gradient needs blocks of the inverse instead of gradients of the factor.
#pragma once

#include "block_tridiagonal_solve.hpp"

namespace neuralinv::NEURALINV_TARGET {

// Factor M, and solve M x = b. b, x: (steps, n, k), not the same; k may be 0. Returns what `factor_sequence` does.
template <class Size, class T>
inline std::int64_t solve_system_sequence(Size size, std::int64_t steps, std::int64_t k, const T* D, const T* B,
                                          const T* b, T* L, T* C, T* x, T* scratch) {
    const bool along = ride_along(size, k);
    std::int64_t status = factor_quickly(size, steps, D, B, L, C, scratch, along ? int(k) : 0, b, x);
    const bool again = status == extreme_pivot;
    if (__builtin_expect(again, 0)) status = factor_carefully(size.n(), steps, D, B, L, C, scratch);
    if (status != 0 || k == 0) return status;
    if (!along || again) solve_sequence(size, steps, k, false, L, C, b, x);
    solve_sequence(size, steps, k, true, L, C, x, x);
    return 0;
}

// Columns of k right-hand sides (n, k) as padded vectors, `stride` apart.
template <class Size, class T>
NEURALINV_INLINE void load_padded(Size size, std::int64_t k, const T* source, T* target) {
    for (std::int64_t r = 0; r < k; ++r)
        for (int i = 0; i < size.n(); ++i) target[r * size.stride() + i] = source[i * k + r];
}

// block ← factor · block − weight · Σ_r (a_r b_rᵀ + c_r d_rᵀ), for vectors as `load_padded` leaves them. Products are
// rounded apart from sums: a symmetric block stays symmetric where (c, d) = (b, a).
template <class Size, class T>
NEURALINV_INLINE void subtract_outer(Size size, std::int64_t k, T* block, T factor, T weight, const T* a, const T* b,
                                     const T* c, const T* d) {
    const int stride = size.stride();
    for (int j = 0; j < size.n(); ++j)
        for (int row = 0; row < stride; row += lanes<T>) {
            Vector<T> sum{};
            for (std::int64_t r = 0; r < k; ++r) {
                const T* const at = b + r * stride;
                sum = sum + (rounded(load<T>(a + r * stride + row) * broadcast<T>(at[j])) +
                             rounded(load<T>(c + r * stride + row) * broadcast<T>((d + r * stride)[j])));
            }
            T* const entries = block + j * stride + row;
            store<T>(load<T>(entries) * broadcast<T>(factor) - sum * broadcast<T>(weight), entries);
        }
}

// D̄, B̄ and b̄ from gradients of x and of log det M, of which either may be null (x̄ where k is 0); D̄ may be null.
//
//     dx = M⁻¹ (db − dM x),   d log det M = tr(M⁻¹ dM).
// With w = b̄ = M⁻¹ x̄, g the gradient of log det M, and Σ = M⁻¹:
//     D̄_t = g Σ_tt − ½ (w_t x_tᵀ + x_t w_tᵀ)      B̄_t = 2 g Σ_{t+1,t} − w_{t+1} x_tᵀ − x_{t+1} w_tᵀ
// (D̄_t symmetric; B_t stands in M twice). scratch: `system_scratch_entries`.
template <class Size, class T>
inline void solve_system_sequence_rev(Size size, std::int64_t steps, std::int64_t k, const T* L, const T* C, const T* x,
                                      const T* x_bar, const T* log_bar, T* D_bar, T* B_bar, T* b_bar, T* scratch) {
    if (k > 0) solve_sequence(size, steps, k, false, L, C, x_bar, b_bar);
    InverseRecursion<Size, T> recursion(size, scratch);
    const std::int64_t padded = k * size.stride(), rhs = size.n() * k;
    T* w = scratch + scratch_entries(size);
    T* w_after = w + padded;
    T* v = w_after + padded;  // of x
    T* v_after = v + padded;
    for (std::int64_t at = 0; at < 4 * padded; at += lanes<T>) store<T>(Vector<T>{}, w + at);
    const T gradient = log_bar ? *log_bar : T(0);
    for (std::int64_t t = steps - 1; t >= 0; --t) {
        const bool last = t + 1 == steps;
        const std::int64_t at = t * size.block();
        if (k > 0) solve_step(size, steps, k, true, t, L, C, b_bar, b_bar);
        if (!D_bar) continue;
        if (log_bar) {
            recursion.step(L + at, last ? nullptr : C + at);
        } else {
            clear(size, recursion.inner);
            clear(size, recursion.negative);
        }
        load_padded(size, k, b_bar + t * rhs, w);
        load_padded(size, k, x + t * rhs, v);
        // Σ_tt is still needed: D̄_t is made in `inner`, which the next step fills anew.
        T* const diagonal = recursion.inner;
        if (log_bar)
            for (std::int64_t e = 0; e < size.padded(); e += lanes<T>) store<T>(load<T>(recursion.sigma + e), diagonal + e);
        subtract_outer(size, k, diagonal, gradient, T(0.5), w, v, v, w);
        store_rows(size, diagonal, D_bar + at);
        if (!last) {
            subtract_outer(size, k, recursion.negative, T(-2) * gradient, T(1), w_after, v, v_after, w);
            store_columns(size, recursion.negative, B_bar + at);
        }
        T* const swap = w;
        w = w_after;
        w_after = swap;
        T* const other = v;
        v = v_after;
        v_after = other;
    }
}

template <class Size>
inline std::int64_t system_scratch_entries(Size size, std::int64_t k) {
    return scratch_entries(size) + 4 * k * size.stride();
}

}  // namespace neuralinv::NEURALINV_TARGET
