// AVX2 with fused multiply-add. Without fused operations, for matrices that avx2.cpp cannot tell from singular ones.
#define NEURALINV_TARGET avx2_unfused
#define NEURALINV_VECTOR_BYTES 32
#include "neuralinv/columns_range.hpp"

#include "kernels.hpp"

NEURALINV_DEFINE_UNFUSED(avx2_unfused)
