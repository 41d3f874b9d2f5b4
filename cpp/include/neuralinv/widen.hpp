// Floats to doubles and back.
#pragma once

#include "interleaved.hpp"

namespace neuralinv::NEURALINV_TARGET {

// Half a vector of floats, and the same as doubles. By name: of generic conversions GCC makes five instructions.
typedef float HalfFloats __attribute__((vector_size(NEURALINV_VECTOR_BYTES / 2)));

NEURALINV_INLINE Vector<double> widen(HalfFloats x) {
#if NEURALINV_VECTOR_BYTES == 64
    return _mm512_cvtps_pd(__m256(x));
#elif NEURALINV_VECTOR_BYTES == 32
    return Vector<double>(_mm256_cvtps_pd(__m128(x)));
#else
    return __builtin_convertvector(x, Vector<double>);
#endif
}

NEURALINV_INLINE HalfFloats narrow(Vector<double> x) {
#if NEURALINV_VECTOR_BYTES == 64
    return HalfFloats(_mm512_cvtpd_ps(x));
#elif NEURALINV_VECTOR_BYTES == 32
    return HalfFloats(_mm256_cvtpd_ps(__m256d(x)));
#else
    return __builtin_convertvector(x, HalfFloats);
#endif
}

// Lanes half·lanes<double> and those that follow, as doubles.
template <int half>
NEURALINV_INLINE Vector<double> widen_half(const Vector<float>& x) {
    HalfFloats part;
    __builtin_memcpy(&part, reinterpret_cast<const char*>(&x) + half * sizeof(part), sizeof(part));
    return widen(part);
}

template <int half>
NEURALINV_INLINE Vector<double> widen_half(const Vector<double>& x) {
    return x;
}

template <int half>
NEURALINV_INLINE void narrow_half(Vector<double> x, Vector<float>& target) {
    const HalfFloats part = narrow(x);
    __builtin_memcpy(reinterpret_cast<char*>(&target) + half * sizeof(part), &part, sizeof(part));
}

// A vector of doubles from as many numbers in memory.
NEURALINV_INLINE Vector<double> load_wide(const float* source) {
    HalfFloats part;
    __builtin_memcpy(&part, source, sizeof(part));
    return widen(part);
}

NEURALINV_INLINE Vector<double> load_wide(const double* source) { return load_vector(source); }

// The same of `count` numbers, fewer than lanes<double>, and zeros.
template <class T>
NEURALINV_INLINE Vector<double> load_wide_part(const T* source, int count) {
#if NEURALINV_VECTOR_BYTES == 64
    const __mmask8 there = __mmask8((1u << count) - 1);
    if constexpr (sizeof(T) == 4)
        return Vector<double>(_mm512_cvtps_pd(_mm256_maskz_loadu_ps(there, source)));
    else
        return Vector<double>(_mm512_maskz_loadu_pd(there, source));
#else
    Vector<double> x{};
    for (int lane = 0; lane < count; ++lane) x[lane] = double(source[lane]);
    return x;
#endif
}

// `count` numbers as doubles, and zeros up to the next whole vector.
template <class T>
NEURALINV_INLINE void widen_entries(const T* source, int count, double* target) {
    constexpr int step = lanes<double>;
    int e = 0;
    for (; e + step <= count; e += step) store_vector(load_wide(source + e), target + e);
    if (e < count) store_vector(load_wide_part(source + e, count - e), target + e);
}

}  // namespace neuralinv::NEURALINV_TARGET
