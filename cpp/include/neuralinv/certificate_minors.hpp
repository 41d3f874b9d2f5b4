// Inverses of floats for n = 4 and 5 by minors in doubles, a matrix in each lane, and how far they are off.
//
// Let α be the largest magnitude of an entry and u = 2⁻⁵³. Products of two entries are exact: minors of two rows are rounded once,
// and are 2 α² at most. Everything else is a sum of products of these, so that its error is bounded by its number of roundings
// one inside the other, times the sum of the magnitudes of what is added up:
//
//           cofactors, all together in norm      determinant
//     n = 4     4 · γ_4 · 6 α³                       γ_8 · 24 α⁴
//     n = 5     5 · γ_7 · 24 α⁴                      γ_12 · 120 α⁵
//
// With r = 1 / |det| as computed and the largest entry x of X, for which ‖A⁻¹‖_F ≥ x (1 − 2⁻¹²), the relative error of X, before it
// is rounded to floats, is at most
//
//     u r α³ (193 α + 97 / x)   or   u r α⁴ (1441 α + 841 / x)
//
// and 2 u for the reciprocal and the product with it. Constants 15 % larger make up for roundings and products of errors,
// where the sum is below 2⁻¹³.
#pragma once

#include "simd.hpp"

namespace neuralinv::NEURALINV_TARGET {

// One half of the lanes of 4×4 matrices: x, inverses of a, not yet rounded. Returns 1 / |det|.
NEURALINV_INLINE Vector<double> invert_by_minors(Index<4>, const Vector<double>* a, Vector<double>* x) {
    // Columns 0 1, 0 2, 0 3, 1 2, 1 3, 2 3 of rows 0, 1 and of rows 2, 3.
    Vector<double> s[6], c[6];
    constexpr int first[] = {0, 0, 0, 1, 1, 2}, second[] = {1, 2, 3, 2, 3, 3};
    static_for<0, 6>([&](auto m_) NEURALINV_LAMBDA {
        constexpr int m = decltype(m_)::value, i = first[m], j = second[m];
        s[m] = a[i] * a[4 + j] - a[4 + i] * a[j];
        c[m] = a[8 + i] * a[12 + j] - a[12 + i] * a[8 + j];
    });
    const Vector<double> determinant = s[0] * c[5] - s[1] * c[4] + s[2] * c[3] + s[3] * c[2] - s[4] * c[1] + s[5] * c[0];
    const Vector<double> reciprocal = 1.0 / determinant;
    // Row `row` of A without column i, times the minors of the two rows that are in the other half: entry (i, j) of the adjugate.
    const auto cofactor = [&](int row, int i, const Vector<double>* m) NEURALINV_LAMBDA {
        const Vector<double>* r = a + 4 * row;
        if (i == 0) return r[1] * m[5] - r[2] * m[4] + r[3] * m[3];
        if (i == 1) return r[2] * m[2] - r[0] * m[5] - r[3] * m[1];
        if (i == 2) return r[0] * m[4] - r[1] * m[2] + r[3] * m[0];
        return r[1] * m[1] - r[0] * m[3] - r[2] * m[0];
    };
    static_for<0, 4>([&](auto i_) NEURALINV_LAMBDA {
        constexpr int i = decltype(i_)::value;
        x[4 * i] = cofactor(1, i, c) * reciprocal;
        x[4 * i + 1] = -cofactor(0, i, c) * reciprocal;
        x[4 * i + 2] = cofactor(3, i, s) * reciprocal;
        x[4 * i + 3] = -cofactor(2, i, s) * reciprocal;
    });
    return absolute<double>(reciprocal);
}

// Which of the ten pairs of columns of a 5×5 matrix i < j are, and the columns of a pair.
constexpr int pair_of(int i, int j) { return i * (9 - i) / 2 + j - i - 1; }
inline constexpr int first_of_pair[] = {0, 0, 0, 0, 1, 1, 1, 2, 2, 3}, second_of_pair[] = {1, 2, 3, 4, 2, 3, 4, 3, 4, 4};
// Column t, 0..3, of those that are not c; column t, 0..2, of those that are in no pair p.
constexpr int column_without(int c, int t) { return t < c ? t : t + 1; }
constexpr int column_outside(int p, int t) {
    for (int column = 0;; ++column)
        if (column != first_of_pair[p] && column != second_of_pair[p] && t-- == 0) return column;
}

// The same of 5×5 matrices.
NEURALINV_INLINE Vector<double> invert_by_minors(Index<5>, const Vector<double>* a, Vector<double>* x) {
    Vector<double> m01[10], m02[10], m12[10], m34[10], three[10];
    const auto minors = [&](int r, int s, Vector<double>* m) NEURALINV_LAMBDA {
        static_for<0, 10>([&](auto p_) NEURALINV_LAMBDA {
            constexpr int p = decltype(p_)::value, i = first_of_pair[p], j = second_of_pair[p];
            m[p] = a[5 * r + i] * a[5 * s + j] - a[5 * s + i] * a[5 * r + j];
        });
    };
    minors(0, 1, m01);
    // Of rows 0, 1, 2 and the columns that are not in the pair.
    static_for<0, 10>([&](auto p_) NEURALINV_LAMBDA {
        constexpr int p = decltype(p_)::value, i = column_outside(p, 0), j = column_outside(p, 1), k = column_outside(p, 2);
        three[p] = a[10 + i] * m01[pair_of(j, k)] - a[10 + j] * m01[pair_of(i, k)] + a[10 + k] * m01[pair_of(i, j)];
    });
    // (−1)^(row + c) times the minor without row 3 or 4 and column c, by the other one of these rows.
    const auto lower = [&](auto c_, int other) NEURALINV_LAMBDA {
        constexpr int c = decltype(c_)::value;
        Vector<double> sum[4];
        static_for<0, 4>([&](auto t_) NEURALINV_LAMBDA {
            constexpr int t = decltype(t_)::value, q = column_without(c, t);
            sum[t] = a[5 * other + q] * three[q < c ? pair_of(q, c) : pair_of(c, q)];
        });
        return (sum[1] - sum[0]) + (sum[3] - sum[2]);
    };
    static_for<0, 5>([&](auto c_) NEURALINV_LAMBDA {
        constexpr int c = decltype(c_)::value;
        const Vector<double> third = lower(c_, 4), fourth = lower(c_, 3);
        x[5 * c + 3] = c % 2 ? third : -third;
        x[5 * c + 4] = c % 2 ? -fourth : fourth;
    });
    Vector<double> determinant = a[20] * x[4];
    static_for<1, 5>([&](auto c) NEURALINV_LAMBDA { determinant = determinant + a[20 + decltype(c)::value] * x[5 * decltype(c)::value + 4]; });
    const Vector<double> reciprocal = 1.0 / determinant;
    minors(3, 4, m34);
    minors(0, 2, m02);
    minors(1, 2, m12);
    const auto upper = [&](auto c_, const Vector<double>* m) NEURALINV_LAMBDA {
        constexpr int c = decltype(c_)::value;
        constexpr int q0 = column_without(c, 0), q1 = column_without(c, 1), q2 = column_without(c, 2), q3 = column_without(c, 3);
        return (m[pair_of(q0, q1)] * m34[pair_of(q2, q3)] - m[pair_of(q0, q2)] * m34[pair_of(q1, q3)] +
                m[pair_of(q0, q3)] * m34[pair_of(q1, q2)]) +
               (m[pair_of(q1, q2)] * m34[pair_of(q0, q3)] - m[pair_of(q1, q3)] * m34[pair_of(q0, q2)] +
                m[pair_of(q2, q3)] * m34[pair_of(q0, q1)]);
    };
    static_for<0, 5>([&](auto c_) NEURALINV_LAMBDA {
        constexpr int c = decltype(c_)::value;
        const Vector<double> sign = c % 2 ? -reciprocal : reciprocal;
        x[5 * c] = upper(c_, m12) * sign;
        x[5 * c + 1] = upper(c_, m02) * -sign;
        x[5 * c + 2] = upper(c_, m01) * sign;
        x[5 * c + 3] *= reciprocal;
        x[5 * c + 4] *= reciprocal;
    });
    return absolute<double>(reciprocal);
}

// From α, 1 / x and r: the bound over u.
template <int n>
NEURALINV_INLINE Vector<double> error_of_minors(Vector<double> alpha, Vector<double> inverse_size, Vector<double> reciprocal) {
    const Vector<double> cube = alpha * alpha * alpha * reciprocal;
    if constexpr (n == 4) return cube * (224.0 * alpha + 112.0 * inverse_size);
    return cube * alpha * (1660.0 * alpha + 970.0 * inverse_size);
}

}  // namespace neuralinv::NEURALINV_TARGET
