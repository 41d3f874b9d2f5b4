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

// Gradients of D and B, a step after another from the last to the first, as `InverseRecursion` goes.
//
//     dx = M⁻¹ (db − dM x),   d log det M = tr(M⁻¹ dM).
// With w = b̄ = M⁻¹ x̄, g the gradient of log det M, and Σ = M⁻¹:
//     D̄_t = g Σ_tt − ½ (w_t x_tᵀ + x_t w_tᵀ)      B̄_t = 2 g Σ_{t+1,t} − w_{t+1} x_tᵀ − x_{t+1} w_tᵀ
// (D̄_t symmetric; B_t stands in M twice).
template <class Size, class T>
struct SystemGradient {
    InverseRecursion<Size, T> recursion;
    const std::int64_t k;
    const T gradient;
    const bool of_logarithm;
    T* w;
    T* w_after;
    T* v;  // of x
    T* v_after;

    // scratch: `system_scratch_entries`. log_bar may be null.
    NEURALINV_INLINE SystemGradient(Size size, std::int64_t k_, const T* log_bar, T* scratch)
        : recursion(size, scratch), k(k_), gradient(log_bar ? *log_bar : T(0)), of_logarithm(log_bar),
          w(scratch + scratch_entries(size)), w_after(w + k * size.stride()), v(w_after + k * size.stride()),
          v_after(v + k * size.stride()) {
        for (std::int64_t at = 0; at < 4 * k * size.stride(); at += lanes<T>) store<T>(Vector<T>{}, w + at);
    }

    // C and B_bar are null in the first call; D_bar may be. Mirrored: of a sequence that is walked against its order, so
    // that B_tᵀ stands for B_t.
    NEURALINV_INLINE void step(bool mirrored, const T* L, const T* C, const T* w_here, const T* x_here, T* D_bar,
                               T* B_bar) {
        if constexpr (Size::fixed)
            step_inline(mirrored, L, C, w_here, x_here, D_bar, B_bar);
        else
            step_apart(mirrored, L, C, w_here, x_here, D_bar, B_bar);
    }

   private:
    __attribute__((noinline)) void step_apart(bool mirrored, const T* L, const T* C, const T* w_here, const T* x_here,
                                              T* D_bar, T* B_bar) {
        step_inline(mirrored, L, C, w_here, x_here, D_bar, B_bar);
    }

    NEURALINV_INLINE void step_inline(bool mirrored, const T* L, const T* C, const T* w_here, const T* x_here, T* D_bar,
                                      T* B_bar) {
        const Size size = recursion.size;
        if (of_logarithm) {
            recursion.step_inline(L, C);
        } else {
            clear(size, recursion.inner);
            clear(size, recursion.negative);
        }
        load_padded(size, k, w_here, w);
        load_padded(size, k, x_here, v);
        if (D_bar) {
            // Σ_tt is still needed: D̄_t is made in `inner`, which the next step fills anew.
            T* const diagonal = recursion.inner;
            if (of_logarithm)
                for (std::int64_t e = 0; e < size.padded(); e += lanes<T>)
                    store<T>(load<T>(recursion.sigma + e), diagonal + e);
            subtract_outer(size, k, diagonal, gradient, T(0.5), w, v, v, w);
            store_rows(size, diagonal, D_bar);
        }
        if (B_bar) {
            subtract_outer(size, k, recursion.negative, T(-2) * gradient, T(1), w_after, v, v_after, w);
            mirrored ? store_rows(size, recursion.negative, B_bar) : store_columns(size, recursion.negative, B_bar);
        }
        swap(w, w_after);
        swap(v, v_after);
    }

    NEURALINV_INLINE static void swap(T*& a, T*& b) {
        T* const kept = a;
        a = b;
        b = kept;
    }
};

// D̄, B̄ and b̄ from gradients of x and of log det M, of which either may be null (x̄ where k is 0); D̄ may be null.
template <class Size, class T>
inline void solve_system_sequence_rev(Size size, std::int64_t steps, std::int64_t k, const T* L, const T* C, const T* x,
                                      const T* x_bar, const T* log_bar, T* D_bar, T* B_bar, T* b_bar, T* scratch) {
    if (k > 0) solve_sequence(size, steps, k, false, L, C, x_bar, b_bar);
    SystemGradient<Size, T> gradients(size, k, log_bar, scratch);
    const std::int64_t rhs = size.n() * k;
    for (std::int64_t t = steps - 1; t >= 0; --t) {
        const bool last = t + 1 == steps;
        const std::int64_t at = t * size.block();
        if (k > 0) solve_step(size, steps, k, true, t, L, C, b_bar, b_bar);
        if (D_bar)
            gradients.step(false, L + at, last ? nullptr : C + at, b_bar + t * rhs, x + t * rhs, D_bar + at,
                           last ? nullptr : B_bar + at);
    }
}

template <class Size>
inline std::int64_t system_scratch_entries(Size size, std::int64_t k) {
    return scratch_entries(size) + 4 * k * size.stride();
}

}  // namespace neuralinv::NEURALINV_TARGET
