// Reverse passes of block_tridiagonal.hpp: from gradients of results to gradients of what they were computed from, given
// the results. A bar over a name marks the gradient of some scalar with respect to it.
#pragma once

#include "block_tridiagonal.hpp"

namespace neuralinv::NEURALINV_TARGET {

// D̄, B̄ from L̄, C̄, and the factor L, C. D̄_t is symmetric, as torch.linalg.cholesky has it: ½ (∂/∂D_ij + ∂/∂D_ji) of the
// function of the symmetric matrix. Of L̄_t the lower triangle is read.
//
// Backwards over t, with S_t = D_t − C_{t−1} C_{t−1}ᵀ = L_t L_tᵀ and S̄ symmetric:
//
// 1. S_{t+1} holds C_t:  dS = −dC Cᵀ − C dCᵀ, hence C̄_t ← C̄_t − 2 S̄_{t+1} C_t.
// 2. C_t L_tᵀ = B_t:     dC = (dB − C dLᵀ) L⁻ᵀ, hence B̄_t = C̄_t L_t⁻¹ and L̄_t ← L̄_t − B̄_tᵀ C_t.
// 3. L_t = chol(S_t):    dL = L Φ(L⁻¹ dS L⁻ᵀ), where Φ takes the lower triangle and half of the diagonal, hence
//                        S̄_t = ½ L_t⁻ᵀ (P + Pᵀ) L_t⁻¹ with P = Φ(L_tᵀ L̄_t)   (Murray 2016, arXiv:1602.07527).
// 4. D̄_t = S̄_t.
//
// What multiplies from the left runs over rows in the vectors instead of columns: L̄ and P are held transposed, where
// (L̄_t)ᵀ loses C_tᵀ B̄_t, and Pᵀ = (L̄_t)ᵀ L_t.
template <class Size, class T>
inline void factor_sequence_rev(Size size, std::int64_t steps, const T* L, const T* C, const T* L_bar, const T* C_bar,
                                T* D_bar, T* B_bar, T* scratch) {
    const int n = size.n(), stride = size.stride();
    T* const s_bar = scratch;                      // S̄_{t+1}, times −2
    T* const b_bar = s_bar + size.padded();        // C̄_t, then B̄_t
    T* const l_bar = b_bar + size.padded();        // (L̄_t)ᵀ
    T* const rows = l_bar + size.padded();         // C_tᵀ
    T* const p = rows + size.padded();             // Pᵀ
    T* const reciprocal = p + size.padded();
    clear(size, s_bar);
    clear(size, b_bar);
    clear(size, l_bar);
    clear(size, rows);
    clear(size, p);
    for (std::int64_t t = steps - 1; t >= 0; --t) {
        const T* const l = L + t * size.block();
        reciprocals(size, l, reciprocal);
        load_rows(size, L_bar + t * size.block(), l_bar);
        if (t + 1 < steps) {
            const T* const c = C + t * size.block();
            load_columns(size, C_bar + t * size.block(), b_bar);
            add_product<1>(size, b_bar, s_bar, c, n, 1);
            solve_from_right(size, b_bar, l, reciprocal);
            store_columns(size, b_bar, B_bar + t * size.block());
            load_rows(size, c, rows);
            add_product<-1>(size, l_bar, rows, b_bar, 1, stride);
        }
        multiply_triangle(size, p, l_bar, l);
        // Column i of Pᵀ is row i of P: its entries j ≤ i count, and with ½ (Φ(P) + Φ(P)ᵀ) each of them half.
        symmetric_from_rows(size, p, T(0.5), s_bar, l_bar);
        solve_from_both_sides(size, s_bar, l, reciprocal, p);
        store_rows(size, s_bar, D_bar + t * size.block());
        for (int j = 0; j < n; ++j) scale_column(size, s_bar, j, T(-2));
    }
}

// target[0..count-1] = factor · source, and perhaps more up to n: V by V, the last of them moved back to fit.
template <class V, class T>
NEURALINV_INLINE void scaled_row(int n, int count, T factor, const T* source, T* target) {
    constexpr int width = int(sizeof(V) / sizeof(T));
    for (int j = 0; j < count; j += width) {
        const int at = j + width <= n ? j : n - width;
        V v;
        __builtin_memcpy(&v, source + at, sizeof(v));
        v = v * factor;
        __builtin_memcpy(target + at, &v, sizeof(v));
    }
}

// L̄ and C̄ from the solution of F x = b (or Fᵀ x = b) and from b̄, which is itself a solution: Fᵀ b̄ = x̄ (or F b̄ = x̄).
//
// F dx = db − dF x gives F̄ = −b̄ xᵀ on the blocks of F; transposed, F̄ = −x b̄ᵀ. So with (u, v) = (b̄, x) or (x, b̄):
//     L̄_t = −tril(u_t v_tᵀ)      C̄_t = −u_{t+1} v_tᵀ.
// u, v: (steps, n, k). scratch: n·k entries.
template <class Size, class T>
inline void solve_sequence_rev(Size size, std::int64_t steps, std::int64_t k, const T* u, const T* v, T* L_bar,
                               T* C_bar, T* scratch) {
    const int n = size.n();
    const std::int64_t entries = n * k;
    // A row of a block: its first `count` entries are −Σ_r left[r] right[:, r], with right given as (k, n), the rest 0.
    const auto outer = [&](T* target, const T* left, const T* right, int count) NEURALINV_LAMBDA {
        if (k == 1 && n >= lanes<T>) {
            scaled_row<Vector<T>>(n, count, -left[0], right, target);
        } else if (k == 1 && n >= piece<T>) {
            scaled_row<Piece<T>>(n, count, -left[0], right, target);
        } else {
            for (int i = 0; i < count; ++i) target[i] = T(0);
            for (std::int64_t r = 0; r < k; ++r)
                for (int i = 0; i < count; ++i) target[i] -= left[r] * right[r * n + i];
        }
        for (int rest = count; rest < n; ++rest) target[rest] = T(0);
    };
    for (std::int64_t t = 0; t < steps; ++t) {
        const T* v_t = v + t * entries;
        if (k > 1) {
            for (int j = 0; j < n; ++j)
                for (std::int64_t r = 0; r < k; ++r) scratch[r * n + j] = v_t[j * k + r];
            v_t = scratch;
        }
        for (int i = 0; i < n; ++i) outer(L_bar + t * size.block() + i * n, u + t * entries + i * k, v_t, i + 1);
        if (t + 1 < steps)
            for (int i = 0; i < n; ++i)
                outer(C_bar + t * size.block() + i * n, u + (t + 1) * entries + i * k, v_t, n);
    }
}

}  // namespace neuralinv::NEURALINV_TARGET
