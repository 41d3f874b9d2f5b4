// Square blocks of a matrix, a row in each short vector, transposed in registers.
#pragma once

#include "simd.hpp"

namespace neuralinv::NEURALINV_TARGET {

// 32 bytes where the instruction set has them, also where it has more: a block must fit into a small matrix.
inline constexpr int block_bytes = NEURALINV_VECTOR_BYTES >= 32 ? 32 : 16;

template <class T>
inline constexpr int block = block_bytes / int(sizeof(T));

template <class T>
struct RowOf {
    typedef T type __attribute__((vector_size(block_bytes)));
    typedef T unaligned __attribute__((vector_size(block_bytes), aligned(sizeof(T)), may_alias));
};

// A row of a block.
template <class T>
using Row = typename RowOf<T>::type;

template <class T>
NEURALINV_INLINE Row<T> load_row(const T* source) {
    return *reinterpret_cast<const typename RowOf<T>::unaligned*>(source);
}

template <class T>
NEURALINV_INLINE void store_row(Row<T> row, T* target) {
    *reinterpret_cast<typename RowOf<T>::unaligned*>(target) = row;
}

#if NEURALINV_VECTOR_BYTES >= 32

NEURALINV_INLINE void transpose(Row<float> (&v)[8]) {
    Row<float> a[8], b[8];
    static_for<0, 4>([&](auto i_) NEURALINV_LAMBDA {
        constexpr int i = 2 * decltype(i_)::value;
        a[i] = __builtin_shufflevector(v[i], v[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        a[i + 1] = __builtin_shufflevector(v[i], v[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    });
    static_for<0, 2>([&](auto i_) NEURALINV_LAMBDA {
        constexpr int i = 4 * decltype(i_)::value;
        b[i] = __builtin_shufflevector(a[i], a[i + 2], 0, 1, 8, 9, 4, 5, 12, 13);
        b[i + 1] = __builtin_shufflevector(a[i], a[i + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        b[i + 2] = __builtin_shufflevector(a[i + 1], a[i + 3], 0, 1, 8, 9, 4, 5, 12, 13);
        b[i + 3] = __builtin_shufflevector(a[i + 1], a[i + 3], 2, 3, 10, 11, 6, 7, 14, 15);
    });
    static_for<0, 4>([&](auto i_) NEURALINV_LAMBDA {
        constexpr int i = decltype(i_)::value;
        v[i] = __builtin_shufflevector(b[i], b[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        v[i + 4] = __builtin_shufflevector(b[i], b[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    });
}

NEURALINV_INLINE void transpose(Row<double> (&v)[4]) {
    const Row<double> a = __builtin_shufflevector(v[0], v[1], 0, 4, 2, 6), b = __builtin_shufflevector(v[0], v[1], 1, 5, 3, 7);
    const Row<double> c = __builtin_shufflevector(v[2], v[3], 0, 4, 2, 6), d = __builtin_shufflevector(v[2], v[3], 1, 5, 3, 7);
    v[0] = __builtin_shufflevector(a, c, 0, 1, 4, 5);
    v[1] = __builtin_shufflevector(b, d, 0, 1, 4, 5);
    v[2] = __builtin_shufflevector(a, c, 2, 3, 6, 7);
    v[3] = __builtin_shufflevector(b, d, 2, 3, 6, 7);
}

#else

NEURALINV_INLINE void transpose(Row<float> (&v)[4]) {
    const Row<float> a = __builtin_shufflevector(v[0], v[1], 0, 4, 1, 5), b = __builtin_shufflevector(v[0], v[1], 2, 6, 3, 7);
    const Row<float> c = __builtin_shufflevector(v[2], v[3], 0, 4, 1, 5), d = __builtin_shufflevector(v[2], v[3], 2, 6, 3, 7);
    v[0] = __builtin_shufflevector(a, c, 0, 1, 4, 5);
    v[1] = __builtin_shufflevector(a, c, 2, 3, 6, 7);
    v[2] = __builtin_shufflevector(b, d, 0, 1, 4, 5);
    v[3] = __builtin_shufflevector(b, d, 2, 3, 6, 7);
}

NEURALINV_INLINE void transpose(Row<double> (&v)[2]) {
    const Row<double> a = v[0], b = v[1];
    v[0] = __builtin_shufflevector(a, b, 0, 2);
    v[1] = __builtin_shufflevector(a, b, 1, 3);
}

#endif

}  // namespace neuralinv::NEURALINV_TARGET
