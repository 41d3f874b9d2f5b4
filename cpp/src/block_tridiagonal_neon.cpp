// Armv8 Advanced SIMD.
#define NEURALINV_TARGET neon
#define NEURALINV_VECTOR_BYTES 16
#include "block_tridiagonal_target.hpp"

NEURALINV_DEFINE_BLOCK_TRIDIAGONAL("neon", neon)
