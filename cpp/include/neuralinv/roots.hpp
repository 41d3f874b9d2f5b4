// What inverse square roots of a batch of symmetric positive definite matrices are made of: looks at the matrices, sums of
// shifted inverses, and residuals. Everything lies row by row without gaps: A and X are (count, n, n).
#pragma once

#include <cstdint>

#include "batch.hpp"
#include "guesses.hpp"

namespace neuralinv {

// The largest n: rows of a product lie in memory of a fixed size.
inline constexpr std::int64_t largest_root = 1024;

// Of each matrix (count, 3): ‖A‖_F², ‖A‖_∞, and an estimate of ‖A‖₂ from below. symmetric: (count), whether both triangles
// hold the same bits. start: (n), where the powers begin.
inline constexpr std::int64_t surveyed = 3;

template <class T>
struct Survey {
    const T* A;
    const T* start;
    double* sizes;
    bool* symmetric;
    std::int64_t count;
    std::int64_t n;
};

// X = Σⱼ wⱼ s^{1/2} (A + s tⱼ I)⁻¹ with a scale s of each matrix, `scales` (count), and shifts t and weights w (terms) of all of
// them. X is symmetric, and not a number where a shifted matrix is not positive definite. Only lower triangles of A have an
// effect. `invert` is for root_dispatch.cpp to choose.
template <class T>
struct ShiftedInverses {
    const T* A;
    const double* scales;
    const double* shifts;
    const double* weights;
    T* X;
    std::int64_t count;
    std::int64_t n;
    std::int64_t terms;
    InvertRange<T> invert = nullptr;
};

// With R = I − XAX in doubles and U = RX in T, U of R rounded to T: the sums of squares (count, 5) of A, X, R, U and U − Uᵀ,
// and X ← X + (U + Uᵀ) / 4. A and X are symmetric, and so is what X becomes.
inline constexpr std::int64_t root_sums = 5;

template <class T>
struct RootResidual {
    const T* A;
    T* X;
    double* squares;
    std::int64_t count;
    std::int64_t n;
};

// Whether elimination in T, without interchanges, meets positive pivots only: positive (count).
template <class T>
struct PivotSigns {
    const T* X;
    bool* positive;
    std::int64_t count;
    std::int64_t n;
};

}  // namespace neuralinv
