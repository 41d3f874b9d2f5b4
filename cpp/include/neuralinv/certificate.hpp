// Bounds of the errors of a batch of inverses: which way for which size.
#pragma once

#include "certificate_lanes.hpp"
#include "certificate_rows.hpp"
#include "certified_tiles.hpp"
#include "dispatch.hpp"

namespace neuralinv::NEURALINV_TARGET {

// Bounds of matrices [begin, end): A and X (count, n, n), bounds (count); 1 ≤ n ≤ largest_certified. What misses the
// tolerance is corrected first where that can help.
template <class T>
inline void certify(const T* A, T* X, int n, std::int64_t begin, std::int64_t end, double tolerance, double* bounds) {
    const std::int64_t entries = std::int64_t(n) * n;
    std::int64_t b = begin;
    if (2 <= n && n <= largest_certified_in_lanes)
        for (; b + lanes<T> <= end; b += lanes<T>) certify_tile(A + b * entries, X + b * entries, n, tolerance, bounds + b);
    if (b == end) return;
    alignas(64) double memory[3 * largest_certified * largest_certified];
    for (; b < end; ++b) bounds[b] = certify_one(A + b * entries, X + b * entries, n, tolerance, memory);
}

}  // namespace neuralinv::NEURALINV_TARGET
