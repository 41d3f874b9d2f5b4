// Operations across the lanes of one vector. The vector extensions have none, and element by element they would dominate
// the search for a pivot: hence the intrinsics.
//
// Moduli are compared as integers: of numbers that are not negative, the larger has the larger bits, and integers are
// compared in a quarter of the time. NaN comes out above infinity.
#pragma once

#include "simd.hpp"

namespace neuralinv::NEURALINV_TARGET {

// What a vector of T holds, as integers.
template <class T>
using Bits = typename VectorOf<typename Traits<T>::Integer>::type;

#if NEURALINV_VECTOR_BYTES == 64

NEURALINV_INLINE Bits<float> larger_bits(Bits<float> a, Bits<float> b) { return Bits<float>(_mm512_max_epi32(__m512i(a), __m512i(b))); }
NEURALINV_INLINE Bits<double> larger_bits(Bits<double> a, Bits<double> b) { return Bits<double>(_mm512_max_epi64(__m512i(a), __m512i(b))); }
NEURALINV_INLINE unsigned lanes_equal(Bits<float> a, Bits<float> b) { return _mm512_cmpeq_epi32_mask(__m512i(a), __m512i(b)); }
NEURALINV_INLINE unsigned lanes_equal(Bits<double> a, Bits<double> b) { return _mm512_cmpeq_epi64_mask(__m512i(a), __m512i(b)); }

#else

template <class V>
NEURALINV_INLINE V larger_bits(V a, V b) {
    return a > b ? a : b;
}

// Bit l is set where lane l of both is equal.
template <class V>
NEURALINV_INLINE unsigned lanes_equal(V a, V b) {
    const auto equal = a == b;
#if NEURALINV_VECTOR_BYTES == 32
    return unsigned(sizeof(a[0]) == 4 ? _mm256_movemask_ps(__m256(equal)) : _mm256_movemask_pd(__m256d(equal)));
#elif defined(__x86_64__)
    return unsigned(sizeof(a[0]) == 4 ? _mm_movemask_ps(__m128(equal)) : _mm_movemask_pd(__m128d(equal)));
#else
    unsigned bits = 0;
    for (unsigned lane = 0; lane < sizeof(V) / sizeof(a[0]); ++lane) bits |= unsigned(equal[lane] != 0) << lane;
    return bits;
#endif
}

#endif

// The largest lane of x, in every lane.
NEURALINV_INLINE Bits<float> spread_largest(Bits<float> x) {
#if NEURALINV_VECTOR_BYTES == 64
    x = larger_bits(x, __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
    x = larger_bits(x, __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11));
    x = larger_bits(x, __builtin_shufflevector(x, x, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13));
    return larger_bits(x, __builtin_shufflevector(x, x, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14));
#elif NEURALINV_VECTOR_BYTES == 32
    x = larger_bits(x, __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3));
    x = larger_bits(x, __builtin_shufflevector(x, x, 2, 3, 0, 1, 6, 7, 4, 5));
    return larger_bits(x, __builtin_shufflevector(x, x, 1, 0, 3, 2, 5, 4, 7, 6));
#else
    x = larger_bits(x, __builtin_shufflevector(x, x, 2, 3, 0, 1));
    return larger_bits(x, __builtin_shufflevector(x, x, 1, 0, 3, 2));
#endif
}

NEURALINV_INLINE Bits<double> spread_largest(Bits<double> x) {
#if NEURALINV_VECTOR_BYTES == 64
    x = larger_bits(x, __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3));
    x = larger_bits(x, __builtin_shufflevector(x, x, 2, 3, 0, 1, 6, 7, 4, 5));
    return larger_bits(x, __builtin_shufflevector(x, x, 1, 0, 3, 2, 5, 4, 7, 6));
#elif NEURALINV_VECTOR_BYTES == 32
    x = larger_bits(x, __builtin_shufflevector(x, x, 2, 3, 0, 1));
    return larger_bits(x, __builtin_shufflevector(x, x, 1, 0, 3, 2));
#else
    return larger_bits(x, __builtin_shufflevector(x, x, 1, 0));
#endif
}

}  // namespace neuralinv::NEURALINV_TARGET
