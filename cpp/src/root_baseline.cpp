// The instruction set that every machine of the architecture has.
#define NEURALINV_TARGET baseline
#define NEURALINV_VECTOR_BYTES 16
#include "neuralinv/root_residual.hpp"
#include "neuralinv/shifted_inverses.hpp"
#include "neuralinv/survey.hpp"

#include "root_kernels.hpp"

NEURALINV_DEFINE_ROOTS("baseline", baseline)
