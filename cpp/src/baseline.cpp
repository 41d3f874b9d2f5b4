// The instruction set that every machine of the architecture has.
#define NEURALINV_TARGET baseline
#define NEURALINV_VECTOR_BYTES 16
#include "neuralinv/general.hpp"
#include "neuralinv/positive.hpp"
#include "neuralinv/tiles.hpp"

#include "kernels.hpp"

NEURALINV_DEFINE_KERNELS("baseline", baseline)
