// What each instruction set offers to correction_dispatch.cpp.
#pragma once

#include <cstddef>

#include "neuralinv/complex.hpp"
#include "neuralinv/guesses.hpp"

namespace neuralinv {

template <class S>
struct CorrectionKernels {
    std::int64_t (*scratch_bytes)(std::int64_t n);
    // Matrices begin..end-1; scratch: aligned to 64 bytes.
    void (*correct)(const Guesses<S>& guesses, double tolerance, int highest, std::int64_t begin, std::int64_t end,
                    const Corrected<S>& result, std::byte* scratch);
};

template <class T>
struct CombinationKernels {
    std::int64_t (*scratch_bytes)(std::int64_t terms);
    // Columns begin..end-1.
    void (*combine)(const Combination<T>& combination, std::int64_t begin, std::int64_t end, std::byte* scratch);
};

template <class T>
struct DeviationKernels {
    // Columns begin..end-1; scratch: of combinations of doubles.
    void (*deviate)(const Deviation<T>& deviation, std::int64_t begin, std::int64_t end, double* squares,
                    std::byte* scratch);
};

template <class S>
struct RowSumsKernels {
    std::int64_t (*scratch_bytes)(std::int64_t n);
    // Matrices begin..end-1.
    void (*row_sums)(const RowSums<S>& norms, std::int64_t begin, std::int64_t end, std::byte* scratch);
};

template <class S>
struct ProbingKernels {
    std::int64_t (*scratch_bytes)(std::int64_t n, std::int64_t columns);
    // Matrices begin..end-1.
    void (*probe)(const Probing<S>& probing, std::int64_t begin, std::int64_t end, std::byte* scratch);
};

struct CorrectionTarget {
    const char* name;
    CorrectionKernels<float> correct_f32;
    CorrectionKernels<double> correct_f64;
    CorrectionKernels<Complex<float>> correct_c64;
    CorrectionKernels<Complex<double>> correct_c128;
    CombinationKernels<float> combine_f32;
    CombinationKernels<double> combine_f64;
    DeviationKernels<float> deviate_f32;
    DeviationKernels<double> deviate_f64;
    RowSumsKernels<float> row_sums_f32;
    RowSumsKernels<double> row_sums_f64;
    RowSumsKernels<Complex<float>> row_sums_c64;
    RowSumsKernels<Complex<double>> row_sums_c128;
    ProbingKernels<float> probe_f32;
    ProbingKernels<double> probe_f64;
    ProbingKernels<Complex<float>> probe_c64;
    ProbingKernels<Complex<double>> probe_c128;
};

}  // namespace neuralinv

// The body of every file that compiles the kernels for one instruction set.
#define NEURALINV_CORRECTION(target, scalar) {&target::correction_bytes<scalar>, &target::correct_range<scalar>}
#define NEURALINV_COMBINATION(target, scalar) {&target::combination_bytes<scalar>, &target::combine_range<scalar>}
#define NEURALINV_DEVIATION(target, scalar) {&target::deviate_range<scalar>}
#define NEURALINV_ROW_SUMS(target, scalar) {&target::row_sums_bytes<scalar>, &target::row_sums_range<scalar>}
#define NEURALINV_PROBING(target, scalar) {&target::probing_bytes<scalar>, &target::probe_range<scalar>}
#define NEURALINV_DEFINE_CORRECTION(name, target)                                                \
    namespace neuralinv {                                                                        \
    extern const CorrectionTarget correction_##target;                                           \
    const CorrectionTarget correction_##target = {name,                                          \
                                                  NEURALINV_CORRECTION(target, float),           \
                                                  NEURALINV_CORRECTION(target, double),          \
                                                  NEURALINV_CORRECTION(target, Complex<float>),  \
                                                  NEURALINV_CORRECTION(target, Complex<double>), \
                                                  NEURALINV_COMBINATION(target, float),          \
                                                  NEURALINV_COMBINATION(target, double),         \
                                                  NEURALINV_DEVIATION(target, float),            \
                                                  NEURALINV_DEVIATION(target, double),           \
                                                  NEURALINV_ROW_SUMS(target, float),             \
                                                  NEURALINV_ROW_SUMS(target, double),            \
                                                  NEURALINV_ROW_SUMS(target, Complex<float>),    \
                                                  NEURALINV_ROW_SUMS(target, Complex<double>),   \
                                                  NEURALINV_PROBING(target, float),              \
                                                  NEURALINV_PROBING(target, double),             \
                                                  NEURALINV_PROBING(target, Complex<float>),     \
                                                  NEURALINV_PROBING(target, Complex<double>)};   \
    }
