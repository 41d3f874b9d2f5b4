// AVX-512 (F, DQ, VL, BW). Without fused operations, for matrices that avx512.cpp cannot tell from singular ones.
#define NEURALINV_TARGET avx512_unfused
#define NEURALINV_VECTOR_BYTES 64
#include "neuralinv/columns_range.hpp"

#include "kernels.hpp"

NEURALINV_DEFINE_UNFUSED(avx512_unfused)
