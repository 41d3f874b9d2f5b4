// What each instruction set offers to dispatch.cpp.
#pragma once

#include "neuralinv/batch.hpp"
#include "neuralinv/careful.hpp"
#include "neuralinv/complex.hpp"
#include "neuralinv/guesses.hpp"
#include "neuralinv/right_sides.hpp"
#include "neuralinv/roots.hpp"
#include "neuralinv/status.hpp"

namespace neuralinv {

template <class S>
using SolveRange = FirstFailure (*)(const MatrixBatch<S>& A, const RightSides<S>& B, std::int64_t begin,
                                    std::int64_t end, S* X, Status* info);

template <class S>
using SlogdetRange = void (*)(const MatrixBatch<S>& A, std::int64_t begin, std::int64_t end, S* sign,
                              RealOf<S>* logabsdet);

template <class S>
using SlogdetPositiveRange = FirstFailure (*)(const MatrixBatch<S>& A, std::int64_t begin, std::int64_t end, S* sign,
                                              RealOf<S>* logabsdet, Status* info);

template <class T>
using PivotSignsRange = void (*)(const PivotSigns<T>& signs, std::int64_t begin, std::int64_t end);

// Of general matrices.
template <class S>
struct GeneralKernels {
    InvertRange<S> invert;
    SolveRange<S> solve;
    SlogdetRange<S> slogdet;
};

// Of symmetric positive definite matrices.
template <class T>
struct PositiveKernels {
    InvertRange<T> invert;
    SolveRange<T> solve;
    SlogdetPositiveRange<T> slogdet;
    PivotSignsRange<T> pivot_signs;
};

// Of large matrices, each by several threads: columns_team.hpp, symmetric_team.hpp.
template <class T>
struct TeamKernels {
    FirstFailure (*invert)(const MatrixBatch<T>& A, std::int64_t begin, std::int64_t end, T* X, Status* info, int threads);
    FirstFailure (*solve)(const MatrixBatch<T>& A, const RightSides<T>& B, std::int64_t begin, std::int64_t end, T* X, Status* info,
                          int threads);
    FirstFailure (*slogdet)(const MatrixBatch<T>& A, std::int64_t begin, std::int64_t end, T* sign, T* logabsdet, int threads);
};

// Inverses with bounds of their errors, certificate.hpp. A lies row by row without gaps.
template <class T>
using CertifiedInvertRange = FirstFailure (*)(const MatrixBatch<T>& A, std::int64_t begin, std::int64_t end, T* X,
                                              Status* info, double tolerance, double* bounds, bool* missed);

struct Kernels {
    const char* name;
    int vector_bytes;
    GeneralKernels<float> general_f32;
    GeneralKernels<double> general_f64;
    GeneralKernels<Complex<float>> general_c64;
    GeneralKernels<Complex<double>> general_c128;
    PositiveKernels<float> positive_f32;
    PositiveKernels<double> positive_f64;
    TeamKernels<float> general_team_f32, positive_team_f32;
    TeamKernels<double> general_team_f64, positive_team_f64;
    CertifiedInvertRange<float> certified_invert_f32;
    CertifiedInvertRange<double> certified_invert_f64;

    template <class S>
    const GeneralKernels<S>& general() const;
    template <class T>
    const PositiveKernels<T>& positive() const;
    template <class T>
    const TeamKernels<T>& team(Structure structure) const;

    template <class T>
    CertifiedInvertRange<T> certified_invert() const;
};

template <>
inline const GeneralKernels<float>& Kernels::general() const {
    return general_f32;
}

template <>
inline const GeneralKernels<double>& Kernels::general() const {
    return general_f64;
}

template <>
inline const GeneralKernels<Complex<float>>& Kernels::general() const {
    return general_c64;
}

template <>
inline const GeneralKernels<Complex<double>>& Kernels::general() const {
    return general_c128;
}

template <>
inline const PositiveKernels<float>& Kernels::positive() const {
    return positive_f32;
}

template <>
inline const PositiveKernels<double>& Kernels::positive() const {
    return positive_f64;
}

template <>
inline const TeamKernels<float>& Kernels::team(Structure structure) const {
    return structure == Structure::positive ? positive_team_f32 : general_team_f32;
}

template <>
inline const TeamKernels<double>& Kernels::team(Structure structure) const {
    return structure == Structure::positive ? positive_team_f64 : general_team_f64;
}

template <>
inline CertifiedInvertRange<float> Kernels::certified_invert() const {
    return certified_invert_f32;
}

template <>
inline CertifiedInvertRange<double> Kernels::certified_invert() const {
    return certified_invert_f64;
}

// Those in use.
const Kernels& kernels_in_use();

}  // namespace neuralinv

// The body of every file that compiles the kernels for one instruction set.
#define NEURALINV_GENERAL(target, scalar) {&target::invert<scalar>, &target::solve<scalar>, &target::slogdet<scalar>}
#define NEURALINV_POSITIVE(target, scalar) \
    {&target::invert_positive<scalar>, &target::solve_positive<scalar>, &target::slogdet_positive<scalar>, \
     &target::pivot_signs_range<scalar>}
#define NEURALINV_TEAM(target, kind, scalar)                                                        \
    {&target::invert_##kind##_in_teams<scalar>, &target::solve_##kind##_in_teams<scalar>, \
     &target::slogdet_##kind##_in_teams<scalar>}
#define NEURALINV_DEFINE_KERNELS(name, target)                  \
    namespace neuralinv {                                       \
    extern const Kernels kernels_##target;                      \
    const Kernels kernels_##target = {name,                     \
                                      NEURALINV_VECTOR_BYTES,   \
                                      NEURALINV_GENERAL(target, float),           \
                                      NEURALINV_GENERAL(target, double),          \
                                      NEURALINV_GENERAL(target, Complex<float>),  \
                                      NEURALINV_GENERAL(target, Complex<double>), \
                                      NEURALINV_POSITIVE(target, float),          \
                                      NEURALINV_POSITIVE(target, double),         \
                                      NEURALINV_TEAM(target, columns, float),     \
                                      NEURALINV_TEAM(target, symmetric, float),   \
                                      NEURALINV_TEAM(target, columns, double),    \
                                      NEURALINV_TEAM(target, symmetric, double),  \
                                      &target::certified_invert<float>,           \
                                      &target::certified_invert<double>};         \
    }
