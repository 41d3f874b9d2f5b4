// The lowest order of correction that brings an approximate inverse to a tolerance, and the bound that it proves.
//
// neuralinv/dense/correction.py derives the bounds. Here all norms are of doubles, the residual's before it is rounded to
// T. δ has one more term: where a thread reads denormals as zero, entries of A and X are off by the smallest normal
// number t of T each, and R by at most n t (‖A‖_F + ‖X‖_F + 1), the rounding of R to T included.
#pragma once

#include "simd.hpp"

namespace neuralinv::NEURALINV_TARGET {

template <class T>
inline constexpr double safe_norm = sizeof(T) == sizeof(float) ? 1e12 : 1e100;

struct Proof {
    double rho;    // ‖I − AX‖_F ≤ rho, infinite where nothing is proved
    double delta;  // of it, what rounding may have done
};

// From the squares of the norms as computed: sums of n² squares, in any order.
template <class T>
NEURALINV_INLINE Proof prove(int n, double square_A, double square_X, double square_R) {
    constexpr double u = 0x1p-53, t = double(Traits<T>::smallest_normal);
    const double up = 1 + 4 * (double(n) * n + 64) * u, gamma = (n + 2) * u / (1 - (n + 2) * u);
    const double A = __builtin_sqrt(square_A) * up, X = __builtin_sqrt(square_X) * up;
    const double delta = (gamma * (A * X + __builtin_sqrt(double(n))) + n * t * (A + X + 1)) * (1 + 64 * u);
    // Squares below the smallest normal number may be lost: 2⁻⁵¹¹ is its root.
    const double rho = (__builtin_sqrt(square_R) * up + n * 0x1p-511 + delta) * (1 + 64 * u);
    const double limit = safe_norm<T>;
    const bool safe = A < limit && A > 1 / limit && X < limit && X > 1 / limit && rho < 1;
    return {safe ? rho : __builtin_inf(), delta};
}

template <class T>
NEURALINV_INLINE double bound_of_order(int order, int n, Proof proof) {
    const double rho = proof.rho;
    if (!(rho < 1)) return __builtin_inf();
    if (order == 1) return rho;
    constexpr double u = sizeof(T) == sizeof(float) ? 0x1p-24 : 0x1p-53;
    const double gamma = (n + 3) * u / (1 - (n + 3) * u);
    double power = rho;
    for (int k = 1; k < order; ++k) power *= rho;
    const double rounding = (1 + rho) * (proof.delta + order * gamma * rho) / ((1 - rho) * (1 - rho)) + 6 * u;
    return (power + rounding) * (1 + 64 * 0x1p-53);
}

struct Choice {
    int order;
    double bound;
};

// Order 1, which costs nothing, where none suffices.
template <class T>
NEURALINV_INLINE Choice choose_order(int n, Proof proof, double tolerance, int highest) {
    for (int order = 1; order <= highest; ++order) {
        const double bound = bound_of_order<T>(order, n, proof);
        if (bound <= tolerance) return {order, bound};
    }
    return {1, bound_of_order<T>(1, n, proof)};
}

}  // namespace neuralinv::NEURALINV_TARGET
