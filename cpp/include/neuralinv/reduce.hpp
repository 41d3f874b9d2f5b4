// Operations across the lanes of one vector. The vector extensions have none, and element by element they would dominate
// the search for a pivot: hence the intrinsics.
#pragma once

#include "simd.hpp"

namespace neuralinv::NEURALINV_TARGET {

// What a vector of T holds, as integers.
template <class T>
using Bits = typename VectorOf<typename Traits<T>::Integer>::type;

#if NEURALINV_VECTOR_BYTES == 64

NEURALINV_INLINE unsigned lanes_equal(Vector<float> a, Vector<float> b) { return _mm512_cmpeq_ps_mask(__m512(a), __m512(b)); }
NEURALINV_INLINE unsigned lanes_equal(Vector<double> a, Vector<double> b) { return _mm512_cmpeq_pd_mask(__m512d(a), __m512d(b)); }

#elif NEURALINV_VECTOR_BYTES == 32

NEURALINV_INLINE Vector<float> larger(Vector<float> a, Vector<float> b) { return Vector<float>(_mm256_max_ps(__m256(a), __m256(b))); }
NEURALINV_INLINE Vector<double> larger(Vector<double> a, Vector<double> b) { return Vector<double>(_mm256_max_pd(__m256d(a), __m256d(b))); }
NEURALINV_INLINE unsigned lanes_equal(Vector<float> a, Vector<float> b) {
    return unsigned(_mm256_movemask_ps(_mm256_cmp_ps(__m256(a), __m256(b), _CMP_EQ_OQ)));
}
NEURALINV_INLINE unsigned lanes_equal(Vector<double> a, Vector<double> b) {
    return unsigned(_mm256_movemask_pd(_mm256_cmp_pd(__m256d(a), __m256d(b), _CMP_EQ_OQ)));
}

#elif defined(__x86_64__)

NEURALINV_INLINE Vector<float> larger(Vector<float> a, Vector<float> b) { return Vector<float>(_mm_max_ps(__m128(a), __m128(b))); }
NEURALINV_INLINE Vector<double> larger(Vector<double> a, Vector<double> b) { return Vector<double>(_mm_max_pd(__m128d(a), __m128d(b))); }
NEURALINV_INLINE unsigned lanes_equal(Vector<float> a, Vector<float> b) {
    return unsigned(_mm_movemask_ps(_mm_cmpeq_ps(__m128(a), __m128(b))));
}
NEURALINV_INLINE unsigned lanes_equal(Vector<double> a, Vector<double> b) {
    return unsigned(_mm_movemask_pd(_mm_cmpeq_pd(__m128d(a), __m128d(b))));
}

#else

// The larger of two; the second where one of them is not a number.
template <class V>
NEURALINV_INLINE V larger(V a, V b) {
    return a > b ? a : b;
}

// Bit l is set where lane l of both is equal.
template <class V>
NEURALINV_INLINE unsigned lanes_equal(V a, V b) {
    const auto equal = a == b;
    unsigned bits = 0;
    for (unsigned lane = 0; lane < sizeof(V) / sizeof(a[0]); ++lane) bits |= unsigned(equal[lane] != 0) << lane;
    return bits;
}

#endif

// The largest lane of x, in every lane.
NEURALINV_INLINE Vector<float> spread_largest(Vector<float> x) {
#if NEURALINV_VECTOR_BYTES == 64
    x = larger(x, __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
    x = larger(x, __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11));
    x = larger(x, __builtin_shufflevector(x, x, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13));
    return larger(x, __builtin_shufflevector(x, x, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14));
#elif NEURALINV_VECTOR_BYTES == 32
    x = larger(x, __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3));
    x = larger(x, __builtin_shufflevector(x, x, 2, 3, 0, 1, 6, 7, 4, 5));
    return larger(x, __builtin_shufflevector(x, x, 1, 0, 3, 2, 5, 4, 7, 6));
#else
    x = larger(x, __builtin_shufflevector(x, x, 2, 3, 0, 1));
    return larger(x, __builtin_shufflevector(x, x, 1, 0, 3, 2));
#endif
}

NEURALINV_INLINE Vector<double> spread_largest(Vector<double> x) {
#if NEURALINV_VECTOR_BYTES == 64
    x = larger(x, __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3));
    x = larger(x, __builtin_shufflevector(x, x, 2, 3, 0, 1, 6, 7, 4, 5));
    return larger(x, __builtin_shufflevector(x, x, 1, 0, 3, 2, 5, 4, 7, 6));
#elif NEURALINV_VECTOR_BYTES == 32
    x = larger(x, __builtin_shufflevector(x, x, 2, 3, 0, 1));
    return larger(x, __builtin_shufflevector(x, x, 1, 0, 3, 2));
#else
    return larger(x, __builtin_shufflevector(x, x, 1, 0));
#endif
}

}  // namespace neuralinv::NEURALINV_TARGET
