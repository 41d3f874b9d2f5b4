// As many entries of every matrix of a tile as there are matrices, into lanes and back, by whole vectors of the caller's
// memory: a line of the cache is met once, where pieces of 16 bytes (simd.hpp) come back to it. Matrices a power of two
// apart, such as 32×32 floats, compete for a few lines, which would be gone by then.
#pragma once

#include "simd.hpp"

namespace neuralinv::NEURALINV_TARGET {

// Pieces of 16 bytes in a vector.
template <class T>
inline constexpr int piece_count = lanes<T> / piece<T>;

// Transpose the pieces of as many vectors; its own inverse.
template <class V>
NEURALINV_INLINE void transpose_pieces_of([[maybe_unused]] V (&v)[NEURALINV_VECTOR_BYTES / 16]) {
#if NEURALINV_VECTOR_BYTES == 64
    const __m512 a = _mm512_shuffle_f32x4(__m512(v[0]), __m512(v[1]), 0x44), b = _mm512_shuffle_f32x4(__m512(v[0]), __m512(v[1]), 0xee);
    const __m512 c = _mm512_shuffle_f32x4(__m512(v[2]), __m512(v[3]), 0x44), d = _mm512_shuffle_f32x4(__m512(v[2]), __m512(v[3]), 0xee);
    v[0] = V(_mm512_shuffle_f32x4(a, c, 0x88));
    v[1] = V(_mm512_shuffle_f32x4(a, c, 0xdd));
    v[2] = V(_mm512_shuffle_f32x4(b, d, 0x88));
    v[3] = V(_mm512_shuffle_f32x4(b, d, 0xdd));
#elif NEURALINV_VECTOR_BYTES == 32
    const __m256 a = __m256(v[0]), b = __m256(v[1]);
    v[0] = V(_mm256_permute2f128_ps(a, b, 0x20));
    v[1] = V(_mm256_permute2f128_ps(a, b, 0x31));
#endif
}

// a[e] takes entry e of every matrix, `stride` apart; e < lanes.
template <class T>
NEURALINV_INLINE void load_vectors(const T* source, std::int64_t stride, Vector<T>* a) {
    Vector<T> v[piece_count<T>][piece<T>];
    static_for<0, piece<T>>([&](auto i_) NEURALINV_LAMBDA {
        constexpr int i = decltype(i_)::value;
        Vector<T> rows[piece_count<T>];
        static_for<0, piece_count<T>>([&](auto q) NEURALINV_LAMBDA {
            rows[decltype(q)::value] = load_vector(source + (decltype(q)::value * piece<T> + i) * stride);
        });
        transpose_pieces_of(rows);
        static_for<0, piece_count<T>>([&](auto q) NEURALINV_LAMBDA { v[decltype(q)::value][i] = rows[decltype(q)::value]; });
    });
    static_for<0, piece_count<T>>([&](auto q_) NEURALINV_LAMBDA {
        constexpr int q = decltype(q_)::value;
        transpose_pieces(v[q]);
        static_for<0, piece<T>>([&](auto e) NEURALINV_LAMBDA { a[q * piece<T> + decltype(e)::value] = v[q][decltype(e)::value]; });
    });
}

template <class T>
NEURALINV_INLINE void store_vectors(const Vector<T>* a, T* target, std::int64_t stride) {
    Vector<T> v[piece_count<T>][piece<T>];
    static_for<0, piece_count<T>>([&](auto q_) NEURALINV_LAMBDA {
        constexpr int q = decltype(q_)::value;
        static_for<0, piece<T>>([&](auto e) NEURALINV_LAMBDA { v[q][decltype(e)::value] = a[q * piece<T> + decltype(e)::value]; });
        transpose_pieces(v[q]);
    });
    static_for<0, piece<T>>([&](auto i_) NEURALINV_LAMBDA {
        constexpr int i = decltype(i_)::value;
        Vector<T> rows[piece_count<T>];
        static_for<0, piece_count<T>>([&](auto q) NEURALINV_LAMBDA { rows[decltype(q)::value] = v[decltype(q)::value][i]; });
        transpose_pieces_of(rows);
        static_for<0, piece_count<T>>([&](auto q) NEURALINV_LAMBDA {
            store_vector(rows[decltype(q)::value], target + (decltype(q)::value * piece<T> + i) * stride);
        });
    });
}

}  // namespace neuralinv::NEURALINV_TARGET
