// Batches for implicit_pivots.hpp: from the caller's memory and back.
//
// Tiles with a pivot that cannot be used, matrices that do not lie row by row, and those too few for a tile go to
// columns_range.hpp.
#pragma once

#include "columns_range.hpp"
#include "implicit_pivots.hpp"

namespace neuralinv::NEURALINV_TARGET {

// 16-byte pieces of `count` vectors, transposed: piece i of vector v becomes piece v of vector i.
template <class T, int count>
NEURALINV_INLINE void transpose_whole_pieces([[maybe_unused]] Vector<T>* x) {
    if constexpr (count == 4) {
#if NEURALINV_VECTOR_BYTES == 64
        const __m512 a = _mm512_shuffle_f32x4(__m512(x[0]), __m512(x[1]), 0x88), b = _mm512_shuffle_f32x4(__m512(x[0]), __m512(x[1]), 0xdd);
        const __m512 c = _mm512_shuffle_f32x4(__m512(x[2]), __m512(x[3]), 0x88), d = _mm512_shuffle_f32x4(__m512(x[2]), __m512(x[3]), 0xdd);
        x[0] = Vector<T>(_mm512_shuffle_f32x4(a, c, 0x88));
        x[1] = Vector<T>(_mm512_shuffle_f32x4(b, d, 0x88));
        x[2] = Vector<T>(_mm512_shuffle_f32x4(a, c, 0xdd));
        x[3] = Vector<T>(_mm512_shuffle_f32x4(b, d, 0xdd));
#endif
    } else if constexpr (count == 2) {
#if NEURALINV_VECTOR_BYTES == 32
        const __m256 a = __m256(x[0]), b = __m256(x[1]);
        x[0] = Vector<T>(_mm256_permute2f128_ps(a, b, 0x20));
        x[1] = Vector<T>(_mm256_permute2f128_ps(a, b, 0x31));
#endif
    }
}

// Entries first..first+lanes-1 of a line: (n) vectors, zero beyond n; matrix by matrix: x[m] holds those of matrix m.
template <class T, int n, int first>
NEURALINV_INLINE void by_matrix(const Vector<T>* line, Vector<T>* x) {
    constexpr int size = piece<T>, pieces = lanes<T> / size;
    Vector<T> v[lanes<T>];  // v[s·pieces + g]: pieces g of matrices s, s + size, …
    static_for<0, pieces>([&](auto g_) NEURALINV_LAMBDA {
        constexpr int g = decltype(g_)::value;
        Vector<T> part[size];
        static_for<0, size>([&](auto s_) NEURALINV_LAMBDA {
            constexpr int s = decltype(s_)::value, entry = first + g * size + s;
            if constexpr (entry < n) part[s] = line[entry];
            else part[s] = Vector<T>{};
        });
        transpose_pieces(part);
        static_for<0, size>([&](auto s) NEURALINV_LAMBDA { v[decltype(s)::value * pieces + g] = part[decltype(s)::value]; });
    });
    static_for<0, size>([&](auto s_) NEURALINV_LAMBDA {
        constexpr int s = decltype(s_)::value;
        transpose_whole_pieces<T, pieces>(v + s * pieces);
        static_for<0, pieces>([&](auto q) NEURALINV_LAMBDA { x[s + decltype(q)::value * size] = v[s * pieces + decltype(q)::value]; });
    });
}

// Write the inverses, entry by entry, where a line has more vectors than lanes can be picked from. Lines are spoilt.
template <class T, int n>
NEURALINV_INLINE void store_entry_by_entry(LaneElimination<T, n>& e, T* target) {
    constexpr int width = lanes<T>;
    int from[n * width];  // where entry j of a line of matrix m is, counted from the line's first one
    Vector<T> scale[n];   // 1/π by row
    for (int j = 0; j < n; ++j)
        for (int m = 0; m < width; ++m) {
            const int row = int(e.rows[j][m]);
            from[m * n + j] = row * width + m;
            reinterpret_cast<T*>(scale + row)[m] = e.reciprocals[j][m];
        }
    for (int k = 0; k < n; ++k) {
        Vector<T>* const line = e.lines + k * n;
        for (int i = 0; i < n; ++i) line[i] *= scale[i];
        const T* const entries = reinterpret_cast<const T*>(line);
        for (int m = 0; m < width; ++m) {
            T* const to = target + (m * n + int(e.rows[k][m])) * n;
            for (int j = 0; j < n; ++j) to[j] = entries[from[m * n + j]];
        }
    }
}

// Write the inverses: line by line, entries in order and divided by their pivots.
template <class T, int n>
NEURALINV_INLINE void store_by_lanes(const LaneElimination<T, n>& e, T* target) {
    constexpr int height = (n + lanes<T> - 1) / lanes<T>;
    Vector<T> reciprocals[height][lanes<T>], rows[height][lanes<T>];
    static_for<0, height>([&](auto v) NEURALINV_LAMBDA {
        by_matrix<T, n, decltype(v)::value * lanes<T>>(e.reciprocals, reciprocals[decltype(v)::value]);
        by_matrix<T, n, decltype(v)::value * lanes<T>>(reinterpret_cast<const Vector<T>*>(e.rows), rows[decltype(v)::value]);
    });
    Bits<T> missing[height];
    for (int v = 0; v < height; ++v) missing[v] = missing_lanes<T>(n, v);
    for (int k = 0; k < n; ++k) {
        Vector<T> x[height][lanes<T>];
        static_for<0, height>([&](auto v) NEURALINV_LAMBDA {
            by_matrix<T, n, decltype(v)::value * lanes<T>>(e.lines + k * n, x[decltype(v)::value]);
        });
        const auto* const to = reinterpret_cast<const typename Traits<T>::Integer*>(e.rows + k);
        static_for<0, lanes<T>>([&](auto m_) NEURALINV_LAMBDA {
            constexpr int m = decltype(m_)::value;
            Vector<T> line[height];
            static_for<0, height>([&](auto v) NEURALINV_LAMBDA { line[decltype(v)::value] = x[decltype(v)::value][m]; });
            static_for<0, height>([&](auto v_) NEURALINV_LAMBDA {
                constexpr int v = decltype(v_)::value;
                store_lanes(pick_lanes<height>(line, Bits<T>(rows[v][m])) * reciprocals[v][m], missing[v],
                            target + (m * n + to[m]) * n + v * lanes<T>);
            });
        });
    }
}

// Invert one full tile, `stride` from matrix to matrix. False: nothing was written.
template <class T, int n>
__attribute__((noinline)) bool invert_tile_by_lanes(const T* source, std::int64_t stride, T* target, Ahead ahead) {
    LaneElimination<T, n> e;
    load_unrolled<T, n, false>(source, stride, e.lines);
    if (__builtin_expect(!(eliminate_by_lanes<T, n>(e, ahead)), 0)) return false;
    if constexpr (picks_lanes<T>((n + lanes<T> - 1) / lanes<T>))
        store_by_lanes<T, n>(e, target);
    else
        store_entry_by_entry<T, n>(e, target);
    return true;
}

template <class T, int n>
inline FirstFailure invert_sized_by_lanes(const MatrixBatch<T>& A, std::int64_t begin, std::int64_t end, T* X, Status* info) {
    if (A.column_stride != 1 || A.row_stride != n || end - begin < lanes<T>) return invert_columns(A, begin, end, X, info);
    FirstFailure failure{-1, success};
    for (std::int64_t b = begin; b < end; b += lanes<T>) {
        if (end - b < lanes<T>) b = end - lanes<T>;  // overlaps the last tile
        const Ahead ahead = look_ahead(A, b, lanes<T>, X, n / steps_by_lanes);
        const bool done = invert_tile_by_lanes<T, n>(A.data + b * A.batch_stride, A.batch_stride, X + b * n * n, ahead);
        if (__builtin_expect(done, 1)) {
            if (info) __builtin_memset(info + b, 0, lanes<T> * sizeof(Status));
        } else {
            const FirstFailure found = invert_columns(A, b, b + lanes<T>, X, info);
            if (failure.index < 0) failure = found;
        }
    }
    return failure;
}

// The largest n that is inverted here: as measured, NEON taken for other vectors of 16 bytes.
template <class T>
inline constexpr int largest_by_lanes = NEURALINV_VECTOR_BYTES == 64   ? (sizeof(T) == 4 ? 14 : 12)
                                        : NEURALINV_VECTOR_BYTES == 32 ? (sizeof(T) == 4 ? 13 : 14)
                                                                       : 14;

// Invert matrices [begin, end) of A, largest_unrolled < A.n ≤ largest_by_lanes; sizes and info as for invert_range.
template <class T, int n = largest_unrolled + 1>
FirstFailure invert_by_lanes(const MatrixBatch<T>& A, std::int64_t begin, std::int64_t end, T* X, Status* info) {
    if constexpr (n < largest_by_lanes<T>)
        if (A.n != n) return invert_by_lanes<T, n + 1>(A, begin, end, X, info);
    return invert_sized_by_lanes<T, n>(A, begin, end, X, info);
}

}  // namespace neuralinv::NEURALINV_TARGET
