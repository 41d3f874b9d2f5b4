// AVX-512 (F, DQ, VL, BW).
#define NEURALINV_TARGET avx512
#define NEURALINV_VECTOR_BYTES 64
#include "neuralinv/root_residual.hpp"
#include "neuralinv/shifted_inverses.hpp"
#include "neuralinv/survey.hpp"

#include "root_kernels.hpp"

NEURALINV_DEFINE_ROOTS("avx512", avx512)
