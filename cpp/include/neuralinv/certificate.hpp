// Bounds of the errors of a batch of inverses: which way for which size.
#pragma once

#include "certificate_lanes.hpp"
#include "certificate_rows.hpp"
#include "certified_tiles.hpp"
#include "dispatch.hpp"

namespace neuralinv::NEURALINV_TARGET {

template <class T>
using CertifyOne = double (*)(const T* a, T* x, int n, double tolerance, double* memory);

// certify_one for its size: of those that the compiler knows, in half the time.
template <class T>
inline CertifyOne<T> certify_one_of(int n) {
    switch (n) {
        case 9: return &certify_one<9, T>;
        case 10: return &certify_one<10, T>;
        case 11: return &certify_one<11, T>;
        case 12: return &certify_one<12, T>;
        case 13: return &certify_one<13, T>;
        case 14: return &certify_one<14, T>;
        case 15: return &certify_one<15, T>;
        case 16: return &certify_one<16, T>;
        default: return &certify_one<0, T>;
    }
}

// Bounds of matrices [begin, end): A and X (count, n, n), bounds (count); 1 ≤ n ≤ largest_certified. What misses the
// tolerance is corrected first where that can help.
template <class T>
inline void certify(const T* A, T* X, int n, std::int64_t begin, std::int64_t end, double tolerance, double* bounds) {
    const std::int64_t entries = std::int64_t(n) * n;
    std::int64_t b = begin;
    if (2 <= n && n <= largest_certified_in_lanes)
        for (; b + lanes<T> <= end; b += lanes<T>) certify_tile(A + b * entries, X + b * entries, n, tolerance, bounds + b);
    if (b == end) return;
    alignas(64) double memory[4 * largest_certified * largest_certified];
    const CertifyOne<T> certify_next = certify_one_of<T>(n);
    for (; b < end; ++b) bounds[b] = certify_next(A + b * entries, X + b * entries, n, tolerance, memory);
}

}  // namespace neuralinv::NEURALINV_TARGET
