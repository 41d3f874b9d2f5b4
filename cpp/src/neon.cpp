// Armv8 Advanced SIMD.
#define NEURALINV_TARGET neon
#define NEURALINV_VECTOR_BYTES 16
#include "neuralinv/certified_range.hpp"
#include "neuralinv/pivot_signs.hpp"
#include "neuralinv/symmetric_team.hpp"

#include "kernels.hpp"

NEURALINV_DEFINE_KERNELS("neon", neon)
