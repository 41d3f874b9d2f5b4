// What became of the matrices of a range, one after the other.
#pragma once

#include "batch.hpp"
#include "simd.hpp"
#include "status.hpp"

namespace neuralinv::NEURALINV_TARGET {

struct Report {
    FirstFailure first{-1, success};
    Status* info;

    NEURALINV_INLINE void operator()(std::int64_t b, Status status) {
        if (info) info[b] = status;
        if (status != success && first.index < 0) first = {b, status};
    }
};

}  // namespace neuralinv::NEURALINV_TARGET
