// The instruction set that every machine of the architecture has.
#define NEURALINV_TARGET baseline
#define NEURALINV_VECTOR_BYTES 16
#include "block_tridiagonal_target.hpp"

NEURALINV_DEFINE_BLOCK_TRIDIAGONAL("baseline", baseline)
