// AVX2 and FMA.
#define NEURALINV_TARGET avx2
#define NEURALINV_VECTOR_BYTES 32
#include "neuralinv/root_residual.hpp"
#include "neuralinv/shifted_inverses.hpp"
#include "neuralinv/survey.hpp"

#include "root_kernels.hpp"

NEURALINV_DEFINE_ROOTS("avx2", avx2)
