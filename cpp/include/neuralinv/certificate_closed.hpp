// Inverses of floats for n = 2, 3 and 4, and of doubles for n = 2, with bounds of their errors, by cofactors, a matrix in each
// lane.
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
//
// Of a 4×4 matrix, let α be the largest magnitude of an entry. Minors of two rows are rounded once, and are 2 α² at most; the
// determinant, a sum of six products of two, is off by at most γ_8 · 24 α⁴, and the cofactors, of three products each, by at most
// γ_4 · 6 α³, all 16 together by γ_4 · 24 α³ in norm. With r = 1 / |det (1 + η)| and the largest entry x of X, ‖A⁻¹‖_F ≥ x (1 − 2⁻¹²),
//
//     ‖A⁻¹ − X‖_F / ‖A⁻¹‖_F ≤ 2⁻²⁴ + u r α³ (224 α + 110 / x) + 2⁻⁵⁰,
//
// where the second term is below 2⁻¹³: 193 and 97 would do, but for roundings and products of errors.
//
// The determinant of a 2×2 matrix of doubles is within 2 u of itself if what the rounding of one product loses is added (Kahan;
// Jeannerod, Louvet & Muller, Further analysis of Kahan's algorithm for the accurate computation of 2 × 2 determinants, Math.
// Comp. 82, 2013). Its reciprocal and the products with that add 2 u, so that 5 u bounds the error of X, where the determinant
// and the largest entry of X are in [2⁻³⁰⁰, 2³⁰⁰].
#pragma once

#include "doubled.hpp"
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

// One half of the lanes of 4×4 matrices: x, inverses of a, not yet rounded, from minors of two rows each. Returns 1 / |det|.
NEURALINV_INLINE Vector<double> invert_by_minors(const Vector<double>* a, Vector<double>* x) {
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

// The largest magnitudes of x: (count), of those that are numbers.
template <class T, int count>
NEURALINV_INLINE Vector<T> largest_magnitude(const Vector<T>* x) {
    Vector<T> size{};
    static_for<0, count>([&](auto e) NEURALINV_LAMBDA { size = larger(absolute<T>(x[decltype(e)::value]), size); });
    return size;
}

// All lanes: x: (n, n), inverses of a: (n, n); bounds of their errors, one for each half. False: some matrix is singular or out
// of range, and elimination has to look at it. ahead: for (n + 1) / 2 calls.
template <int n, class Prefetch>
NEURALINV_INLINE bool invert_closed(const Vector<float>* a, Vector<float>* x, Vector<double>* bounds, Prefetch ahead) {
    constexpr int entries = n * n;
    Vector<double> wide[entries], low[entries], high[entries];
    const auto invert_half = [&](auto half, Vector<double>* found) NEURALINV_LAMBDA {
        static_for<0, entries>([&](auto e) NEURALINV_LAMBDA { wide[decltype(e)::value] = widen_half<decltype(half)::value>(a[decltype(e)::value]); });
        if constexpr (n == 4)
            return invert_by_minors(wide, found);
        else
            return invert_by_cofactors<n>(wide, found) + (0x1p-24 + 0x1p-50);
    };
    ahead.fetch();
    bounds[0] = invert_half(Index<0>{}, low);
    if constexpr (n > 2) ahead.fetch();
    bounds[1] = invert_half(Index<1>{}, high);
    static_for<0, entries>([&](auto e) NEURALINV_LAMBDA { x[decltype(e)::value] = narrow(low[decltype(e)::value], high[decltype(e)::value]); });
    // Where one is not a number, for an entry of A that is none or infinite, or for det = 0, no other is in the range: they
    // are products with 1 / det, which is then none, zero or infinite.
    const Vector<float> size = largest_magnitude<float, entries>(x);
    if constexpr (n == 4) {
        const Vector<float> entry = largest_magnitude<float, entries>(a), inverse_size = broadcast(1.f) / size;
        const auto bound = [&](auto half, Vector<double> reciprocal) NEURALINV_LAMBDA {
            constexpr int h = decltype(half)::value;
            const Vector<double> alpha = widen_half<h>(entry), q = alpha * alpha * alpha * reciprocal;
            const Vector<double> terms = q * (224.0 * alpha + 110.0 * widen_half<h>(inverse_size)), most = broadcast(0x1p40);
            return infinite_unless(Mask<double>(terms <= most), terms * unit_roundoff + (0x1p-24 + 0x1p-50));
        };
        bounds[0] = bound(Index<0>{}, bounds[0]);
        bounds[1] = bound(Index<1>{}, bounds[1]);
    }
    return all<float>(greater(size, broadcast(0x1p-60f))) && all<float>(greater(broadcast(0x1p60f), size));
}

// The same of 2×2 matrices of doubles, with one bound for all.
template <class Prefetch>
NEURALINV_INLINE bool invert_closed(const Vector<double>* a, Vector<double>* x, double& bound, Prefetch ahead) {
    ahead.fetch();
    const Vector<double> product = rounded(a[1] * a[2]);
    const Vector<double> determinant = product_error(a[0], a[3], product) - product_error(a[1], a[2], product);
    const Vector<double> reciprocal = 1.0 / determinant;
    x[0] = a[3] * reciprocal;
    x[1] = -a[1] * reciprocal;
    x[2] = -a[2] * reciprocal;
    x[3] = a[0] * reciprocal;
    Vector<double> size{};
    static_for<0, 4>([&](auto e) NEURALINV_LAMBDA { size = larger(absolute<double>(x[decltype(e)::value]), size); });
    bound = 5 * unit_roundoff;
    const Vector<double> modulus = absolute<double>(determinant), least = broadcast(0x1p-300), most = broadcast(0x1p300);
    return all<double>(greater(modulus, least)) && all<double>(greater(most, modulus)) && all<double>(greater(size, least)) &&
           all<double>(greater(most, size));
}

}  // namespace neuralinv::NEURALINV_TARGET
