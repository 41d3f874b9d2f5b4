// AVX-512 (F, DQ, VL, BW).
#define NEURALINV_TARGET avx512
#define NEURALINV_VECTOR_BYTES 64
#include "neuralinv/ranges.hpp"

#include "kernels.hpp"

NEURALINV_DEFINE_KERNELS("avx512", avx512)
