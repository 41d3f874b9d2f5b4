// What each instruction set offers to root_dispatch.cpp.
#pragma once

#include <cstddef>

#include "neuralinv/roots.hpp"

namespace neuralinv {

// Matrices begin..end-1; scratch: aligned to 64 bytes.
template <class T>
struct RootKernels {
    std::int64_t (*survey_bytes)(std::int64_t n);
    void (*survey)(const Survey<T>& survey, std::int64_t begin, std::int64_t end, std::byte* scratch);
    std::int64_t (*shifted_bytes)(std::int64_t n);
    void (*sum_shifted)(const ShiftedInverses<T>& sum, std::int64_t begin, std::int64_t end, std::byte* scratch);
    std::int64_t (*root_bytes)(std::int64_t n);
    void (*correct)(const RootResidual<T>& residual, std::int64_t begin, std::int64_t end, std::byte* scratch);
};

struct RootTarget {
    const char* name;
    RootKernels<float> f32;
    RootKernels<double> f64;
};

}  // namespace neuralinv

// The body of every file that compiles the kernels for one instruction set.
#define NEURALINV_ROOTS(target, scalar)                                   \
    {&target::survey_bytes<scalar>,      &target::survey_range<scalar>,   \
     &target::shifted_bytes<scalar>,     &target::sum_shifted_range<scalar>, \
     &target::root_bytes<scalar>,        &target::correct_roots_range<scalar>}
#define NEURALINV_DEFINE_ROOTS(name, target)                                                                  \
    namespace neuralinv {                                                                                     \
    extern const RootTarget root_##target;                                                                    \
    const RootTarget root_##target = {name, NEURALINV_ROOTS(target, float), NEURALINV_ROOTS(target, double)}; \
    }
