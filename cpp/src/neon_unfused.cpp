// Armv8 Advanced SIMD. Without fused operations, for matrices that neon.cpp cannot tell from singular ones.
#define NEURALINV_TARGET neon_unfused
#define NEURALINV_VECTOR_BYTES 16
#include "neuralinv/columns_range.hpp"

#include "kernels.hpp"

NEURALINV_DEFINE_UNFUSED(neon_unfused)
