// AVX2 with fused multiply-add.
#define NEURALINV_TARGET avx2
#define NEURALINV_VECTOR_BYTES 32
#include "block_tridiagonal_target.hpp"

NEURALINV_DEFINE_BLOCK_TRIDIAGONAL("avx2", avx2)
