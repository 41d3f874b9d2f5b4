// What each instruction set offers to dispatch.cpp.
#pragma once

#include "neuralinv/batch.hpp"
#include "neuralinv/status.hpp"

namespace neuralinv {

template <class T>
using InvertRange = FirstFailure (*)(const MatrixBatch<T>& A, std::int64_t begin, std::int64_t end, T* X, Status* info);

struct Kernels {
    const char* name;
    int vector_bytes;
    InvertRange<float> invert_f32;
    InvertRange<double> invert_f64;

    template <class T>
    InvertRange<T> invert() const;
};

template <>
inline InvertRange<float> Kernels::invert<float>() const {
    return invert_f32;
}

template <>
inline InvertRange<double> Kernels::invert<double>() const {
    return invert_f64;
}

}  // namespace neuralinv

// The body of every file that compiles the kernels for one instruction set.
#define NEURALINV_DEFINE_KERNELS(name, target)                                                           \
    namespace neuralinv {                                                                                \
    extern const Kernels kernels_##target;                                                               \
    const Kernels kernels_##target = {name, NEURALINV_VECTOR_BYTES, &target::invert_range<float>,        \
                                      &target::invert_range<double>};                                    \
    }
