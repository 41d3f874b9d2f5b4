// Inverses of floats for n = 2 and 3 with bounds of their errors, by cofactors in doubles, a matrix in each lane.
//
// Products of two floats are exact in doubles, so that a cofactor of a 3×3 matrix, a difference of two, is rounded once, and so
// is the determinant of a 2×2 matrix. With u = 2⁻⁵³, the determinant of a 3×3 matrix, expanded by its first row into terms t_j,
// is computed as det (1 + η),
//
//     |η| ≤ γ_4 Q / (1 − γ_4 Q),    Q = Σ |t_j| / |det (1 + η)|,
//
// and for Q ≤ 2⁴⁰ every entry of the inverse, before it is rounded to a float, has a relative error of at most 5 u Q + 4 u,
// of which Q, as computed, and 1 / (1 + η) take less than u Q. That rounding adds 2⁻²⁴ of the entry, or 2⁻¹²⁶ where it
// underflows. Hence
//
//     ‖A⁻¹ − X‖_F / ‖A⁻¹‖_F ≤ 2⁻²⁴ + 5 u Q + 2⁻⁵⁰,
//
// with Q = 0 for n = 2, where the largest entry of X is in [2⁻⁶⁰, 2⁶⁰]: then 2⁻⁵⁰ makes up for what underflows, and for entries
// of A that are read as zero for being denormal. No condition number: X is closer than elimination in floats would come.
#pragma once

#include "error_bounds.hpp"
#include "widen.hpp"

namespace neuralinv::NEURALINV_TARGET {

// One half of the lanes: x: (n, n), inverses of a: (n, n), not yet rounded. Returns 5 u Q.
template <int n>
NEURALINV_INLINE Vector<double> invert_by_cofactors(const Vector<double>* a, Vector<double>* x) {
    if constexpr (n == 2) {
        const Vector<double> reciprocal = 1.0 / (a[0] * a[3] - a[1] * a[2]);
        x[0] = a[3] * reciprocal;
        x[1] = -a[1] * reciprocal;
        x[2] = -a[2] * reciprocal;
        x[3] = a[0] * reciprocal;
        return Vector<double>{};
    } else {
        // Entry (i, j) of the adjugate: the cofactor of a(j, i), by rows and columns that follow it cyclically.
        static_for<0, 9>([&](auto e_) NEURALINV_LAMBDA {
            constexpr int e = decltype(e_)::value, i = e / 3, j = e % 3, row = (j + 1) % 3, last_row = (j + 2) % 3;
            constexpr int column = (i + 1) % 3, last_column = (i + 2) % 3;
            x[e] = a[row * 3 + column] * a[last_row * 3 + last_column] - a[row * 3 + last_column] * a[last_row * 3 + column];
        });
        const Vector<double> t[] = {rounded(a[0] * x[0]), rounded(a[1] * x[3]), rounded(a[2] * x[6])};
        const Vector<double> reciprocal = 1.0 / (t[0] + t[1] + t[2]);
        const Vector<double> size = absolute<double>(t[0]) + absolute<double>(t[1]) + absolute<double>(t[2]);
        static_for<0, 9>([&](auto e) NEURALINV_LAMBDA { x[decltype(e)::value] *= reciprocal; });
        const Vector<double> most = broadcast(0x1p40), q = size * absolute<double>(reciprocal);
        return infinite_unless(Mask<double>(q <= most), q * (5 * unit_roundoff));
    }
}

// All lanes: x: (n, n), inverses of a: (n, n); bounds of their errors, one for each half. False: some matrix is singular or out
// of range, and elimination has to look at it.
template <int n>
NEURALINV_INLINE bool invert_closed(const Vector<float>* a, Vector<float>* x, Vector<double>* bounds) {
    constexpr int entries = n * n;
    Vector<double> wide[entries], low[entries], high[entries];
    static_for<0, entries>([&](auto e) NEURALINV_LAMBDA { wide[decltype(e)::value] = widen_half<0>(a[decltype(e)::value]); });
    bounds[0] = invert_by_cofactors<n>(wide, low) + (0x1p-24 + 0x1p-50);
    static_for<0, entries>([&](auto e) NEURALINV_LAMBDA { wide[decltype(e)::value] = widen_half<1>(a[decltype(e)::value]); });
    bounds[1] = invert_by_cofactors<n>(wide, high) + (0x1p-24 + 0x1p-50);
    Vector<float> size{};
    static_for<0, entries>([&](auto e_) NEURALINV_LAMBDA {
        constexpr int e = decltype(e_)::value;
        x[e] = narrow(low[e], high[e]);
        // Where one is not a number, for an entry of A that is none or infinite, or for det = 0, no other is in the range: they
        // are products with 1 / det, which is then none, zero or infinite.
        size = larger(absolute<float>(x[e]), size);
    });
    return all<float>(greater(size, broadcast(0x1p-60f))) && all<float>(greater(broadcast(0x1p60f), size));
}

}  // namespace neuralinv::NEURALINV_TARGET
