// What each instruction set offers to correction_dispatch.cpp.
#pragma once

#include <cstddef>

#include "neuralinv/guesses.hpp"

namespace neuralinv {

template <class T>
struct CorrectionKernels {
    std::int64_t (*scratch_bytes)(std::int64_t n);
    // Matrices begin..end-1; scratch: aligned to 64 bytes.
    void (*correct)(const Guesses<T>& guesses, double tolerance, int highest, std::int64_t begin, std::int64_t end,
                    const Corrected<T>& result, std::byte* scratch);

    std::int64_t (*combination_bytes)(std::int64_t terms);
    void (*combine)(const Combination<T>& combination, std::int64_t begin, std::int64_t end, std::byte* scratch);
    void (*deviate)(const Deviation<T>& deviation, std::int64_t begin, std::int64_t end, double* squares,
                    std::byte* scratch);  // combination_bytes of doubles

    void (*row_sums)(const RowSums<T>& norms, std::int64_t begin, std::int64_t end, T* columns);

    std::int64_t (*probing_bytes)(std::int64_t n, std::int64_t width);
    void (*probe)(const Probing<T>& probing, std::int64_t begin, std::int64_t end, std::byte* scratch);
};

struct CorrectionTarget {
    const char* name;
    CorrectionKernels<float> f32;
    CorrectionKernels<double> f64;
};

}  // namespace neuralinv

// The body of every file that compiles the kernels for one instruction set.
#define NEURALINV_CORRECTION(target, scalar)                                                                         \
    {&target::correction_bytes<scalar>, &target::correct_range<scalar>, &target::combination_bytes<scalar>,           \
     &target::combine_range<scalar>,    &target::deviate_range<scalar>, &target::row_sums_range<scalar>,              \
     &target::probing_bytes<scalar>,    &target::probe_range<scalar>}
#define NEURALINV_DEFINE_CORRECTION(name, target)                                                            \
    namespace neuralinv {                                                                                    \
    extern const CorrectionTarget correction_##target;                                                       \
    const CorrectionTarget correction_##target = {name, NEURALINV_CORRECTION(target, float),                 \
                                                  NEURALINV_CORRECTION(target, double)};                     \
    }
