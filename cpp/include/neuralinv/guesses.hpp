// A batch of approximate inverses to correct and to certify, and combinations to make them of.
#pragma once

#include <cstdint>

#include "batch.hpp"
#include "complex.hpp"
#include "status.hpp"

namespace neuralinv {

// The largest n: rows of a product lie in memory of a fixed size.
inline constexpr std::int64_t largest_corrected = 1024;

inline constexpr int highest_order = 4;
inline constexpr int most_guesses = 4;

// Inverts matrices [begin, end) of A into X: (A.count, n, n). info: (A.count) or null.
template <class S>
using InvertRange = FirstFailure (*)(const MatrixBatch<S>& A, std::int64_t begin, std::int64_t end, S* X, Status* info);

// Matrices A, of any strides, and the last inverses of their sequences, latest first, each (A.count, n, n) without gaps:
// X₁, 2X₁ − X₂, 3X₁ − 3X₂ + X₃ or 4X₁ − 6X₂ + 4X₃ − X₄ is taken for the inverse, as `count` says. Of none, `invert` makes
// it, or `invert_positive` where A is positive definite, if there is one: correction_dispatch.cpp chooses them.
template <class S>
struct Guesses {
    MatrixBatch<S> A;
    const S* past[most_guesses];
    int count;
    InvertRange<S> invert = nullptr;
    InvertRange<S> invert_positive = nullptr;
};

// X: (count, n, n) without gaps, overlaps nothing; bounds, orders: (count).
template <class S>
struct Corrected {
    S* X;
    double* bounds;
    std::int8_t* orders;
};

// X = C B: C (count, terms), B (terms, length), X (count, length), all without gaps; X overlaps nothing. Terms are added
// from the last to the first: where they get smaller, sums are rounded the less for it.
inline constexpr std::int64_t most_terms = 512;

template <class T>
struct Combination {
    const T* C;
    const T* B;
    T* X;
    std::int64_t count;
    std::int64_t terms;  // 1 to most_terms
    std::int64_t length;
};

// squares[b] = Σⱼ (A − C B)²ᵦⱼ in doubles: A (count, length), C (count, terms), B (terms, length), all without gaps.
template <class T>
struct Deviation {
    const T* A;
    const double* C;
    const double* B;
    double* squares;
    std::int64_t count;
    std::int64_t terms;  // 1 to most_terms
    std::int64_t length;
};

// The largest sums of magnitudes of rows and of columns of X (count, n, n), without gaps; of complex entries, bounds of them
// that are at most 8 % larger.
template <class S>
struct RowSums {
    const S* X;
    RealOf<S>* rows;
    RealOf<S>* columns;
    std::int64_t count;
    std::int64_t n;
};

// What random vectors Ω say of candidates X for the inverses of A, with D = AXΩ − Ω: sums of squares of the columns of D and
// of XD, and of the entries of A and X. A: of any strides; X: (count, n, n) and omega: (n, vectors), without gaps; squares:
// (count, 2, columns), of D and of XD, norms: (count, 2), of A and of X. A complex vector is two columns of real numbers.
// roots: X are inverse square roots, and D = XAXΩ − Ω.
inline constexpr std::int64_t largest_probed = 1024;
inline constexpr std::int64_t most_probed_columns = 64;

// The scalar of complex vectors is Complex<double>.
template <class S>
struct Probing {
    MatrixBatch<S> A;
    const S* X;
    const double* omega;
    double* squares;
    double* norms;
    std::int64_t columns;
    bool roots = false;
};

}  // namespace neuralinv
