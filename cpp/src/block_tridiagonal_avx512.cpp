// AVX-512 (F, DQ, VL, BW).
#define NEURALINV_TARGET avx512
#define NEURALINV_VECTOR_BYTES 64
#include "block_tridiagonal_target.hpp"

NEURALINV_DEFINE_BLOCK_TRIDIAGONAL("avx512", avx512)
