// Which share of the work on a matrix is whose.
#pragma once

#include "simd.hpp"

namespace neuralinv::NEURALINV_TARGET {

// Of so many parts, each without gaps, one: [begin, end) of so many pieces. By default there is no other.
//
// Without gaps, since a core that reads on and on is given what comes next as well, up to 64 KiB of it: from the cache of whoever
// works there, who has to fetch it back.
struct Part {
    int number = 0;
    int of = 1;

    NEURALINV_INLINE int begin(int pieces) const { return int(std::int64_t(pieces) * number / of); }
    NEURALINV_INLINE int end(int pieces) const { return int(std::int64_t(pieces) * (number + 1) / of); }
};

// Pieces [begin, end) of somebody's work. The two who work side by side do it away from each other: see above.
struct Stretch {
    int begin = 0;
    int end = 0;

    NEURALINV_INLINE bool has(int piece) const { return begin <= piece && piece < end; }
    NEURALINV_INLINE int size() const { return end - begin; }

    template <class Body>
    NEURALINV_INLINE void each(Part whose, const Body& body) const {
        if (whose.number % 2 == 0)
            for (int piece = end; piece-- > begin;) body(piece);
        else
            for (int piece = begin; piece < end; ++piece) body(piece);
    }
};

}  // namespace neuralinv::NEURALINV_TARGET
