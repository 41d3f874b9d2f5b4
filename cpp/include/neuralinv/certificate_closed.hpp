// Inverses of floats for n = 2 to 5, and of doubles for n = 2, with bounds of their errors, by cofactors, a matrix in each lane.
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
// For n = 4 and 5 another bound takes the place of 5 u Q (certificate_minors.hpp).
//
// The determinant of a 2×2 matrix of doubles is within 2 u of itself if what the rounding of one product loses is added (Kahan;
// Jeannerod, Louvet & Muller, Further analysis of Kahan's algorithm for the accurate computation of 2 × 2 determinants, Math.
// Comp. 82, 2013). Its reciprocal and the products with that add 2 u, so that 5 u bounds the error of X, where the determinant
// and the largest entry of X are in [2⁻³⁰⁰, 2³⁰⁰].
#pragma once

#include "certificate_minors.hpp"
#include "doubled.hpp"
#include "error_bounds.hpp"
#include "widen.hpp"

namespace neuralinv::NEURALINV_TARGET {

// x: the adjugates of 2×2 matrices, over their determinants.
NEURALINV_INLINE void divide_adjugate(const Vector<double>* a, Vector<double> determinant, Vector<double>* x) {
    const Vector<double> reciprocal = 1.0 / determinant;
    x[0] = a[3] * reciprocal;
    x[1] = -a[1] * reciprocal;
    x[2] = -a[2] * reciprocal;
    x[3] = a[0] * reciprocal;
}

// One half of the lanes: x: (n, n), inverses of a: (n, n), not yet rounded. Returns 5 u Q.
template <int n>
NEURALINV_INLINE Vector<double> invert_by_cofactors(const Vector<double>* a, Vector<double>* x) {
    if constexpr (n == 2) {
        divide_adjugate(a, a[0] * a[3] - a[1] * a[2], x);
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
        if constexpr (n >= 4)
            return invert_by_minors(Index<n>{}, wide, found);
        else
            return invert_by_cofactors<n>(wide, found) + (0x1p-24 + 0x1p-50);
    };
    ahead.fetch();
    bounds[0] = invert_half(Index<0>{}, low);
    if constexpr (n > 2) ahead.fetch();
    bounds[1] = invert_half(Index<1>{}, high);
    if constexpr (n > 4) ahead.fetch();
    static_for<0, entries>([&](auto e) NEURALINV_LAMBDA { x[decltype(e)::value] = narrow(low[decltype(e)::value], high[decltype(e)::value]); });
    // Where one is not a number, for an entry of A that is none or infinite, or for det = 0, no other is in the range: they
    // are products with 1 / det, which is then none, zero or infinite.
    const Vector<float> size = largest_magnitude<float, entries>(x);
    if constexpr (n >= 4) {
        const Vector<float> entry = largest_magnitude<float, entries>(a), inverse_size = broadcast(1.f) / size;
        const auto bound = [&](auto half, Vector<double> reciprocal) NEURALINV_LAMBDA {
            constexpr int h = decltype(half)::value;
            const Vector<double> error = error_of_minors<n>(widen_half<h>(entry), widen_half<h>(inverse_size), reciprocal);
            return infinite_unless(Mask<double>(error <= broadcast(0x1p40)), error * unit_roundoff + (0x1p-24 + 0x1p-50));
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
    divide_adjugate(a, determinant, x);
    bound = 5 * unit_roundoff;
    const Vector<double> size = largest_magnitude<double, 4>(x), modulus = absolute<double>(determinant), least = broadcast(0x1p-300), most = broadcast(0x1p300);
    return all<double>(greater(modulus, least)) && all<double>(greater(most, modulus)) && all<double>(greater(size, least)) &&
           all<double>(greater(most, size));
}

}  // namespace neuralinv::NEURALINV_TARGET
