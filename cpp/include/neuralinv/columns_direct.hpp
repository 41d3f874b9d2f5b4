// Inverses of matrices whose rows fit into one or two vectors: no transposition.
//
// The rows of A are the columns of Aᵀ, and (Aᵀ)⁻¹ = (A⁻¹)ᵀ: what columns.hpp makes of A's rows are the rows of A⁻¹. Pivots
// are then the largest entries of rows, not of columns, which is partial pivoting of Aᵀ, as stable as of A. Whether A is
// singular is not decided here: what has a pivot of the size of rounding errors is eliminated again as LAPACK does it.
//
// In the end the entries of a row are in the order in which they were chosen. A permutation of lanes puts them right.
#pragma once

#include "columns.hpp"

namespace neuralinv::NEURALINV_TARGET {

// Whether lanes can be picked from `height` vectors in few instructions.
template <class T>
inline constexpr bool picks_lanes(int height) {
    if (NEURALINV_VECTOR_BYTES == 64) return height <= 2;
    return NEURALINV_VECTOR_BYTES == 32 && sizeof(T) == 4 && height <= 2;
}

#if NEURALINV_VECTOR_BYTES == 64

// A row's entries from those of its vector v that exist; the other lanes are zero.
NEURALINV_INLINE Vector<float> load_lanes(const float* source, Bits<float> missing) {
    return _mm512_maskz_loadu_ps(__mmask16(~_mm512_movepi32_mask(__m512i(missing))), source);
}
NEURALINV_INLINE Vector<double> load_lanes(const double* source, Bits<double> missing) {
    return _mm512_maskz_loadu_pd(__mmask8(~_mm512_movepi64_mask(__m512i(missing))), source);
}
NEURALINV_INLINE void store_lanes(Vector<float> x, Bits<float> missing, float* target) {
    _mm512_mask_storeu_ps(target, __mmask16(~_mm512_movepi32_mask(__m512i(missing))), x);
}
NEURALINV_INLINE void store_lanes(Vector<double> x, Bits<double> missing, double* target) {
    _mm512_mask_storeu_pd(target, __mmask8(~_mm512_movepi64_mask(__m512i(missing))), x);
}

// Lane i takes lane from[i] of the vectors x: (height), taken for one long vector.
template <int height>
NEURALINV_INLINE Vector<float> pick_lanes(const Vector<float>* x, Bits<float> from) {
    if constexpr (height == 1) return _mm512_permutexvar_ps(__m512i(from), x[0]);
    else return _mm512_permutex2var_ps(x[0], __m512i(from), x[1]);
}
template <int height>
NEURALINV_INLINE Vector<double> pick_lanes(const Vector<double>* x, Bits<double> from) {
    if constexpr (height == 1) return _mm512_permutexvar_pd(__m512i(from), x[0]);
    else return _mm512_permutex2var_pd(x[0], __m512i(from), x[1]);
}

#elif NEURALINV_VECTOR_BYTES == 32

NEURALINV_INLINE Vector<float> load_lanes(const float* source, Bits<float> missing) {
    return _mm256_maskload_ps(source, __m256i(~missing));
}
NEURALINV_INLINE void store_lanes(Vector<float> x, Bits<float> missing, float* target) {
    _mm256_maskstore_ps(target, __m256i(~missing), x);
}
template <int height>
NEURALINV_INLINE Vector<float> pick_lanes(const Vector<float>* x, Bits<float> from) {
    const __m256 first = _mm256_permutevar8x32_ps(x[0], __m256i(from));
    if constexpr (height == 1) return first;
    const __m256 second = _mm256_permutevar8x32_ps(x[height - 1], __m256i(from));
    return _mm256_blendv_ps(first, second, _mm256_castsi256_ps(_mm256_slli_epi32(__m256i(from), 28)));
}

#else  // nobody calls these: `picks_lanes` is false

template <class T, class M>
Vector<T> load_lanes(const T* source, M missing);
template <class V, class M, class T>
void store_lanes(V x, M missing, T* target);
template <int height, class V, class M>
V pick_lanes(const V* x, M from);

#endif

// Rows of the source, `pitch` apart and without gaps inside, as columns. Returns the largest modulus of all, as bits.
template <class T, int height>
NEURALINV_INLINE Bits<T> load_direct(const T* source, std::int64_t pitch, int n, Elimination<T>& e) {
    Bits<T> largest{};
    for (int v = 0; v < height; ++v) {
        e.closed[v] = missing_lanes<T>(n, v);
        e.reciprocals[v] = Vector<T>{};
    }
    for (int i = 0; i < n; ++i)
        for (int v = 0; v < height; ++v) {
            const Vector<T> row = load_lanes(source + i * pitch + v * lanes<T>, e.closed[v]);
            e.columns[i * height + v] = row;
            largest = larger_bits(largest, Bits<T>(absolute<T>(row)));
        }
    return spread_largest(largest);
}

// Whether every pivot is well above the rounding errors that matrices with entries up to `largest` can have, and its
// reciprocal in range. False decides nothing: rows may differ in scale.
template <class T, int height>
NEURALINV_INLINE bool clearly_usable(const Elimination<T>& e, Bits<T> largest, int n) {
    const Vector<T> least = Vector<T>(largest) * broadcast<T>(rounding_errors<T>(n));
    Mask<T> fine = Mask<T>(Vector<T>(largest) <= broadcast<T>(largest_summand<T>));
    for (int v = 0; v < height; ++v) {
        const Vector<T> size = absolute<T>(reinterpret_cast<const Vector<T>*>(e.pivots)[v]);
        fine &= (Mask<T>(size > least) & Mask<T>(size >= broadcast<T>(Traits<T>::smallest_normal)) &
                 Mask<T>(size <= broadcast<T>(1 / Traits<T>::smallest_normal))) |
                Mask<T>(missing_lanes<T>(n, v));
    }
    return !any<T>(~fine);
}

// The largest modulus of each row, where `clearly_usable` would not say. sizes: (n).
template <class T>
__attribute__((noinline, cold)) void measure_rows(const T* source, std::int64_t pitch, int n, T* sizes) {
    for (int i = 0; i < n; ++i) {
        sizes[i] = 0;
        for (int j = 0; j < n; ++j) {
            const T modulus = source[i * pitch + j] < 0 ? -source[i * pitch + j] : source[i * pitch + j];
            sizes[i] = modulus > sizes[i] ? modulus : sizes[i];
        }
    }
}

// What the elimination left, as rows of the inverse. step_of_row: (n), the inverse of e.rows. target: (n, n) without gaps.
template <class T, int height>
NEURALINV_INLINE void store_direct(const Elimination<T>& e, int n, const int* step_of_row, T* target) {
    Bits<T> from[height];
    for (int v = 0; v < height; ++v)
        for (int lane = 0; lane < lanes<T>; ++lane) from[v][lane] = e.rows[v * lanes<T> + lane];
    for (int i = 0; i < n; ++i) {
        Vector<T> x[height];
        for (int v = 0; v < height; ++v) x[v] = e.columns[step_of_row[i] * height + v] * e.reciprocals[v];
        for (int v = 0; v < height; ++v)
            store_lanes(pick_lanes<height>(x, from[v]), missing_lanes<T>(n, v), target + i * n + v * lanes<T>);
    }
}

}  // namespace neuralinv::NEURALINV_TARGET
