// From the caller's memory to tiles of `lanes` matrices, through the kernel of unrolled.hpp, and back.
#pragma once

#include <type_traits>

#include "interleaved.hpp"
#include "single.hpp"
#include "unrolled.hpp"

namespace neuralinv::NEURALINV_TARGET {

// Entries of a tile, `stride` apart from matrix to matrix, into lanes. n ≥ 2: a piece of 16 bytes fits into a matrix.
template <class T>
NEURALINV_INLINE void load_tile(const T* source, std::int64_t stride, int n, Vector<T>* a) {
    const int entries = n * n;
    int at = 0;
    for (; at + piece<T> <= entries; at += piece<T>) load_chunk<T>(source + at, stride, a + at);
    if (at < entries) load_chunk<T>(source + entries - piece<T>, stride, a + entries - piece<T>);  // overlaps the last
}

template <class T>
NEURALINV_INLINE void store_tile(const Vector<T>* a, int n, T* target, std::int64_t stride) {
    const int entries = n * n;
    int at = 0;
    for (; at + piece<T> <= entries; at += piece<T>) store_chunk<T>(a + at, target + at, stride);
    if (at < entries) store_chunk<T>(a + entries - piece<T>, target + entries - piece<T>, stride);
}

// A tile's entries into lanes, straight-line. by_columns: the matrices lie column by column.
template <class T, int n, bool by_columns>
NEURALINV_INLINE void load_unrolled(const T* source, std::int64_t stride, Vector<T>* a) {
    constexpr int entries = n * n;
    static_for<0, (entries + piece<T> - 1) / piece<T>>([&](auto chunk) NEURALINV_LAMBDA {
        constexpr int wanted = decltype(chunk)::value * piece<T>;
        constexpr int at = wanted + piece<T> <= entries ? wanted : entries - piece<T>;  // the last may overlap
        Vector<T> v[piece<T>];
        load_chunk<T>(source + at, stride, v);
        static_for<0, piece<T>>([&](auto e_) NEURALINV_LAMBDA {
            constexpr int e = at + decltype(e_)::value;
            a[by_columns ? e % n * n + e / n : e] = v[decltype(e_)::value];
        });
    });
}

template <class T, int n>
NEURALINV_INLINE void store_unrolled(const Vector<T>* a, T* target, std::int64_t stride) {
    constexpr int entries = n * n;
    static_for<0, (entries + piece<T> - 1) / piece<T>>([&](auto chunk) NEURALINV_LAMBDA {
        constexpr int wanted = decltype(chunk)::value * piece<T>;
        constexpr int at = wanted + piece<T> <= entries ? wanted : entries - piece<T>;
        store_chunk<T>(a + at, target + at, stride);
    });
}

// Beyond, the code would outgrow the instruction cache.
inline constexpr int largest_unrolled = 8;

// How a matrix lies in memory; `gapless`: row by row, one matrix after another.
enum class Layout { gapless, by_rows, by_columns, strided };

// Whether whole vectors are read and written where matrices have no gaps between them. Measured: with AVX-512, 0.8 to 0.95 of
// the time for these sizes, more for n = 7, whose vectors leave the registers; with AVX2 for the smallest alone.
template <class T, int n>
inline constexpr bool interleaves = (NEURALINV_VECTOR_BYTES == 64 && (n == 3 || n == 5)) ||
                                    (NEURALINV_VECTOR_BYTES >= 32 && n * n == piece<T>);

// What a tile's kernel brings into the cache meanwhile. Of the smallest that lie without gaps nothing: the hardware sees them
// coming.
template <class T, int n>
using TileAhead = std::conditional_t<(n < 4 && interleaves<T, n>), NothingAhead, Ahead>;

template <int n, class T>
NEURALINV_INLINE TileAhead<T, n> tile_ahead(const MatrixBatch<T>& A, std::int64_t b, const T* X) {
    if constexpr (std::is_same_v<TileAhead<T, n>, NothingAhead>)
        return {};
    else
        return look_ahead(A, b, lanes<T>, X, (n + 1) / 2);
}

// Replace a: (n·n) by the inverses. One copy for all callers where the tile lies in memory anyway.
template <class T, int n>
__attribute__((noinline)) bool invert_lanes_shared(Vector<T>* a, Ahead ahead) {
    return invert_unrolled<T, n>(a, ahead);
}

template <class T, int n, bool often = true>
NEURALINV_INLINE bool invert_lanes(Vector<T>* a, TileAhead<T, n> ahead) {
    if constexpr (n < 4 || (n < 6 && often))
        return invert_unrolled<T, n>(a, ahead);
    else
        return invert_lanes_shared<T, n>(a, ahead);
}

// Invert one full tile. source: (lanes, n, n) with `stride` from matrix to matrix; target: without gaps. False: some matrix
// needs `invert_single`, and nothing was written.
template <class T, int n, bool by_columns>
__attribute__((noinline)) bool invert_tile(const T* source, std::int64_t stride, T* target, TileAhead<T, n> ahead) {
    Vector<T> a[n * n];
    load_unrolled<T, n, by_columns>(source, stride, a);
    if (__builtin_expect(!(invert_lanes<T, n, !by_columns>(a, ahead)), 0)) return false;
    store_unrolled<T, n>(a, target, n * n);
    return true;
}

// Invert matrices [begin, end) that have no gaps between them, tile by tile. Returns where the first tile begins that is
// not full or needs `invert_single`.
template <class T, int n>
__attribute__((noinline)) std::int64_t invert_gapless(const MatrixBatch<T>& A, std::int64_t begin, std::int64_t end, T* X) {
    std::int64_t b = begin;
    for (; end - b >= lanes<T>; b += lanes<T>) {
        Vector<T> a[n * n];
        load_interleaved<T, n * n>(A.data + b * n * n, a);
        if (__builtin_expect(!(invert_lanes<T, n>(a, tile_ahead<n>(A, b, X))), 0)) break;
        store_interleaved<T, n * n>(a, X + b * n * n);
    }
    return b;
}

// Matrices [begin, end), one at a time: singular ones, extreme ones, and those too few for a tile.
template <class T, int n>
__attribute__((noinline)) void invert_singly(const MatrixBatch<T>& A, std::int64_t begin, std::int64_t end, T* X,
                                             Status* info, FirstFailure& failure) {
    const std::int64_t entries = A.n * A.n;
    for (std::int64_t b = begin; b < end; ++b) {
        const T* source = A.data + b * A.batch_stride;
        const Status status = invert_single<T, n>(source, A.row_stride, A.column_stride, X + b * entries);
        if (info) info[b] = status;
        if (status != success && failure.index < 0) failure = {b, status};
    }
}

// Copy matrices [begin, begin + lanes) row by row to `in`: (lanes, n, n); the last of `count` stands in for those after.
template <class T, int n>
NEURALINV_INLINE void gather_tile(const MatrixBatch<T>& A, std::int64_t begin, int count, T* in) {
    for (int b = 0; b < lanes<T>; ++b) {
        const T* from = A.data + (begin + (b < count ? b : count - 1)) * A.batch_stride;
        for (int i = 0; i < n; ++i)
            for (int j = 0; j < n; ++j) in[(b * n + i) * n + j] = from[i * A.row_stride + j * A.column_stride];
    }
}

// A tile that is not full, or whose matrices do not lie row by row: through buffers.
template <class T, int n>
__attribute__((noinline)) bool invert_tile_buffered(const MatrixBatch<T>& A, std::int64_t begin, int count, T* X) {
    T in[n * n * lanes<T>], out[n * n * lanes<T>];
    gather_tile<T, n>(A, begin, count, in);
    if (!invert_tile<T, n, false>(in, n * n, out, {})) return false;
    __builtin_memcpy(X, out, std::size_t(count) * (n * n) * sizeof(T));
    return true;
}

template <class T, int n>
inline FirstFailure invert_sized(const MatrixBatch<T>& A, std::int64_t begin, std::int64_t end, T* X, Status* info) {
    constexpr int few = lanes<T> / 4;  // this many matrices are faster one at a time than as a tile
    const bool by_rows = A.row_stride == n && A.column_stride == 1;
    const Layout layout = by_rows && interleaves<T, n> && A.batch_stride == n * n ? Layout::gapless
                          : by_rows                                               ? Layout::by_rows
                          : A.row_stride == 1 && A.column_stride == n             ? Layout::by_columns
                                                                                  : Layout::strided;
    const auto tile = layout == Layout::by_columns ? &invert_tile<T, n, true> : &invert_tile<T, n, false>;
    FirstFailure failure{-1, success};
    std::int64_t b = begin;
    while (b < end) {
        if constexpr (interleaves<T, n>)
            if (layout == Layout::gapless) {
                const std::int64_t from = b;
                b = invert_gapless<T, n>(A, from, end, X);
                if (info) __builtin_memset(info + from, 0, std::size_t(b - from) * sizeof(Status));
                if (b == end) break;
            }
        if (layout != Layout::strided && end - b < lanes<T> && end - begin >= lanes<T>) b = end - lanes<T>;  // overlaps the last tile
        const int count = int(end - b < lanes<T> ? end - b : lanes<T>);
        T* target = X + b * n * n;
        bool done = false;
        if (layout != Layout::strided && count == lanes<T>)
            done = tile(A.data + b * A.batch_stride, A.batch_stride, target, tile_ahead<n>(A, b, X));
        else if (count > few)
            done = invert_tile_buffered<T, n>(A, b, count, target);
        if (__builtin_expect(!done, 0))
            invert_singly<T, n>(A, b, b + count, X, info, failure);
        else if (info)
            __builtin_memset(info + b, 0, std::size_t(count) * sizeof(Status));
        b += count;
    }
    return failure;
}

template <class T>
inline FirstFailure invert_scalars(const MatrixBatch<T>& A, std::int64_t begin, std::int64_t end, T* X, Status* info) {
    FirstFailure failure{-1, success};
    for (std::int64_t b = begin; b < end; ++b) {
        const T value = A.data[b * A.batch_stride];
        const Status status = value == T(0) ? 1 : success;
        X[b] = T(1) / value;
        if (info) info[b] = status;
        if (status != success && failure.index < 0) failure = {b, status};
    }
    return failure;
}

// Invert matrices [begin, end) of A, 1 ≤ A.n ≤ largest_unrolled.
//
// X: (count, n, n), row by row without gaps, apart from A in memory. info: (count) or null.
template <class T>
inline FirstFailure invert_range(const MatrixBatch<T>& A, std::int64_t begin, std::int64_t end, T* X, Status* info) {
    switch (A.n) {
        case 1: return invert_scalars<T>(A, begin, end, X, info);
        case 2: return invert_sized<T, 2>(A, begin, end, X, info);
        case 3: return invert_sized<T, 3>(A, begin, end, X, info);
        case 4: return invert_sized<T, 4>(A, begin, end, X, info);
        case 5: return invert_sized<T, 5>(A, begin, end, X, info);
        case 6: return invert_sized<T, 6>(A, begin, end, X, info);
        case 7: return invert_sized<T, 7>(A, begin, end, X, info);
        default: return invert_sized<T, 8>(A, begin, end, X, info);
    }
}

}  // namespace neuralinv::NEURALINV_TARGET
