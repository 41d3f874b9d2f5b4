// The instruction set that every machine of the architecture has.
#define NEURALINV_TARGET baseline
#define NEURALINV_VECTOR_BYTES 16
#define NEURALINV_FEW_UNROLLED
#include "neuralinv/certified_range.hpp"
#include "neuralinv/pivot_signs.hpp"
#include "neuralinv/symmetric_team.hpp"

#include "kernels.hpp"

NEURALINV_DEFINE_KERNELS("baseline", baseline)
