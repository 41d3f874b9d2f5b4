// Sums of shifted inverses of symmetric positive definite matrices, one matrix after another, so that all that is made of one
// stays in the cache.
#pragma once

#include <cstddef>

#include "mirrored.hpp"
#include "roots.hpp"

namespace neuralinv::NEURALINV_TARGET {

// Scratch memory of one matrix, n² entries each.
template <class T>
struct ShiftedMemory {
    T* shifted;
    T* inverse;
    std::int64_t bytes;

    // memory: null to learn how much it takes.
    ShiftedMemory(std::byte* memory, std::int64_t n) : bytes(0) {
        take_piece(memory, bytes, shifted, n * n * std::int64_t(sizeof(T)));
        take_piece(memory, bytes, inverse, n * n * std::int64_t(sizeof(T)));
    }
};

template <class T>
std::int64_t shifted_bytes(std::int64_t n) {
    return ShiftedMemory<T>(nullptr, n).bytes;
}

// The largest power of two that is no larger than a normal number x > 0, else 0 or not a number.
NEURALINV_INLINE double power_below(double x) {
    std::uint64_t bits;
    __builtin_memcpy(&bits, &x, sizeof bits);
    bits &= ~std::uint64_t(0) << 52;
    __builtin_memcpy(&x, &bits, sizeof x);
    return x;
}

template <class T>
void sum_shifted(const ShiftedInverses<T>& sum, std::int64_t b, const ShiftedMemory<T>& memory) {
    const int n = int(sum.n);
    const std::int64_t entries = sum.n * sum.n;
    const T* const A = sum.A + b * entries;
    T* const X = sum.X + b * entries;
    // A power of two scales without rounding, and keeps what the elimination makes in range.
    const double scale = sum.scales[b], power = power_below(scale), ratio = scale / power;
    const T factor = T(1 / power);
    for (std::int64_t e = 0; e < entries; ++e) memory.shifted[e] = A[e] * factor;
    const MatrixBatch<T> one{memory.shifted, 1, sum.n, 0, sum.n, 1};
    // Terms grow: the last one is the smallest.
    for (std::int64_t j = sum.terms - 1; j >= 0; --j) {
        const T shift = T(sum.shifts[j] * ratio), weight = T(sum.weights[j] * __builtin_sqrt(ratio) / __builtin_sqrt(power));
        for (int i = 0; i < n; ++i) memory.shifted[i * (sum.n + 1)] = A[i * (sum.n + 1)] * factor + shift;
        if (sum.invert(one, 0, 1, memory.inverse, nullptr).status != success) {
            for (std::int64_t e = 0; e < entries; ++e) X[e] = T(__builtin_nanf(""));
            return;
        }
        if (j + 1 == sum.terms)
            for (std::int64_t e = 0; e < entries; ++e) X[e] = weight * memory.inverse[e];
        else
            for (std::int64_t e = 0; e < entries; ++e) X[e] += weight * memory.inverse[e];
    }
    // Elimination of small matrices, and the careful one, may round both triangles apart.
    if (!is_hermitian(n, X, sum.n)) mirror(n, X);
}

template <class T>
void sum_shifted_range(const ShiftedInverses<T>& sum, std::int64_t begin, std::int64_t end, std::byte* scratch) {
    const ShiftedMemory<T> memory(scratch, sum.n);
    for (std::int64_t b = begin; b < end; ++b) sum_shifted(sum, b, memory);
}

}  // namespace neuralinv::NEURALINV_TARGET
