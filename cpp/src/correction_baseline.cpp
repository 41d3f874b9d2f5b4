// The instruction set that every machine of the architecture has.
#define NEURALINV_TARGET baseline
#define NEURALINV_VECTOR_BYTES 16
#include "neuralinv/combination.hpp"
#include "neuralinv/correction.hpp"
#include "neuralinv/probing.hpp"
#include "neuralinv/row_sums.hpp"

#include "correction_kernels.hpp"

NEURALINV_DEFINE_CORRECTION("baseline", baseline)
