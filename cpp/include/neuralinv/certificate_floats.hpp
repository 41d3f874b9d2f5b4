// A first look at inverses of floats for n = 6 to 8, in floats, a matrix in each lane: most of them need no more, and it takes a
// third of the time of error_bounds.hpp, whose residuals are doubles.
//
// The columns of A are a_k, the rows of X x_k. R̂ = S_n is what the recurrence S_k = fl(S_{k−1} − a_k x_k), S_0 = I leaves, where
// each entry is rounded once (fused): off by at most u |S_k|, u = 2⁻²⁴. Hence
//
//     ‖I − A X‖_F ≤ ‖R̂‖_F + e,    e = u Σ_k ‖S_k‖_F,    k = 1..n.
//
// S_k is not looked at. With w_k = ‖a_k‖ ‖x_k‖ = ‖a_k x_k‖_F, both of
//
//     ‖S_k‖_F ≤ √n + w_1 + … + w_k + e    and    ‖S_k‖_F ≤ ‖R̂‖_F + w_{k+1} + … + w_n + e
//
// hold: the former serves for k ≤ p = ⌊(n − 1)/2⌋, the latter for the others, w_k counts c_k = |k − p − 1| times, and solved
// for e,
//
//     ‖I − A X‖_F ≤ ρ = ((1 − p u) ‖R̂‖_F + u (Σ_k c_k w_k + p √n)) / (1 − n u) + 2⁻⁵⁰.
//
// It is far below γ_{n+2} ‖A‖_F ‖X‖_F: few roundings are as large as that. Without fused operations, every product is
// rounded, too: by u w_k, so that c_k is one more.
//
// 2⁻⁵⁰ makes up for whatever underflows or is read as zero for being denormal: squares below 2⁻¹²⁶ missing from ‖R̂‖_F,
// denormal entries of A times ‖x_k‖ < 2⁶⁴, and of X times ‖a_k‖, are n² 2⁻⁶² at most. Norms that overflow make ρ infinite or
// no number; where the squares in ‖a_k‖² or ‖x_k‖² underflow, 2⁻⁹⁰ takes their place, and loses less than 2⁻³⁰ of itself.
#pragma once

#include "error_bounds.hpp"

namespace neuralinv::NEURALINV_TARGET {

// sum − x y, rounded once if `fuses`.
#if NEURALINV_VECTOR_BYTES == 64
inline constexpr bool fuses = true;
NEURALINV_INLINE Vector<float> subtract_product(Vector<float> sum, Vector<float> x, Vector<float> y) {
    return Vector<float>(_mm512_fnmadd_ps(x, y, sum));
}
#elif NEURALINV_VECTOR_BYTES == 32
inline constexpr bool fuses = true;
NEURALINV_INLINE Vector<float> subtract_product(Vector<float> sum, Vector<float> x, Vector<float> y) {
    return Vector<float>(_mm256_fnmadd_ps(x, y, sum));
}
#else
inline constexpr bool fuses = false;
NEURALINV_INLINE Vector<float> subtract_product(Vector<float> sum, Vector<float> x, Vector<float> y) { return sum - x * y; }
#endif

// √x for x ≥ 2⁻¹²⁶ or, where that is cheaper, at most 2⁻¹² of it more.
NEURALINV_INLINE Vector<float> root_above(Vector<float> x) {
#if NEURALINV_VECTOR_BYTES == 64
    return x * Vector<float>(_mm512_rsqrt14_ps(x)) * (1 + 0x1p-13f);
#elif NEURALINV_VECTOR_BYTES == 32
    return Vector<float>(_mm256_sqrt_ps(__m256(x)));
#else
    for (int lane = 0; lane < lanes<float>; ++lane) x[lane] = __builtin_sqrtf(x[lane]);
    return x;
#endif
}

// Rows and columns of R̂ formed at once: as many as registers hold. The blocks share their code, as far as they are of one shape.
template <int n>
inline constexpr int block_rows = n < 7 ? 3 : 4;
template <int n>
inline constexpr int block_columns = n < 8 ? n : 4;

// Adds the squares of rows i.., columns j.. of R̂ to `squares`: (2). Rows of A from i on; columns of X from j on.
template <int n, int rows, int columns>
NEURALINV_INLINE void residual_block_in_floats(const Vector<float>* a, const Vector<float>* x, int i, int j,
                                               Vector<float>* squares) {
    Vector<float> s[rows * columns];
    static_for<0, rows * columns>([&](auto e_) NEURALINV_LAMBDA {
        constexpr int e = decltype(e_)::value, row = e / columns, column = e % columns;
        s[e] = broadcast<float>(float(i + row == j + column));
    });
    const Vector<float>*left = a + i * n, *right = x + j;
    // A loop: with the elimination, straight-line code would not fit the processor's cache for instructions, and that costs more
    // than the arithmetic.
#pragma GCC unroll 1
    for (int k = 0; k < n; ++k)
        static_for<0, rows * columns>([&](auto e_) NEURALINV_LAMBDA {
            constexpr int e = decltype(e_)::value, row = e / columns, column = e % columns;
            s[e] = subtract_product(s[e], left[row * n + k], right[k * n + column]);
        });
    static_for<0, rows * columns>([&](auto e_) NEURALINV_LAMBDA {
        constexpr int e = decltype(e_)::value;
        squares[e % 2] += s[e] * s[e];
    });
}

// ρ of the inverses x: (n, n) of a: (n, n); what is not a number or not below 1 proves nothing.
template <int n>
NEURALINV_INLINE Vector<float> bound_in_floats(const Vector<float>* a, const Vector<float>* x) {
    constexpr int p = (n - 1) / 2;
    constexpr float u = 0x1p-24f, lost = 0x1p-50f, least = 0x1p-90f;
    const float root = float(__builtin_sqrt(double(n)));
    Vector<float> squares[2] = {}, weighted{};
    constexpr int rows = block_rows<n>, columns = block_columns<n>;
    for (int i = 0; i + rows <= n; i += rows)
        for (int j = 0; j < n; j += columns) residual_block_in_floats<n, rows, columns>(a, x, i, j, squares);
    constexpr int left = n % rows;
    if constexpr (left > 0)
        for (int j = 0; j < n; j += columns) residual_block_in_floats<n, left, columns>(a, x, n - left, j, squares);
#pragma GCC unroll 1
    for (int k = 0; k < n; ++k) {
        Vector<float> column = a[k] * a[k], row = x[k * n] * x[k * n];
        static_for<1, n>([&](auto i_) NEURALINV_LAMBDA {
            constexpr int i = decltype(i_)::value;
            column += a[i * n + k] * a[i * n + k];
            row += x[k * n + i] * x[k * n + i];
        });
        const int count = (k < p ? p - k : k - p) + (fuses ? 0 : 1);
        // The larger as `larger` has it: what is not a number stays.
        weighted += float(count) * root_above(larger(broadcast(least), column) * larger(broadcast(least), row));
    }
    constexpr float up = 1 + 4 * (n * n + 64) * u;  // for the roundings of everything here, and 1 / (1 − n u)
    const Vector<float> residual = root_above(larger(broadcast(0x1p-120f), squares[0] + squares[1]));
    return (residual + u * weighted + (u * p * root + lost)) * up;
}

}  // namespace neuralinv::NEURALINV_TARGET
