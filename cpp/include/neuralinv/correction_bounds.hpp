// The lowest order of correction that brings an approximate inverse to a tolerance, and the bound that it proves.
//
// neuralinv/dense/correction.py derives the bounds. Here all norms are of doubles, the residual's before it is rounded to
// T. δ has one more term: where a thread reads denormals as zero, entries of A and X are off by the smallest normal
// number t of T each, and R by at most n t (‖A‖_F + ‖X‖_F + 1), the rounding of R to T included. Complex entries are two
// numbers, which doubles that at most. Of complex products, by planes.hpp, the real parts are off by at most γ_{n+1} |A||X|, the
// imaginary ones by 3 γ_{n+4} |A||X|, which is less than γ with 4(n + 4) terms altogether, as in Python. For n, where it stands for a sum of n products, `roundings(n)` takes its place: sums are made of shorter ones here.
//
// Where A and X are Hermitian, so is every X_k, and below the diagonal stands what was computed above it. Entries there are
// off by as much as their mirror images: the Frobenius norm of all errors is at most √2 times that of a whole product. Over
// the three products of order 4, whose errors are multiplied by R further on, that is √2 (1 + √2 ρ + 2ρ²) instead of
// 1 + ρ + ρ²: at most 2 / (1 − ρ) for ρ ≤ ½.
#pragma once

#include "product.hpp"

namespace neuralinv::NEURALINV_TARGET {

template <class S>
inline constexpr bool is_single = sizeof(RealOf<S>) == sizeof(float);

template <class S>
inline constexpr double roundoff = is_single<S> ? 0x1p-24 : 0x1p-53;

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

// Of a product with R, relative to the norm of the other factor: what R as kept in T is off by, and what the product rounds.
// Mirrored, with what that adds in all products of a correction.
template <class S>
NEURALINV_INLINE double rounding_of_product(int n, Proof proof, bool mirrored) {
    const double rounding = proof.delta + 2 * gamma_of<S>(roundings(n) + 3 + joining_roundings<S>, roundoff<S>) * proof.rho;
    return mirrored ? 2 * rounding : rounding;
}

// Beyond, no order is worth its products; the bounds of rounding below assume it.
inline constexpr double largest_corrected_residual = 0.5;

// ‖XR‖_F / ‖X‖_F from the squares of the norms as computed, of the product in T: far less than ρ where R hardly has what X is
// largest in.
template <class S>
NEURALINV_INLINE double prove_deviation(int n, Proof proof, double square_X, double square_XR, bool mirrored) {
    // A tile adds up at most 128 squares in T for each lane; those below the smallest normal number may be lost.
    constexpr double up = is_single<S> ? 1 + 0x1p-16 : 1 + 0x1p-30, lost = is_single<S> ? 0x1p-62 : 0x1p-510;
    const double X = __builtin_sqrt(square_X) * (1 - 0x1p-30);
    const double deviation = (__builtin_sqrt(square_XR) * up + n * lost) / X + rounding_of_product<S>(n, proof, mirrored);
    return deviation < proof.rho ? deviation : proof.rho;  // not where it is none
}

// deviation: ‖XR‖_F / ‖X‖_F is no larger; ρ, where it is not known.
template <class S>
NEURALINV_INLINE double bound_of_order(int order, int n, Proof proof, double deviation, bool mirrored) {
    const double rho = proof.rho;
    if (!(rho < 1)) return __builtin_inf();
    if (order == 1) return rho;
    const double rounding = rounding_of_product<S>(n, proof, mirrored) + (mirrored ? 4 : 2) * roundoff<S>;
    if (!(rho <= largest_corrected_residual && rounding < 0.25)) return __builtin_inf();
    double power = 1;
    for (int k = 1; k < order; ++k) power *= rho;
    const double left = deviation * power * (1 + rho) / (1 - rho), least = rho * power < left ? rho * power : left;
    return (least + (1 + rho) * rounding / ((1 - rho) * (1 - rho - rounding))) * (1 + 64 * 0x1p-53);
}

// Whether half products are likely to be as good.
template <class S>
NEURALINV_INLINE bool may_be_mirrored(int n, Proof proof, double tolerance) {
    return rounding_of_product<S>(n, proof, true) + 4 * roundoff<S> <= tolerance;
}

// The lowest order, from 2 on, that brings a guess to the tolerance; 1 where none does.
template <class S>
NEURALINV_INLINE int choose_order(int n, Proof proof, double deviation, double tolerance, int highest, bool mirrored) {
    for (int order = 2; order <= highest; ++order)
        if (bound_of_order<S>(order, n, proof, deviation, mirrored) <= tolerance) return order;
    return 1;
}

// Whether a product is worth forming to learn the deviation: if it is a sixteenth of what it can be, as it is for matrices of
// some size, the highest order suffices.
template <class S>
NEURALINV_INLINE bool is_promising(int n, Proof proof, double tolerance, int highest, bool mirrored) {
    return highest > 1 && bound_of_order<S>(highest, n, proof, proof.rho / 16, mirrored) <= tolerance;
}

}  // namespace neuralinv::NEURALINV_TARGET
