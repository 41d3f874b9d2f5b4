// Outcome of a factorisation or inversion, one per matrix, numbered as LAPACK numbers `info`.
#pragma once

#include <cstdint>

namespace neuralinv {

// 0: success. k >= 1: pivot k (counted from 1) is exactly zero, the matrix is singular and its result meaningless.
using Status = std::int32_t;

inline constexpr Status success = 0;

}  // namespace neuralinv
