// AVX2 with fused multiply-add.
#define NEURALINV_TARGET avx2
#define NEURALINV_VECTOR_BYTES 32
#include "neuralinv/certified_range.hpp"
#include "neuralinv/pivot_signs.hpp"
#include "neuralinv/symmetric_team.hpp"

#include "kernels.hpp"

NEURALINV_DEFINE_KERNELS("avx2", avx2)
