// Bounds of the errors of a batch of inverses: which way for which size.
#pragma once

#include "certificate_lanes.hpp"
#include "certificate_rows.hpp"
#include "certified_tiles.hpp"
#include "loops.hpp"

namespace neuralinv::NEURALINV_TARGET {

// Sizes of which whole tiles are bounded in lanes first: with the widest vectors, rows of doubles leave much of two of them empty.
template <class T, int n>
inline constexpr bool looks_in_lanes = NEURALINV_VECTOR_BYTES == 64 && sizeof(T) == 4 && 9 <= n && n <= 12;

// Bounds of matrices [begin, end): A and X (count, n, n), bounds (count); 1 ≤ n ≤ largest_certified. What misses the
// tolerance is corrected first where that can help. Returns whether all are at most the tolerance then.
template <class T>
inline bool certify(const T* A, T* X, int n, std::int64_t begin, std::int64_t end, double tolerance, double* bounds) {
    bool met = true;
    if (begin == end) return met;
    alignas(64) double memory[4 * largest_certified * largest_certified];
    with_size<largest_fixed, smallest_fixed>(n, [&](auto size) NEURALINV_LAMBDA {
        constexpr int fixed = fixed_or<0, decltype(size)>;
        Waiting<fixed, T> waiting{A, X, n, tolerance, bounds, memory, {}};
        std::int64_t b = begin;
        if constexpr (looks_in_lanes<T, fixed>)
            for (; b + lanes<T> <= end; b += lanes<T>) {
                certify_tile<T, fixed>(A + b * fixed * fixed, X + b * fixed * fixed, bounds + b);
                for (std::int64_t c = b; c < b + lanes<T>; ++c)
                    if (!(bounds[c] <= tolerance)) waiting.add(c);
            }
        for (; b < end; ++b) waiting.add(b);
        waiting.settle();
        met = waiting.met;
    });
    return met;
}

}  // namespace neuralinv::NEURALINV_TARGET
