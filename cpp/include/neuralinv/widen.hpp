// Floats to doubles and back.
#pragma once

#include "sum_of_squares.hpp"

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

// Both halves of a vector of floats.
NEURALINV_INLINE Vector<float> narrow(Vector<double> low, Vector<double> high) {
#if NEURALINV_VECTOR_BYTES == 64
    const __m512d joined = _mm512_castpd256_pd512(_mm256_castps_pd(__m256(narrow(low))));
    return Vector<float>(_mm512_castpd_ps(_mm512_insertf64x4(joined, _mm256_castps_pd(__m256(narrow(high))), 1)));
#elif NEURALINV_VECTOR_BYTES == 32
    return Vector<float>(_mm256_insertf128_ps(_mm256_castps128_ps256(__m128(narrow(low))), __m128(narrow(high)), 1));
#else
    return __builtin_shufflevector(narrow(low), narrow(high), 0, 1, 2, 3);
#endif
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

// `count` numbers as doubles, and zeros up to the next whole vector. Their squares are added; first: as for add_each.
template <class T>
NEURALINV_INLINE void widen_entries(const T* source, int count, double* target, SumOfSquares& squares, int first = 0) {
    const auto put = [&](int e, Vector<double> x) NEURALINV_LAMBDA {
        store_vector(x, target + e);
        return x;
    };
    const int done = squares.add_each(count, [&](int e) NEURALINV_LAMBDA { return put(e, load_wide(source + e)); }, first);
    if (done < count) squares.add(first + 1, put(done, load_wide_part(source + done, count - done)));
}

// Rounds doubles to the first `count` numbers of `target`. Returns what that changes; x has zeros beyond.
NEURALINV_INLINE Vector<double> store_rounded(Vector<double> x, int count, float* target) {
    const HalfFloats part = narrow(x);
    if (count >= lanes<double>)
        __builtin_memcpy(target, &part, sizeof(part));
    else
#if NEURALINV_VECTOR_BYTES == 64
        _mm256_mask_storeu_ps(target, __mmask8((1u << count) - 1), __m256(part));
#else
        for (int lane = 0; lane < count; ++lane) target[lane] = part[lane];
#endif
    return widen(part) - x;
}

}  // namespace neuralinv::NEURALINV_TARGET
