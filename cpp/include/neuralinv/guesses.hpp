// A batch of approximate inverses to correct and to certify, and combinations to make them of.
#pragma once

#include <cstdint>

#include "batch.hpp"

namespace neuralinv {

// The largest n: rows of a product lie in memory of a fixed size.
inline constexpr std::int64_t largest_corrected = 512;

inline constexpr int highest_order = 4;
inline constexpr int most_guesses = 3;

// Matrices A, of any strides, and the last inverses of their sequences, latest first, each (A.count, n, n) without gaps:
// X₁, 2X₁ − X₂ or 3X₁ − 3X₂ + X₃ is taken for the inverse, as `count` says.
template <class S>
struct Guesses {
    MatrixBatch<S> A;
    const S* past[most_guesses];
    int count;
};

// X: (count, n, n) without gaps, overlaps nothing; bounds, orders: (count).
template <class S>
struct Corrected {
    S* X;
    double* bounds;
    std::int8_t* orders;
};

// X = C B: C (count, terms), B (terms, length), X (count, length), all without gaps; X overlaps nothing.
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

}  // namespace neuralinv
