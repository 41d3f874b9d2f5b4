// AVX-512 (F, DQ, VL, BW).
#define NEURALINV_TARGET avx512
#define NEURALINV_VECTOR_BYTES 64
#include "neuralinv/certified_range.hpp"
#include "neuralinv/pivot_signs.hpp"
#include "neuralinv/symmetric_team.hpp"

#include "kernels.hpp"

NEURALINV_DEFINE_KERNELS("avx512", avx512)
