// From the caller's memory to a tile of matrices in lanes and back, for any strides and any number of matrices.
#pragma once

#include "batch.hpp"
#include "field.hpp"
#include "loops.hpp"
#include "status.hpp"

namespace neuralinv::NEURALINV_TARGET {

// Matrices in a tile.
template <class S>
inline constexpr int tile = lanes<RealOf<S>>;

// Matrices of rows × columns in the caller's memory.
template <class S>
struct Block {
    S* data;  // entry (i, j) of matrix b: data[b*batch_stride + i*row_stride + j*column_stride]
    int rows, columns;
    std::int64_t batch_stride, row_stride, column_stride;

    bool row_by_row() const { return row_stride == columns && column_stride == 1; }
};

// Matrices row by row, `stride` from one to the next.
template <class S>
struct Rows {
    S* data;
    std::int64_t stride;
};

template <class S>
__attribute__((noinline)) void copy_to_rows(const Block<const S>& block, std::int64_t begin, int count, S* buffer) {
    const int entries = block.rows * block.columns;
    for (int b = 0; b < count; ++b) {
        const S* from = block.data + (begin + b) * block.batch_stride;
        for (int i = 0; i < block.rows; ++i)
            for (int j = 0; j < block.columns; ++j)
                *buffer++ = from[i * block.row_stride + j * block.column_stride];
    }
    if (count == 1) return;
    const S* first = buffer - std::int64_t(count) * entries;
    for (int b = count; b < tile<S>; ++b, buffer += entries)
        __builtin_memcpy(buffer, first, std::size_t(entries) * sizeof(S));
}

// A tile that kernels can read: where it lies, or a copy in `buffer`: (tile, rows, columns). Behind the last of fewer
// matrices the first one stands again; a single one is every matrix of its tile, by a stride of zero.
template <class S>
NEURALINV_INLINE Rows<const S> source_rows(const Block<const S>& block, std::int64_t begin, int count, S* buffer) {
    if (block.row_by_row() && (count == tile<S> || count == 1))
        return {block.data + begin * block.batch_stride, count == 1 ? 0 : block.batch_stride};
    copy_to_rows<S>(block, begin, count, buffer);
    return {buffer, count == 1 ? 0 : std::int64_t(block.rows) * block.columns};
}

// Where a kernel can write a tile: in its place, or `buffer`, from which `finish_rows` copies it.
template <class S>
NEURALINV_INLINE Rows<S> target_rows(const Block<S>& block, std::int64_t begin, int count, S* buffer) {
    if (block.row_by_row() && count == tile<S>) return {block.data + begin * block.batch_stride, block.batch_stride};
    return {buffer, std::int64_t(block.rows) * block.columns};
}

template <class S>
NEURALINV_INLINE void finish_rows(const Block<S>& block, std::int64_t begin, int count, const S* buffer) {
    if (block.row_by_row() && count == tile<S>) return;
    for (int b = 0; b < count; ++b) {
        S* to = block.data + (begin + b) * block.batch_stride;
        for (int i = 0; i < block.rows; ++i)
            for (int j = 0; j < block.columns; ++j) to[i * block.row_stride + j * block.column_stride] = *buffer++;
    }
}

template <class S>
NEURALINV_INLINE const RealOf<S>* parts_of(const S* data) {
    return reinterpret_cast<const RealOf<S>*>(data);
}

template <class S>
NEURALINV_INLINE RealOf<S>* parts_of(S* data) {
    return reinterpret_cast<RealOf<S>*>(data);
}

template <class S>
NEURALINV_INLINE Vector<RealOf<S>>* vectors_of(Lane<S>* a) {
    return reinterpret_cast<Vector<RealOf<S>>*>(a);
}

template <class S>
NEURALINV_INLINE const Vector<RealOf<S>>* vectors_of(const Lane<S>* a) {
    return reinterpret_cast<const Vector<RealOf<S>>*>(a);
}

// Fewer entries than 16 bytes hold, one by one.
template <class T, class N>
NEURALINV_INLINE void load_scalars(const T* source, std::int64_t stride, N count, Vector<T>* v) {
    loop(zero, count, [&](auto e) NEURALINV_LAMBDA {
        T entries[lanes<T>];
        for (int lane = 0; lane < lanes<T>; ++lane) entries[lane] = source[lane * stride + e];
        __builtin_memcpy(v + e, entries, sizeof(entries));
    });
}

template <class T, class N>
NEURALINV_INLINE void store_scalars(const Vector<T>* v, N count, T* target, std::int64_t stride) {
    loop(zero, count, [&](auto e) NEURALINV_LAMBDA {
        T entries[lanes<T>];
        __builtin_memcpy(entries, v + e, sizeof(entries));
        for (int lane = 0; lane < lanes<T>; ++lane) target[lane * stride + e] = entries[lane];
    });
}

// `entries` (Fixed or int) entries of each matrix into lanes. a: (entries). Real and imaginary parts are entries of
// their own: a complex lane is two vectors as a complex number is two reals.
template <class S, class N>
NEURALINV_INLINE void load_entries(Rows<const S> from, N entries, Lane<S>* a) {
    using T = RealOf<S>;
    constexpr Fixed<piece<T>> size{};
    const T* source = parts_of<S>(from.data);
    const std::int64_t stride = from.stride * Field<S>::parts;
    Vector<T>* v = vectors_of<S>(a);
    const auto count = entries * Fixed<Field<S>::parts>{};
    const auto load = [&](int at) NEURALINV_LAMBDA { load_chunk<T>(source + at, stride, v + at); };
    if (count >= size) {
        loop(zero, count / size, [&](auto c) NEURALINV_LAMBDA { load(c * size); });
        if (count % size != 0) load(count - size);  // overlaps the last
    } else {
        load_scalars<T>(source, stride, count, v);
    }
}

template <class S, class N>
NEURALINV_INLINE void store_entries(const Lane<S>* a, N entries, Rows<S> to) {
    using T = RealOf<S>;
    constexpr Fixed<piece<T>> size{};
    T* target = parts_of<S>(to.data);
    const std::int64_t stride = to.stride * Field<S>::parts;
    const Vector<T>* v = vectors_of<S>(a);
    const auto count = entries * Fixed<Field<S>::parts>{};
    const auto store = [&](int at) NEURALINV_LAMBDA { store_chunk<T>(v + at, target + at, stride); };
    if (count >= size) {
        loop(zero, count / size, [&](auto c) NEURALINV_LAMBDA { store(c * size); });
        if (count % size != 0) store(count - size);
    } else {
        store_scalars<T>(v, count, target, stride);
    }
}

// a(e) := NaN in the lanes that failed.
template <class S>
NEURALINV_INLINE void spoil(LaneMask<S> failed, int entries, Lane<S>* a) {
    using T = RealOf<S>;
    Vector<T>* v = vectors_of<S>(a);
    const Vector<T> nan = broadcast<T>(T(__builtin_nanf("")));
    for (int e = 0; e < entries * Field<S>::parts; ++e) v[e] = select<T>(failed, nan, v[e]);
}

// Run kernel(b, count, status) for tiles of `count` matrices from b on. It returns whether any may have failed; only
// then it fills status: (tile).
template <class S, class Kernel>
NEURALINV_INLINE FirstFailure for_each_tile(std::int64_t begin, std::int64_t end, Status* info, const Kernel& kernel) {
    FirstFailure failure{-1, success};
    for (std::int64_t b = begin; b < end; b += tile<S>) {
        const int count = int(end - b < tile<S> ? end - b : tile<S>);
        Status status[tile<S>];
        const bool careful = kernel(b, count, status);
        if (__builtin_expect(careful, 0)) {
            for (int i = count - 1; i >= 0; --i)
                if (status[i] != success && (failure.index < 0 || failure.index >= b)) failure = {b + i, status[i]};
            if (info) __builtin_memcpy(info + b, status, std::size_t(count) * sizeof(Status));
        } else if (info) {
            __builtin_memset(info + b, 0, std::size_t(count) * sizeof(Status));
        }
    }
    return failure;
}

template <class S>
NEURALINV_INLINE void store_status(LaneMask<S> info, Status* status) {
    for (int lane = 0; lane < tile<S>; ++lane) status[lane] = Status(info[lane]);
}

template <class S>
NEURALINV_INLINE Block<const S> block_of(const MatrixBatch<S>& A) {
    return {A.data, int(A.n), int(A.n), A.batch_stride, A.row_stride, A.column_stride};
}

}  // namespace neuralinv::NEURALINV_TARGET
