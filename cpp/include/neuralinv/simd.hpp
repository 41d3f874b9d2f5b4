// Vectors of NEURALINV_VECTOR_BYTES bytes by GCC's vector extensions, which GCC and Clang share.
//
// This header and those above it are compiled several times with different instruction sets into one library. Everything
// therefore lives in a namespace of its own for each (NEURALINV_TARGET), and no inline function of the standard library
// is called: the linker keeps one copy of such a function, perhaps one with instructions that the machine lacks.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__x86_64__)
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push  // GCC 12 warns of its own header (bug 105593)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#else
#include <immintrin.h>
#endif
#endif

#ifndef NEURALINV_TARGET
#define NEURALINV_TARGET generic
#endif
#ifndef NEURALINV_VECTOR_BYTES
#define NEURALINV_VECTOR_BYTES 16
#endif

#define NEURALINV_INLINE inline __attribute__((always_inline))
#define NEURALINV_LAMBDA __attribute__((always_inline))

namespace neuralinv::NEURALINV_TARGET {

template <class T>
struct Traits;

template <>
struct Traits<float> {
    using Integer = std::int32_t;
    static constexpr float smallest_normal = 0x1p-126f;
};

template <>
struct Traits<double> {
    using Integer = std::int64_t;
    static constexpr double smallest_normal = 0x1p-1022;
};

template <class T>
inline constexpr int lanes = NEURALINV_VECTOR_BYTES / int(sizeof(T));

template <class T>
struct VectorOf {
    typedef T type __attribute__((vector_size(NEURALINV_VECTOR_BYTES)));
};

template <class T>
using Vector = typename VectorOf<T>::type;

// Comparisons give integers as wide as the scalar: all ones for true.
template <class T>
using Mask = typename VectorOf<typename Traits<T>::Integer>::type;

template <int i>
struct Index {
    static constexpr int value = i;
};

template <int begin, int end, class F>
NEURALINV_INLINE void static_for(const F& body) {
    if constexpr (begin < end) {
        body(Index<begin>{});
        static_for<begin + 1, end>(body);
    }
}

// A whole vector of entries, wherever they lie. By copying: a reference to a type of lesser alignment means what it says to
// GCC alone.
template <class T>
NEURALINV_INLINE Vector<T> load_vector(const T* source) {
    Vector<T> value;
    __builtin_memcpy(&value, source, sizeof value);
    return value;
}

template <class T>
NEURALINV_INLINE void store_vector(Vector<T> value, T* target) {
    __builtin_memcpy(target, &value, sizeof value);
}

template <class T>
NEURALINV_INLINE Vector<T> broadcast(T value) {
    return value - Vector<T>{};  // x − 0 keeps NaN and the sign of zero
}

template <class T>
NEURALINV_INLINE Mask<T> broadcast_mask(int value) {
    return Mask<T>{} + typename Traits<T>::Integer(value);
}

template <class T>
NEURALINV_INLINE Vector<T> absolute(Vector<T> x) {
    using Integer = typename Traits<T>::Integer;
    const Mask<T> keep = Mask<T>{} + Integer(~(Integer(1) << (8 * sizeof(T) - 1)));
    return Vector<T>(Mask<T>(x) & keep);
}

// The product as rounded: keeps the compiler from fusing it with the sum that takes it.
template <class V>
NEURALINV_INLINE V rounded(V product) {
#if defined(__AVX512F__)
    __asm__("" : "+v"(product));
#elif defined(__x86_64__)
    __asm__("" : "+x"(product));
#elif defined(__aarch64__)
    __asm__("" : "+w"(product));
#else
    __asm__("" : "+m"(product));
#endif
    return product;
}

// ---- conditions ----------------------------------------------------------------------------------------------------
//
// Where something holds, lane by lane. Beside Mask, because AVX-512 has registers for it of one bit to a lane, and the
// compilers do not keep a Mask there.

#if NEURALINV_VECTOR_BYTES == 64
template <class T>
struct ConditionOf {
    using type = __mmask16;
};

template <>
struct ConditionOf<double> {
    using type = __mmask8;
};

template <class T>
using Condition = typename ConditionOf<T>::type;

NEURALINV_INLINE Condition<float> greater(Vector<float> a, Vector<float> b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ);
}

NEURALINV_INLINE Condition<double> greater(Vector<double> a, Vector<double> b) {
    return _mm512_cmp_pd_mask(a, b, _CMP_GT_OQ);
}

NEURALINV_INLINE Condition<float> equal(Mask<float> a, Mask<float> b) {
    return _mm512_cmpeq_epi32_mask(__m512i(a), __m512i(b));
}

NEURALINV_INLINE Condition<double> equal(Mask<double> a, Mask<double> b) {
    return _mm512_cmpeq_epi64_mask(__m512i(a), __m512i(b));
}

NEURALINV_INLINE Vector<float> select(Condition<float> c, Vector<float> yes, Vector<float> no) {
    return _mm512_mask_blend_ps(c, no, yes);
}

NEURALINV_INLINE Vector<double> select(Condition<double> c, Vector<double> yes, Vector<double> no) {
    return _mm512_mask_blend_pd(c, no, yes);
}

// a where a > b, else b: b also where either is not a number.
NEURALINV_INLINE Vector<float> larger(Vector<float> a, Vector<float> b) { return _mm512_max_ps(a, b); }
NEURALINV_INLINE Vector<double> larger(Vector<double> a, Vector<double> b) { return _mm512_max_pd(a, b); }
NEURALINV_INLINE Vector<float> smaller(Vector<float> a, Vector<float> b) { return _mm512_min_ps(a, b); }
NEURALINV_INLINE Vector<double> smaller(Vector<double> a, Vector<double> b) { return _mm512_min_pd(a, b); }

template <class T>
NEURALINV_INLINE bool all(Condition<T> c) {
    return c == Condition<T>(~Condition<T>{});
}
#else
template <class T>
using Condition = Mask<T>;

template <class V>
NEURALINV_INLINE auto greater(V a, V b) {
    return a > b;
}

template <class M>
NEURALINV_INLINE M equal(M a, M b) {
    return M(a == b);
}

template <class M, class V>
NEURALINV_INLINE V select(M c, V yes, V no) {
    return c ? yes : no;
}

// a where a > b, else b: b also where either is not a number.
template <class V>
NEURALINV_INLINE V larger(V a, V b) {
    return a > b ? a : b;
}

template <class V>
NEURALINV_INLINE V smaller(V a, V b) {
    return a < b ? a : b;
}
#endif

// Vectors of 16, 32 and 64 bytes without regard to what is in them, and their halves.
typedef std::int64_t Half128 __attribute__((vector_size(16)));
typedef std::int64_t Half256 __attribute__((vector_size(32)));
typedef std::int64_t Half512 __attribute__((vector_size(64)));

#if NEURALINV_VECTOR_BYTES >= 32
NEURALINV_INLINE Half128 lower(Half256 x) { return __builtin_shufflevector(x, x, 0, 1); }
NEURALINV_INLINE Half128 upper(Half256 x) { return __builtin_shufflevector(x, x, 2, 3); }
#endif
#if NEURALINV_VECTOR_BYTES >= 64
NEURALINV_INLINE Half256 lower(Half512 x) { return __builtin_shufflevector(x, x, 0, 1, 2, 3); }
NEURALINV_INLINE Half256 upper(Half512 x) { return __builtin_shufflevector(x, x, 4, 5, 6, 7); }
#endif

template <class T>
NEURALINV_INLINE bool any(Mask<T> mask) {
#if NEURALINV_VECTOR_BYTES == 16
    const Half128 bits = Half128(mask);
#elif NEURALINV_VECTOR_BYTES == 32
    const Half128 bits = lower(Half256(mask)) | upper(Half256(mask));
#else
    const Half256 wide = lower(Half512(mask)) | upper(Half512(mask));
    const Half128 bits = lower(wide) | upper(wide);
#endif
    return (bits[0] | bits[1]) != 0;
}

#if NEURALINV_VECTOR_BYTES < 64
template <class T>
NEURALINV_INLINE bool all(Condition<T> c) {
    return !any<T>(~c);
}
#endif

// ---- from matrices to lanes and back -------------------------------------------------------------------------------
//
// Transposition works on pieces of 16 bytes, S entries each: vector i holds the piece of matrix i, then of matrix i + S,
// and so on. Transposing S × S inside every 16 bytes then puts the matrices into lanes in their order, without a
// permutation across the 16-byte boundary (those are slow).

template <class T>
inline constexpr int piece = 16 / int(sizeof(T));

template <class T>
struct PieceOf {
    typedef T type __attribute__((vector_size(16)));
};

template <class T>
using Piece = typename PieceOf<T>::type;

template <class T>
NEURALINV_INLINE Piece<T> load_piece(const T* source) {
    Piece<T> value;
    __builtin_memcpy(&value, source, sizeof value);
    return value;
}

template <class T>
NEURALINV_INLINE void store_piece(Piece<T> value, T* target) {
    __builtin_memcpy(target, &value, sizeof value);
}

// Pieces are joined and split as values: through memory, a wide load would wait for two narrow stores. What the compilers
// make of generic shuffles here takes the ports that the transposition needs; hence the instructions by name.
template <class T>
NEURALINV_INLINE Vector<T> load_pieces(const T* source, std::int64_t stride) {
    const auto at = [&](int q) NEURALINV_LAMBDA { return load_piece<T>(source + q * piece<T> * stride); };
#if NEURALINV_VECTOR_BYTES == 16
    return at(0);
#elif NEURALINV_VECTOR_BYTES == 32
    return Vector<T>(_mm256_insertf128_ps(_mm256_castps128_ps256(__m128(at(0))), __m128(at(1)), 1));
#else
    __m512 joined = _mm512_castps128_ps512(__m128(at(0)));
    joined = _mm512_mask_broadcast_f32x4(joined, 0x00f0, __m128(at(1)));
    joined = _mm512_mask_broadcast_f32x4(joined, 0x0f00, __m128(at(2)));
    return Vector<T>(_mm512_mask_broadcast_f32x4(joined, 0xf000, __m128(at(3))));
#endif
}

template <class T>
NEURALINV_INLINE void store_pieces(Vector<T> value, T* target, std::int64_t stride) {
    const auto put = [&](int q, auto part) NEURALINV_LAMBDA {
        store_piece<T>(Piece<T>(part), target + q * piece<T> * stride);
    };
#if NEURALINV_VECTOR_BYTES == 16
    put(0, value);
#elif NEURALINV_VECTOR_BYTES == 32
    put(0, _mm256_castps256_ps128(__m256(value)));
    put(1, _mm256_extractf128_ps(__m256(value), 1));
#else
    put(0, _mm512_castps512_ps128(__m512(value)));
    put(1, _mm256_extractf128_ps(_mm512_castps512_ps256(__m512(value)), 1));
    put(2, _mm512_extractf32x4_ps(__m512(value), 2));
    put(3, _mm512_extractf32x4_ps(__m512(value), 3));
#endif
}

// Interleave the lower (upper) halves of each 16 bytes of a and b, in units of T.
template <bool upper>
NEURALINV_INLINE Vector<float> interleave(Vector<float> a, Vector<float> b) {
    constexpr int o = upper ? 2 : 0;
    constexpr int n = lanes<float>;
#if NEURALINV_VECTOR_BYTES == 16
    return __builtin_shufflevector(a, b, o, n + o, o + 1, n + o + 1);
#elif NEURALINV_VECTOR_BYTES == 32
    return __builtin_shufflevector(a, b, o, n + o, o + 1, n + o + 1, o + 4, n + o + 4, o + 5, n + o + 5);
#else
    return __builtin_shufflevector(a, b, o, n + o, o + 1, n + o + 1, o + 4, n + o + 4, o + 5, n + o + 5, o + 8,
                                   n + o + 8, o + 9, n + o + 9, o + 12, n + o + 12, o + 13, n + o + 13);
#endif
}

template <bool upper>
NEURALINV_INLINE Vector<double> interleave(Vector<double> a, Vector<double> b) {
    constexpr int o = upper ? 1 : 0;
    constexpr int n = lanes<double>;
#if NEURALINV_VECTOR_BYTES == 16
    return __builtin_shufflevector(a, b, o, n + o);
#elif NEURALINV_VECTOR_BYTES == 32
    return __builtin_shufflevector(a, b, o, n + o, o + 2, n + o + 2);
#else
    return __builtin_shufflevector(a, b, o, n + o, o + 2, n + o + 2, o + 4, n + o + 4, o + 6, n + o + 6);
#endif
}

// Transpose inside every 16 bytes; its own inverse.
NEURALINV_INLINE void transpose_pieces(Vector<double> (&v)[2]) {
    const Vector<double> a = v[0], b = v[1];
    v[0] = interleave<false>(a, b);
    v[1] = interleave<true>(a, b);
}

NEURALINV_INLINE void transpose_pieces(Vector<float> (&v)[4]) {
    const Vector<float> a = interleave<false>(v[0], v[2]), b = interleave<true>(v[0], v[2]);
    const Vector<float> c = interleave<false>(v[1], v[3]), d = interleave<true>(v[1], v[3]);
    v[0] = interleave<false>(a, c);
    v[1] = interleave<true>(a, c);
    v[2] = interleave<false>(b, d);
    v[3] = interleave<true>(b, d);
}

// Entries [at, at + S) of a tile of matrices, `stride` apart, into lanes: a[e] takes entry at + e of every matrix.
template <class T>
NEURALINV_INLINE void load_chunk(const T* source, std::int64_t stride, Vector<T>* a) {
    Vector<T> v[piece<T>];
    static_for<0, piece<T>>([&](auto i_) NEURALINV_LAMBDA {
        constexpr int i = decltype(i_)::value;
        v[i] = load_pieces(source + i * stride, stride);
    });
    transpose_pieces(v);
    static_for<0, piece<T>>([&](auto i) NEURALINV_LAMBDA { a[decltype(i)::value] = v[decltype(i)::value]; });
}

template <class T>
NEURALINV_INLINE void store_chunk(const Vector<T>* a, T* target, std::int64_t stride) {
    Vector<T> v[piece<T>];
    static_for<0, piece<T>>([&](auto i) NEURALINV_LAMBDA { v[decltype(i)::value] = a[decltype(i)::value]; });
    transpose_pieces(v);
    static_for<0, piece<T>>([&](auto i_) NEURALINV_LAMBDA {
        constexpr int i = decltype(i_)::value;
        store_pieces<T>(v[i], target + i * stride, stride);
    });
}

}  // namespace neuralinv::NEURALINV_TARGET
