// Between the caller's rows and the columns of columns.hpp.
#pragma once

#include "columns.hpp"
#include "part.hpp"
#include "transpose.hpp"

namespace neuralinv::NEURALINV_TARGET {

// Rows of the source, `pitch` apart and without gaps inside, become columns.
// columns: (count, height) vectors; sizes: (count), the largest modulus of each column, or null. count ≥ block<T>.
template <class T>
NEURALINV_INLINE void load_rows(const T* source, std::int64_t pitch, int n, int count, int height, T* columns, T* sizes) {
    constexpr int B = block<T>;
    const std::int64_t length = std::int64_t(height) * lanes<T>;
    for (int j0 = 0; j0 < count; j0 += B) {
        const int j = j0 + B <= count ? j0 : count - B;  // the last block overlaps the one before
        Row<T> size{};
        for (int i0 = 0; i0 < int(length); i0 += B) {
            Row<T> v[B];
            if (i0 + B <= n) {
                static_for<0, B>([&](auto i) NEURALINV_LAMBDA {
                    v[decltype(i)::value] = load_row(source + (i0 + decltype(i)::value) * pitch + j);
                });
            } else {
                for (int i = 0; i < B; ++i) v[i] = i0 + i < n ? load_row(source + (i0 + i) * pitch + j) : Row<T>{};
            }
            static_for<0, B>([&](auto i) NEURALINV_LAMBDA {
                const Row<T> x = v[decltype(i)::value], modulus = x < 0 ? -x : x;
                size = modulus > size ? modulus : size;
            });
            transpose(v);
            static_for<0, B>([&](auto i) NEURALINV_LAMBDA {
                store_row(v[decltype(i)::value], columns + (j + decltype(i)::value) * length + i0);
            });
        }
        if (sizes) store_row(size, sizes + j);
    }
}

// The same from any strides, entry by entry.
template <class T>
NEURALINV_INLINE void load_entries(const T* source, std::int64_t row_stride, std::int64_t column_stride, int n, int count,
                                   int height, T* columns, T* sizes) {
    const int length = height * lanes<T>;
    for (int j = 0; j < count; ++j) {
        const T* from = source + j * column_stride;
        T* to = columns + std::int64_t(j) * length;
        if (row_stride == 1)
            for (int i = 0; i < n; ++i) to[i] = from[i];
        else
            for (int i = 0; i < n; ++i) to[i] = from[i * row_stride];
        for (int i = n; i < length; ++i) to[i] = 0;
        if (!sizes) continue;
        T size = 0;
        for (int i = 0; i < n; ++i) {
            const T modulus = to[i] < 0 ? -to[i] : to[i];
            size = modulus > size ? modulus : size;
        }
        sizes[j] = size;
    }
}

// The lower triangle of the source on both sides of the diagonal.
template <class T>
NEURALINV_INLINE void load_lower_triangle(const T* source, std::int64_t row_stride, std::int64_t column_stride, int n,
                                          int height, T* columns, T* sizes) {
    const int length = height * lanes<T>;
    for (int j = 0; j < n; ++j) {
        T* to = columns + std::int64_t(j) * length;
        for (int i = 0; i < j; ++i) to[i] = columns[std::int64_t(i) * length + j];
        for (int i = j; i < n; ++i) to[i] = source[i * row_stride + j * column_stride];
        for (int i = n; i < length; ++i) to[i] = 0;
        sizes[j] = to[j] < 0 ? -to[j] : to[j];
    }
}

// What the elimination left, as rows: row rows[k], times its reciprocal, becomes row k of the target.
//
// step_of_row: (n), the inverse of e.rows. Column j of the target is column `first + j` of e, or, for the inverse, whose
// columns suffered the swaps that its rows were spared, column step_of_row[j]. target: (n, count) without gaps. Of several
// callers, each stores the rows of `part`.
template <class T, Wanted wanted>
NEURALINV_INLINE void store_rows(const Elimination<T>& e, int n, int height, int first, int count, const int* step_of_row,
                                 T* target, Part part = {}) {
    constexpr int B = block<T>;
    const std::int64_t length = std::int64_t(height) * lanes<T>;
    const T* columns = reinterpret_cast<const T*>(e.columns);
    const T* reciprocals = reinterpret_cast<const T*>(e.reciprocals);
    const auto column = [&](int j) NEURALINV_LAMBDA {
        return columns + (wanted == Wanted::inverse ? step_of_row[j] : first + j) * length;
    };
    if (count < B) {
        for (int k = part.begin(n); k < part.end(n); ++k)
            for (int j = 0; j < count; ++j) target[k * count + j] = column(j)[e.rows[k]] * reciprocals[e.rows[k]];
        return;
    }
    for (int i0 = part.begin((n + B - 1) / B) * B; i0 < n && i0 < part.end((n + B - 1) / B) * B; i0 += B) {
        const Row<T> scale = load_row(reciprocals + i0);
        for (int j0 = 0; j0 < count; j0 += B) {
            const int j = j0 + B <= count ? j0 : count - B;
            Row<T> v[B];
            static_for<0, B>([&](auto i) NEURALINV_LAMBDA {
                v[decltype(i)::value] = load_row(column(j + decltype(i)::value) + i0) * scale;
            });
            transpose(v);
            if (i0 + B <= n) {
                static_for<0, B>([&](auto i) NEURALINV_LAMBDA {
                    store_row(v[decltype(i)::value], target + std::int64_t(step_of_row[i0 + decltype(i)::value]) * count + j);
                });
            } else {
                for (int i = 0; i0 + i < n; ++i) store_row(v[i], target + std::int64_t(step_of_row[i0 + i]) * count + j);
            }
        }
    }
}

}  // namespace neuralinv::NEURALINV_TARGET
