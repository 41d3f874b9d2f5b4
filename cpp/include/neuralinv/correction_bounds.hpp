// The lowest order of correction that brings an approximate inverse to a tolerance, and the bound that it proves.
//
// neuralinv/dense/correction.py derives the bounds. Here all norms are of doubles, the residual's before it is rounded to
// T. δ has one more term: where a thread reads denormals as zero, entries of A and X are off by the smallest normal
// number t of T each, and R by at most n t (‖A‖_F + ‖X‖_F + 1), the rounding of R to T included. Complex entries are two
// numbers, which doubles that at most. Of complex products, by planes.hpp, the real parts are off by at most γ_{n+1} |A||X|, the
// imaginary ones by 3 γ_{n+4} |A||X|, which is less than γ with 4(n + 4) terms altogether, as in Python. For n, where it stands for a sum of n products, `roundings(n)` takes its place: sums are made of shorter ones here.
//
// Where A and X are Hermitian, so is every X_k, and below the diagonal stands what was computed above it. Entries there are
// off by as much as their mirror images: the Frobenius norm of all errors is at most √2 times that of a whole product, and
// twice where two follow each other.
#pragma once

#include "product.hpp"

namespace neuralinv::NEURALINV_TARGET {

template <class S>
inline constexpr bool is_single = sizeof(RealOf<S>) == sizeof(float);

template <class S>
inline constexpr double safe_norm = is_single<S> ? 1e12 : 1e100;

// Whether nothing that is made of A and X can over- or underflow.
template <class S>
NEURALINV_INLINE bool has_safe_norms(double square_A, double square_X) {
    constexpr double most = 0.99 * safe_norm<S> * safe_norm<S>, least = 1 / most;  // squares as computed
    return square_A < most && square_A > least && square_X < most && square_X > least;
}

// Of sums of k terms, with unit roundoff u.
template <class S>
NEURALINV_INLINE double gamma_of(int k, double u) {
    const double ku = (part_count<S> == 2 ? 4 : 1) * k * u;
    return ku / (1 - ku);
}

// Roundings of complex entries beyond those of a sum.
template <class S>
inline constexpr int joining_roundings = part_count<S> == 2 ? 2 : 0;

struct Proof {
    double rho;    // ‖I − AX‖_F ≤ rho, infinite where nothing is proved
    double delta;  // of it, what rounding may have done
};

// From the squares of the norms as computed: sums of n² squares, or of 2n² of them, in any order. doubled: R was summed in
// twice the precision of doubles (doubled.hpp), n + 1 terms to an entry.
template <class S, bool doubled = false>
NEURALINV_INLINE Proof prove(int n, double square_A, double square_X, double square_R) {
    constexpr double u = 0x1p-53, t = part_count<S> * double(Traits<RealOf<S>>::smallest_normal);
    const double up = 1 + 4 * (double(n) * n + 64) * u, gamma = gamma_of<S>(doubled ? n + 1 : roundings(n) + 2 + joining_roundings<S>, u);
    const double A = __builtin_sqrt(square_A) * up, X = __builtin_sqrt(square_X) * up, R = __builtin_sqrt(square_R) * up;
    const double summed = A * X + __builtin_sqrt(double(n)), rounding = doubled ? u * R + gamma * gamma * summed : gamma * summed;
    const double delta = (rounding + n * t * (A + X + 1)) * (1 + 64 * u);
    // Squares below the smallest normal number may be lost: 2⁻⁵¹¹ is its root.
    const double rho = (R + part_count<S> * n * 0x1p-511 + delta) * (1 + 64 * u);
    return {has_safe_norms<S>(square_A, square_X) && rho < 1 ? rho : __builtin_inf(), delta};
}

template <class S>
NEURALINV_INLINE double bound_of_order(int order, int n, Proof proof, bool mirrored) {
    const double rho = proof.rho;
    if (!(rho < 1)) return __builtin_inf();
    if (order == 1) return rho;
    constexpr double u = is_single<S> ? 0x1p-24 : 0x1p-53;
    const double gamma = gamma_of<S>(roundings(n) + 3 + joining_roundings<S>, u);
    double power = rho;
    for (int k = 1; k < order; ++k) power *= rho;
    const double rounding = (1 + rho) * (proof.delta + order * gamma * rho) / ((1 - rho) * (1 - rho)) + 6 * u;
    return (power + (mirrored ? 2 : 1) * rounding) * (1 + 64 * 0x1p-53);
}

struct Choice {
    int order;
    double bound;
};

// Order 1, which costs nothing, where none suffices.
template <class S>
NEURALINV_INLINE Choice choose_order(int n, Proof proof, double tolerance, int highest, bool mirrored) {
    for (int order = 1; order <= highest; ++order) {
        const double bound = bound_of_order<S>(order, n, proof, mirrored);
        if (bound <= tolerance) return {order, bound};
    }
    return {1, bound_of_order<S>(1, n, proof, mirrored)};
}

}  // namespace neuralinv::NEURALINV_TARGET
