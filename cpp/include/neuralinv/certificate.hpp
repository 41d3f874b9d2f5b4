// Bounds of the errors of a batch of inverses: which way for which size.
#pragma once

#include "certificate_lanes.hpp"
#include "certificate_rows.hpp"
#include "certified_tiles.hpp"

namespace neuralinv::NEURALINV_TARGET {

// body(n) for n that the compiler knows, body(0) for others.
template <class Body>
NEURALINV_INLINE void with_fixed(int n, const Body& body) {
    switch (n) {
        case 4: return body(Index<4>{});
        case 5: return body(Index<5>{});
        case 6: return body(Index<6>{});
        case 7: return body(Index<7>{});
        case 8: return body(Index<8>{});
        case 9: return body(Index<9>{});
        case 10: return body(Index<10>{});
        case 11: return body(Index<11>{});
        case 12: return body(Index<12>{});
        case 13: return body(Index<13>{});
        case 14: return body(Index<14>{});
        case 15: return body(Index<15>{});
        case 16: return body(Index<16>{});
        default: return body(Index<0>{});
    }
}

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
    with_fixed(n, [&](auto fixed_n) NEURALINV_LAMBDA {
        constexpr int fixed = decltype(fixed_n)::value;
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
