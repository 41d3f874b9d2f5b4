// The Cholesky factor of block_tridiagonal.hpp for blocks so small that a step stays in scalar registers, and F y = b on
// the way.
//
// With d_k the pivots, r_k = 1/d_k and columns l, c before they are divided by the roots √d_k,
//     l[:, j] = S[:, j] − Σ_{k<j} l[:, k] (l[j, k] r_k),   c[:, j] = B[:, j] − Σ_{k<j} c[:, k] (l[j, k] r_k),
//     C Cᵀ = Σ_k c[:, k] c[:, k]ᵀ r_k:
// the next step waits for reciprocals alone. Roots, and what is stored, are off that chain, and so is the test of the
// pivots: one for each step. A right-hand side is one more row of l below the diagonal.
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

// What the factorisations return for a pivot whose reciprocal leaves the range of normal numbers.
inline constexpr std::int64_t extreme_pivot = -1;

template <class T>
NEURALINV_INLINE bool is_extreme(T pivot) {
    return !(pivot >= Traits<T>::smallest_normal && pivot <= 1 / Traits<T>::smallest_normal);
}

template <class T>
NEURALINV_INLINE bool is_positive_and_finite(T pivot) {
    return pivot > 0 && pivot - pivot == 0;  // infinity minus itself is not a number
}

// Measured up to here, with AVX-512: a quarter to a half of the time that `factor_steps` takes.
inline constexpr int largest_in_registers = 5;

// Arguments and result are those of `factor_steps`, with one right-hand side (with_rhs) or none.
template <int n, bool with_rhs, class T>
__attribute__((noinline)) std::int64_t factor_in_registers(std::int64_t steps, const T* D, const T* B, T* L, T* C,
                                                           const T* b, T* y) {
    constexpr int rows = with_rhs ? n + 1 : n;  // of l
    T taken[rows][n] = {};                      // C_{t−1} C_{t−1}ᵀ, and (C_{t−1} y_{t−1})ᵀ
    for (std::int64_t t = 0; t < steps; ++t) {
        const bool last = t + 1 == steps;
        const T* const below = last ? D : B + t * n * n;  // of the last step nobody wants c
        T l[rows][n], c[n][n], reciprocal[n];
        static_for<0, n>([&](auto i_) NEURALINV_LAMBDA {
            constexpr int i = decltype(i_)::value;
            static_for<0, i + 1>([&](auto j_) NEURALINV_LAMBDA {
                constexpr int j = decltype(j_)::value;
                l[i][j] = D[(t * n + i) * n + j] - taken[i][j];
            });
            static_for<0, n>([&](auto j_) NEURALINV_LAMBDA {
                constexpr int j = decltype(j_)::value;
                c[i][j] = below[i * n + j];
            });
            if constexpr (with_rhs) l[n][i] = b[t * n + i] - taken[n][i];
        });
        bool extreme = false;
        static_for<0, n>([&](auto j_) NEURALINV_LAMBDA {
            constexpr int j = decltype(j_)::value;
            extreme |= is_extreme(l[j][j]);
            reciprocal[j] = 1 / l[j][j];
            static_for<j + 1, n>([&](auto k_) NEURALINV_LAMBDA {
                constexpr int k = decltype(k_)::value;
                const T factor = l[k][j] * reciprocal[j];
                static_for<k, rows>([&](auto i_) NEURALINV_LAMBDA {
                    l[decltype(i_)::value][k] -= l[decltype(i_)::value][j] * factor;
                });
                static_for<0, n>([&](auto i_) NEURALINV_LAMBDA {
                    c[decltype(i_)::value][k] -= c[decltype(i_)::value][j] * factor;
                });
            });
        });
        if (__builtin_expect(extreme, 0))
            for (int j = 0; j < n; ++j) {
                if (!is_positive_and_finite(l[j][j])) return t * n + j + 1;
                if (is_extreme(l[j][j])) return extreme_pivot;
            }
        static_for<0, n>([&](auto i_) NEURALINV_LAMBDA {
            constexpr int i = decltype(i_)::value;
            static_for<i, rows>([&](auto row_) NEURALINV_LAMBDA {
                constexpr int row = decltype(row_)::value;
                T sum = 0;
                static_for<0, n>([&](auto k_) NEURALINV_LAMBDA {
                    constexpr int k = decltype(k_)::value;
                    const T scaled = c[i][k] * reciprocal[k];
                    if constexpr (row < n)
                        sum += c[row][k] * scaled;
                    else
                        sum += l[n][k] * scaled;
                });
                taken[row][i] = sum;
            });
        });
        static_for<0, n>([&](auto j_) NEURALINV_LAMBDA {
            constexpr int j = decltype(j_)::value;
            const T root = square_root(l[j][j]), scale = root * reciprocal[j];
            static_for<0, n>([&](auto i_) NEURALINV_LAMBDA {
                constexpr int i = decltype(i_)::value;
                T* const entry = L + (t * n + i) * n + j;
                if constexpr (i < j)
                    *entry = T(0);
                else if constexpr (i == j)
                    *entry = root;
                else
                    *entry = l[i][j] * scale;
                if (!last) C[(t * n + i) * n + j] = c[i][j] * scale;
            });
            if constexpr (with_rhs) y[t * n + j] = l[n][j] * scale;
        });
    }
    return 0;
}

}  // namespace neuralinv::NEURALINV_TARGET
