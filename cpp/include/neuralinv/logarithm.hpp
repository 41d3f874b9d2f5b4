// The sign (phase) and the logarithm of the modulus of a product that itself may over- or underflow.
#pragma once

#include "field.hpp"

namespace neuralinv::NEURALINV_TARGET {

template <class T>
struct Format;

template <>
struct Format<float> {
    static constexpr int mantissa_bits = 23, exponent_mask = 0xff, bias = 127;
    // Factors beyond `large` or below 1/large are scaled by 1/step or step before they enter a product.
    static constexpr float large = 0x1p60f, step = 0x1p75f, largest_finite = 0x1.fffffep127f;
    static constexpr int step_exponent = 75;
    static constexpr int terms = 6;                          // of the series of the logarithm
    static constexpr float log2_high = 0x1.62p-1f;           // a multiple of 2⁻⁸: exponents times it are exact
    static constexpr float log2_low = 0x1.c85fdf4p-10f;      // ln 2 − log2_high
};

template <>
struct Format<double> {
    static constexpr int mantissa_bits = 52, exponent_mask = 0x7ff, bias = 1023;
    static constexpr double large = 0x1p500, step = 0x1p600, largest_finite = 0x1.fffffffffffffp1023;
    static constexpr int step_exponent = 600;
    static constexpr int terms = 11;
    static constexpr double log2_high = 0x1.62e42fefap-1;    // a multiple of 2⁻³⁶
    static constexpr double log2_low = 0x1.cf79abc9e3b3ap-40;
};

template <class T>
NEURALINV_INLINE Mask<T> exponent_of(Vector<T> x) {
    using F = Format<T>;
    return ((Mask<T>(absolute<T>(x)) >> F::mantissa_bits) & F::exponent_mask) - F::bias;
}

// 2^e, where that is a normal number.
template <class T>
NEURALINV_INLINE Vector<T> power_of_two(Mask<T> e) {
    return Vector<T>((e + Format<T>::bias) << Format<T>::mantissa_bits);
}

// exponent · ln 2 + ln m for normal m > 0.
//
// With m = 2^e f, √½ ≤ f < √2, and s = (f − 1)/(f + 1):  ln f = 2 artanh s = 2 (s + s³/3 + s⁵/5 + …), |s| ≤ 0.1716.
template <class T>
NEURALINV_INLINE Vector<T> logarithm(Vector<T> m, Vector<T> exponent) {
    using F = Format<T>;
    Mask<T> e = exponent_of<T>(m);
    Vector<T> f = m * power_of_two<T>(-e);
    const Mask<T> large = Mask<T>(f > broadcast<T>(T(0x1.6a09e6p0)));
    f = select<T>(large, f * broadcast<T>(T(0.5)), f);
    e -= large;  // which is −1 where it is true
    const Vector<T> s = (f - broadcast<T>(1)) / (f + broadcast<T>(1)), z = s * s;
    Vector<T> series = broadcast<T>(T(1) / T(2 * F::terms - 1));
    static_for<1, F::terms>([&](auto i) NEURALINV_LAMBDA {
        series = series * z + broadcast<T>(T(1) / T(2 * (F::terms - decltype(i)::value) - 1));
    });
    const Vector<T> total = exponent + __builtin_convertvector(e, Vector<T>);
    return total * broadcast<T>(F::log2_high) + (T(2) * s * series + total * broadcast<T>(F::log2_low));
}

// A product of lanes as mantissa · 2^exponent. NaN and infinite factors end up in `beyond`, which is added to the
// logarithm; those of finite numbers leave it zero.
template <class S>
struct Product {
    using T = RealOf<S>;
    Lane<S> mantissa = Field<S>::constant(1);
    Mask<T> exponent{};
    Vector<T> beyond{};

    NEURALINV_INLINE void multiply(Lane<S> x) {
        using F = Format<T>;
        const Vector<T> size = Field<S>::magnitude(x);
        const Mask<T> large = Mask<T>(size > broadcast<T>(F::large)), small = Mask<T>(size < broadcast<T>(1 / F::large));
        const Mask<T> finite = Mask<T>(size <= broadcast<T>(F::largest_finite));
        const Vector<T> factor = select<T>(large, broadcast<T>(1 / F::step),
                                           select<T>(small, broadcast<T>(F::step), broadcast<T>(1)));
        const Lane<S> bounded = Field<S>::choose(finite, Field<S>::scaled(x, factor), Field<S>::direction(x));
        mantissa = Field<S>::product(mantissa, bounded);
        exponent += (large & broadcast_mask<T>(F::step_exponent)) - (small & broadcast_mask<T>(F::step_exponent));
        const Mask<T> e = exponent_of<T>(Field<S>::magnitude(mantissa));
        mantissa = Field<S>::scaled(mantissa, power_of_two<T>(-e));
        exponent += e;
        beyond += select<T>(finite, Vector<T>{}, size);
    }

    NEURALINV_INLINE Lane<S> sign() const { return Field<S>::sign(mantissa); }

    NEURALINV_INLINE Vector<T> log_modulus() const {
        constexpr T power = T(Field<S>::parts);  // what `norm` gives is the modulus to this power
        const Vector<T> e = __builtin_convertvector(exponent, Vector<T>);
        return logarithm<T>(Field<S>::norm(mantissa), power * e) / power + beyond;
    }
};

}  // namespace neuralinv::NEURALINV_TARGET
