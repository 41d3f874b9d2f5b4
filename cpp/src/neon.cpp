// Armv8 Advanced SIMD.
#define NEURALINV_TARGET neon
#define NEURALINV_VECTOR_BYTES 16
#include "neuralinv/general.hpp"
#include "neuralinv/positive.hpp"
#include "neuralinv/tiles.hpp"

#include "kernels.hpp"

NEURALINV_DEFINE_KERNELS("neon", neon)
