// AVX-512 (F, DQ, VL, BW).
#define NEURALINV_TARGET avx512
#define NEURALINV_VECTOR_BYTES 64
#include "neuralinv/combination.hpp"
#include "neuralinv/correction.hpp"
#include "neuralinv/probing.hpp"
#include "neuralinv/row_sums.hpp"

#include "correction_kernels.hpp"

NEURALINV_DEFINE_CORRECTION("avx512", avx512)
