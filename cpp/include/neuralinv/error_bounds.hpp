// The proof that comes with an inverse: for every matrix of a batch a bound of ‖A⁻¹ − X‖_F / ‖A⁻¹‖_F.
//
// The residual R̂ = fl(I − A X) is computed in double precision, where products of two floats are exact. With the unit
// roundoff u and γ_k = k u / (1 − k u), whatever the order of summation (Higham, Accuracy and Stability of Numerical
// Algorithms, 2nd ed., §3.5 and ch. 14),
//
//     ‖I − A X‖_F ≤ ρ = ‖R̂‖_F + δ,    δ = γ_{n+2} (‖A‖_F ‖X‖_F + √n) + n t ‖X‖_F,
//
// rounded up, and if ρ < 1, A is nonsingular and ‖A⁻¹ − X‖_F ≤ ρ ‖A⁻¹‖_F. t is the smallest normal number: where a thread
// reads denormals as zero, entries of A are off by that much. Norms beyond `huge` or below its reciprocal, where products
// might over- or underflow, give ∞, which proves nothing; so does what is not a number.
//
// Where a float X misses the tolerance, W = fl(X + X R̂), in double precision, takes its place, rounded. With E for the
// rounding of that step, I − A W = (R − R̂) + R R̂ − A E, so that ρ₁ = δ + ρ² + δ (1 + ρ) bounds it, and the float X' made of
// W is off by at most ρ₁ + (1 + ρ₁) ‖X' − W‖_F / ‖W‖_F.
//
// A and X lie without gaps, row by row: what an inverse was made of and what was made, still in the cache.
#pragma once

#include "simd.hpp"

namespace neuralinv::NEURALINV_TARGET {

inline constexpr double unit_roundoff = 0x1p-53;
inline constexpr double huge = 1e140;

// Scalars and vectors of doubles share these.
template <class V>
NEURALINV_INLINE V round_up(V value, int n) {
    // Sums of n² squares are off by at most γ_{n²+2}, the operations around them by a few u more.
    return value * (1 + 2 * (double(n) * n + 64) * unit_roundoff);
}

// √x or, where that is cheaper, at most 2⁻¹² of it more.
NEURALINV_INLINE double root_above(double x) { return __builtin_sqrt(x); }
NEURALINV_INLINE Vector<double> root_above(Vector<double> x) {
#if NEURALINV_VECTOR_BYTES == 64
    constexpr double tiny = 0x1p-1000;  // of a zero, x · x^(−1/2) is not a number
    x = larger(broadcast(tiny), x);  // NaN stays
    return x * Vector<double>(_mm512_rsqrt14_pd(x)) * (1 + 0x1p-13);
#else
    for (int lane = 0; lane < lanes<double>; ++lane) x[lane] = __builtin_sqrt(x[lane]);
    return x;
#endif
}

NEURALINV_INLINE double infinite_unless(bool holds, double x) { return holds ? x : __builtin_inf(); }
NEURALINV_INLINE Vector<double> infinite_unless(Mask<double> holds, Vector<double> x) {
    return holds ? x : broadcast<double>(__builtin_inf());
}

// ρ and δ, both rounded up; ρ = ∞ where nothing is proved.
template <class V>
struct Residual {
    V rho;
    V delta;
};

// From the squares of the norms of R̂, A and X. tiny: t.
template <class V>
NEURALINV_INLINE Residual<V> bound_residual(int n, V residual, V size, V inverse_size, double tiny) {
    const double k = double(n + 2) * unit_roundoff, gamma = k / (1 - k);
    const V norm = root_above(size), inverse_norm = root_above(inverse_size);
    const V delta = round_up(gamma * (norm * inverse_norm + __builtin_sqrt(double(n))) + n * tiny * inverse_norm, n);
    const V rho = round_up(root_above(residual) + delta, n);
    const auto proved = (norm <= huge) & (inverse_norm <= huge) & (norm >= 1 / huge) & (inverse_norm >= 1 / huge) & (rho < 1.0);
    return {infinite_unless(proved, rho), delta};
}

// Of X' from the squares of ‖X' − W‖_F and ‖W‖_F, where W was made with the residual given.
template <class V>
NEURALINV_INLINE V bound_corrected(int n, Residual<V> before, V distance, V size) {
    const V rho = round_up(before.delta + before.rho * before.rho + before.delta * (1.0 + before.rho), n);
    const V bound = round_up(rho + (1.0 + rho) * root_above(V(distance / size)), n);
    return infinite_unless((rho < 1.0) & (bound < __builtin_inf()), bound);
}

}  // namespace neuralinv::NEURALINV_TARGET
