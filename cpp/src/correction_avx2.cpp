// AVX2 and FMA.
#define NEURALINV_TARGET avx2
#define NEURALINV_VECTOR_BYTES 32
#include "neuralinv/combination.hpp"
#include "neuralinv/correction.hpp"
#include "neuralinv/probing.hpp"
#include "neuralinv/row_sums.hpp"

#include "correction_kernels.hpp"

NEURALINV_DEFINE_CORRECTION("avx2", avx2)
