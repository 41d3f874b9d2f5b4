// What each instruction set offers to dispatch.cpp.
#pragma once

#include "neuralinv/batch.hpp"
#include "neuralinv/careful.hpp"
#include "neuralinv/right_sides.hpp"
#include "neuralinv/status.hpp"

namespace neuralinv {

// Matrices [begin, end) of a batch. info: (A.count) or null. X: (A.count, ...) without gaps.
template <class T>
struct KernelsOf {
    FirstFailure (*invert)(const MatrixBatch<T>& A, Structure structure, std::int64_t begin, std::int64_t end, T* X,
                           Status* info);
    FirstFailure (*solve)(const MatrixBatch<T>& A, const RightSides<T>& B, Structure structure, std::int64_t begin,
                          std::int64_t end, T* X, Status* info);
    FirstFailure (*slogdet)(const MatrixBatch<T>& A, Structure structure, std::int64_t begin, std::int64_t end, T* sign,
                            T* logabsdet);
    void (*certify)(const T* A, T* X, int n, std::int64_t begin, std::int64_t end, double tolerance, double* bounds);
};

struct Kernels {
    const char* name;
    int vector_bytes;
    KernelsOf<float> f32;
    KernelsOf<double> f64;

    const KernelsOf<float>& of(float) const { return f32; }
    const KernelsOf<double>& of(double) const { return f64; }
};

}  // namespace neuralinv

// The body of every file that compiles the kernels for one instruction set.
#define NEURALINV_DEFINE_KERNELS(name, target)                                                           \
    namespace neuralinv {                                                                                \
    extern const Kernels kernels_##target;                                                               \
    const Kernels kernels_##target = {                                                                   \
        name,                                                                                            \
        NEURALINV_VECTOR_BYTES,                                                                          \
        {&target::invert<float>, &target::solve<float>, &target::slogdet<float>,                         \
         &target::certify<float>},                                                                       \
        {&target::invert<double>, &target::solve<double>, &target::slogdet<double>,                      \
         &target::certify<double>},                                                                      \
    };                                                                                                   \
    }

// The body of those that compile the same without fused operations.
#define NEURALINV_DEFINE_UNFUSED(target)                                                                               \
    namespace neuralinv::target {                                                                                      \
    NEURALINV_DEFINE_UNFUSED_FOR(float)                                                                                \
    NEURALINV_DEFINE_UNFUSED_FOR(double)                                                                               \
    }
#define NEURALINV_DEFINE_UNFUSED_FOR(T)                                                                                \
    template FirstFailure invert_columns<T>(const MatrixBatch<T>&, Structure, std::int64_t, std::int64_t, T*, Status*); \
    template FirstFailure solve_columns<T>(const MatrixBatch<T>&, const RightSides<T>&, Structure, std::int64_t,        \
                                           std::int64_t, T*, Status*);                                                 \
    template FirstFailure slogdet_columns<T>(const MatrixBatch<T>&, Structure, std::int64_t, std::int64_t, T*, T*);
