// Arithmetic of lanes, real or complex: what an elimination needs, so that it is written once for both.
//
// `careful` arithmetic divides where the fast one multiplies by a reciprocal, and rounds every product where the fast
// one fuses it with the sum. A fused elimination of [[3, 6], [1, 2]] leaves the rounding error of 1/3 as its last pivot,
// and the matrix would pass for a regular one; LAPACK, and the careful one, find zero.
#pragma once

#include "complex.hpp"
#include "simd.hpp"

namespace neuralinv::NEURALINV_TARGET {

template <class T>
NEURALINV_INLINE Vector<T> select(Mask<T> mask, Vector<T> yes, Vector<T> no) {
    return mask ? yes : no;
}

// 1/x neither over- nor underflows.
template <class T>
NEURALINV_INLINE Mask<T> safe_to_invert(Vector<T> size) {
    return Mask<T>(size >= broadcast<T>(Traits<T>::smallest_normal)) &
           Mask<T>(size <= broadcast<T>(T(1) / Traits<T>::smallest_normal));
}

template <class S>
struct Field {
    using Real = S;
    using Lane = Vector<S>;
    static constexpr int parts = 1;  // real numbers in a scalar

    static NEURALINV_INLINE Lane constant(Real value) { return broadcast<Real>(value); }
    static NEURALINV_INLINE Vector<Real> magnitude(Lane x) { return absolute<Real>(x); }  // LAPACK chooses pivots by it
    static NEURALINV_INLINE Lane choose(Mask<Real> mask, Lane yes, Lane no) { return select<Real>(mask, yes, no); }
    static NEURALINV_INLINE Lane negative(Lane x) { return -x; }
    static NEURALINV_INLINE Lane scaled(Lane x, Vector<Real> factor) { return x * factor; }
    static NEURALINV_INLINE Lane product(Lane x, Lane y) { return x * y; }

    template <bool careful>
    static NEURALINV_INLINE Lane minus_product(Lane a, Lane x, Lane y) {
        if constexpr (careful)
            return a - rounded(x * y);
        else
            return a - x * y;
    }

    static NEURALINV_INLINE Mask<Real> is_safe(Lane p) { return safe_to_invert<Real>(absolute<Real>(p)); }
    static NEURALINV_INLINE Lane reciprocal(Lane p) { return broadcast<Real>(1) / p; }
    static NEURALINV_INLINE Lane quotient(Lane x, Lane p) { return x / p; }

    static NEURALINV_INLINE Vector<Real> norm(Lane x) { return absolute<Real>(x); }
    static NEURALINV_INLINE Lane sign(Lane x) {  // of NaN and of zero: they themselves
        const Lane unit = broadcast<Real>(1);
        return select<Real>(Mask<Real>(x > Lane{}), unit, select<Real>(Mask<Real>(x < Lane{}), -unit, x));
    }
    // Of an infinite number. NaN stays NaN.
    static NEURALINV_INLINE Lane direction(Lane x) { return sign(x); }
};

// Copied part by part: a copy of the whole, in pieces of 16 bytes, would hold up the wider loads that follow it.
template <class T>
struct ComplexVector {
    Vector<T> re, im;

    NEURALINV_INLINE ComplexVector() {}
    NEURALINV_INLINE ComplexVector(Vector<T> real, Vector<T> imaginary) : re(real), im(imaginary) {}
    NEURALINV_INLINE ComplexVector(const ComplexVector& other) : re(other.re), im(other.im) {}
    NEURALINV_INLINE ComplexVector& operator=(const ComplexVector& other) {
        re = other.re;
        im = other.im;
        return *this;
    }
};

template <class T>
struct Field<Complex<T>> {
    using Real = T;
    using Lane = ComplexVector<T>;
    static constexpr int parts = 2;

    static NEURALINV_INLINE Lane constant(T value) { return {broadcast<T>(value), Vector<T>{}}; }
    static NEURALINV_INLINE Vector<T> magnitude(Lane x) { return absolute<T>(x.re) + absolute<T>(x.im); }
    static NEURALINV_INLINE Lane choose(Mask<T> mask, Lane yes, Lane no) {
        return {select<T>(mask, yes.re, no.re), select<T>(mask, yes.im, no.im)};
    }
    static NEURALINV_INLINE Lane negative(Lane x) { return {-x.re, -x.im}; }
    static NEURALINV_INLINE Lane scaled(Lane x, Vector<T> factor) { return {x.re * factor, x.im * factor}; }
    static NEURALINV_INLINE Lane product(Lane x, Lane y) {
        return {x.re * y.re - x.im * y.im, x.re * y.im + x.im * y.re};
    }

    template <bool careful>
    static NEURALINV_INLINE Lane minus_product(Lane a, Lane x, Lane y) {
        if constexpr (careful)
            return {a.re - (rounded(x.re * y.re) - rounded(x.im * y.im)),
                    a.im - (rounded(x.re * y.im) + rounded(x.im * y.re))};
        else
            return {a.re - x.re * y.re + x.im * y.im, a.im - x.re * y.im - x.im * y.re};
    }

    static NEURALINV_INLINE Vector<T> norm(Lane x) { return x.re * x.re + x.im * x.im; }

    // 1/p = conj(p) / |p|², where |p|² can be inverted.
    static NEURALINV_INLINE Mask<T> is_safe(Lane p) { return safe_to_invert<T>(norm(p)); }
    static NEURALINV_INLINE Lane reciprocal(Lane p) {
        const Vector<T> r = broadcast<T>(1) / norm(p);
        return {p.re * r, -(p.im * r)};
    }

    // x/p = (x/s) conj(q) / |q|² with s = max(|Re p|, |Im p|) and q = p/s, so that 1 ≤ |q|² ≤ 2.
    static NEURALINV_INLINE Lane quotient(Lane x, Lane p) {
        const Vector<T> re = absolute<T>(p.re), im = absolute<T>(p.im);
        const Vector<T> s = select<T>(Mask<T>(re > im), re, im);
        const Lane q{p.re / s, p.im / s}, y{x.re / s, x.im / s};
        const Vector<T> size = rounded(q.re * q.re) + rounded(q.im * q.im);
        return {(rounded(y.re * q.re) + rounded(y.im * q.im)) / size,
                (rounded(y.im * q.re) - rounded(y.re * q.im)) / size};
    }

    static NEURALINV_INLINE Lane sign(Lane x) {  // |x|² neither over- nor underflows
        Vector<T> modulus = norm(x);
        for (int lane = 0; lane < lanes<T>; ++lane) modulus[lane] = square_root(modulus[lane]);
        return {x.re / modulus, x.im / modulus};
    }
    // An infinite number has none: NaN.
    static NEURALINV_INLINE Lane direction(Lane x) { return {x.re - x.re, x.im - x.im}; }

private:
    static NEURALINV_INLINE float square_root(float x) { return __builtin_sqrtf(x); }
    static NEURALINV_INLINE double square_root(double x) { return __builtin_sqrt(x); }
};

template <class S>
using Lane = typename Field<S>::Lane;

template <class S>
using LaneMask = Mask<RealOf<S>>;

// A pivot and what to do with it instead of dividing.
template <class S>
struct Pivot {
    Lane<S> value, reciprocal;
};

template <class S>
NEURALINV_INLINE Pivot<S> make_pivot(Lane<S> value) {
    return {value, Field<S>::reciprocal(value)};
}

template <class S, bool careful>
NEURALINV_INLINE Lane<S> divide(Lane<S> x, const Pivot<S>& pivot) {
    if constexpr (careful)
        return Field<S>::quotient(x, pivot.value);
    else
        return Field<S>::product(x, pivot.reciprocal);
}

// A computed pivot so small beside what it was computed from may be zero in careful arithmetic. `scale`: the largest
// modulus in its column of A.
template <class S>
NEURALINV_INLINE LaneMask<S> is_distinct(Vector<RealOf<S>> pivot, Vector<RealOf<S>> scale, int n) {
    using T = RealOf<S>;
    constexpr T epsilon = sizeof(T) == 4 ? T(0x1p-23) : T(0x1p-52);
    return LaneMask<S>(pivot > scale * broadcast<T>(8 * epsilon * T(n)));
}

}  // namespace neuralinv::NEURALINV_TARGET
