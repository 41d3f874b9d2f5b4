// What each instruction set offers to dispatch.cpp.
#pragma once

#include "neuralinv/batch.hpp"
#include "neuralinv/complex.hpp"
#include "neuralinv/right_sides.hpp"
#include "neuralinv/status.hpp"

namespace neuralinv {

template <class S>
using InvertRange = FirstFailure (*)(const MatrixBatch<S>& A, std::int64_t begin, std::int64_t end, S* X, Status* info);

template <class S>
using SolveRange = FirstFailure (*)(const MatrixBatch<S>& A, const RightSides<S>& B, std::int64_t begin,
                                    std::int64_t end, S* X, Status* info);

template <class S>
using SlogdetRange = void (*)(const MatrixBatch<S>& A, std::int64_t begin, std::int64_t end, S* sign,
                              RealOf<S>* logabsdet);

template <class S>
using SlogdetPositiveRange = FirstFailure (*)(const MatrixBatch<S>& A, std::int64_t begin, std::int64_t end, S* sign,
                                              RealOf<S>* logabsdet, Status* info);

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
};

// Bounds of the errors of inverses, certificate.hpp.
template <class T>
using Certify = void (*)(const T* A, T* X, int n, std::int64_t begin, std::int64_t end, double tolerance, double* bounds);

struct Kernels {
    const char* name;
    int vector_bytes;
    GeneralKernels<float> general_f32;
    GeneralKernels<double> general_f64;
    GeneralKernels<Complex<float>> general_c64;
    GeneralKernels<Complex<double>> general_c128;
    PositiveKernels<float> positive_f32;
    PositiveKernels<double> positive_f64;
    Certify<float> certify_f32;
    Certify<double> certify_f64;

    template <class S>
    const GeneralKernels<S>& general() const;
    template <class T>
    const PositiveKernels<T>& positive() const;

    template <class T>
    Certify<T> certify() const;
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
inline Certify<float> Kernels::certify() const {
    return certify_f32;
}

template <>
inline Certify<double> Kernels::certify() const {
    return certify_f64;
}

}  // namespace neuralinv

// The body of every file that compiles the kernels for one instruction set.
#define NEURALINV_GENERAL(target, scalar) {&target::invert<scalar>, &target::solve<scalar>, &target::slogdet<scalar>}
#define NEURALINV_POSITIVE(target, scalar) \
    {&target::invert_positive<scalar>, &target::solve_positive<scalar>, &target::slogdet_positive<scalar>}
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
                                      &target::certify<float>,                    \
                                      &target::certify<double>};                  \
    }
