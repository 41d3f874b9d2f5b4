// Half of the work for symmetric matrices: of products that are symmetric, what is right of the diagonal is formed, and
// mirrored.
#pragma once

#include "product.hpp"
#include "transpose.hpp"

namespace neuralinv::NEURALINV_TARGET {

// From here on answers are symmetric. Half a product, mirrored, and two looks at symmetry take 1.1 to 1.2 times as long as a
// whole one at n = 48, about as long at 64, and 0.7 of the time at 256: measured with AVX-512.
inline constexpr int smallest_mirrored = 48;

// Whether both triangles of A hold the same bits. Rows without gaps inside, `stride` apart.
template <class T>
bool is_symmetric(int n, const T* A, std::int64_t stride) {
    constexpr int B = block<T>;
    typedef std::int64_t Words __attribute__((vector_size(block_bytes)));
    const int whole = n / B * B;
    for (int i = 0; i < whole; i += B) {
        Words different{};
        for (int j = 0; j <= i; j += B) {
            Row<T> v[B];
            static_for<0, B>([&](auto r) NEURALINV_LAMBDA { v[decltype(r)::value] = load_row(A + (j + decltype(r)::value) * stride + i); });
            transpose(v);
            static_for<0, B>([&](auto r) NEURALINV_LAMBDA {
                different |= Words(v[decltype(r)::value]) ^ Words(load_row(A + (i + decltype(r)::value) * stride + j));
            });
        }
        std::int64_t any = 0;
        for (unsigned w = 0; w < sizeof different / sizeof any; ++w) any |= different[w];
        if (any != 0) return false;
    }
    for (int i = whole; i < n; ++i)
        for (int j = 0; j < i; ++j)
            if (__builtin_memcmp(A + i * stride + j, A + j * stride + i, sizeof(T)) != 0) return false;
    return true;
}

// What stands right of the diagonal goes below it. X: (n, n) without gaps.
template <class T>
void mirror(int n, T* X) {
    constexpr int B = block<T>;
    const int whole = n / B * B;
    for (int i = 0; i < whole; i += B) {
        for (int r = i; r < i + B; ++r)
            for (int c = i; c < r; ++c) X[std::int64_t(r) * n + c] = X[std::int64_t(c) * n + r];
        for (int j = i + B; j < whole; j += B) {
            Row<T> v[B];
            static_for<0, B>([&](auto r) NEURALINV_LAMBDA { v[decltype(r)::value] = load_row(X + std::int64_t(i + decltype(r)::value) * n + j); });
            transpose(v);
            static_for<0, B>([&](auto r) NEURALINV_LAMBDA { store_row(v[decltype(r)::value], X + std::int64_t(j + decltype(r)::value) * n + i); });
        }
    }
    for (int r = whole; r < n; ++r)
        for (int c = 0; c < r; ++c) X[std::int64_t(r) * n + c] = X[std::int64_t(c) * n + r];
}

template <class T>
bool has_positive_diagonal(int n, const T* A, std::int64_t stride) {
    bool positive = true;
    for (int i = 0; i < n; ++i) positive &= A[i * (stride + 1)] > 0;
    return positive;
}

// Columns begin..end-1 of a tile's rows, as rows of Y from `column` on: (·, pitch).
template <class T>
NEURALINV_INLINE void store_transposed(const T* tile, int rows, int begin, int end, T* Y, std::int64_t pitch, int column) {
    constexpr int B = block<T>;
    const auto singly = [&](int first, int last) NEURALINV_LAMBDA {
        for (int c = first; c < last; ++c)
            for (int r = 0; r < rows; ++r) Y[c * pitch + column + r] = tile[r * panel_columns + c];
    };
    if (rows < B) return singly(begin, end);
    int c = begin;
    for (; c + B <= end; c += B)
        for (int r = 0; r < rows; r += B) {
            const int first = r + B <= rows ? r : rows - B;  // overlaps the last
            Row<T> v[B];
            static_for<0, B>([&](auto q) NEURALINV_LAMBDA { v[decltype(q)::value] = load_row(tile + (first + decltype(q)::value) * panel_columns + c); });
            transpose(v);
            static_for<0, B>([&](auto q) NEURALINV_LAMBDA { store_row(v[decltype(q)::value], Y + (c + decltype(q)::value) * pitch + column + first); });
        }
    singly(c, end);
}

// Y = X + XQ or, for minus, X − XQ, where that is symmetric: as `apply` of correction.hpp, which has the rest.
template <class T, bool minus>
void apply_mirrored(int n, const T* X, const T* Q, T* Y, ProductMemory<T>& memory) {
    const auto fill = [&](int i, int rows, bool) NEURALINV_LAMBDA {
        for (int r = 0; r < rows; ++r) copy_row(X + std::int64_t(i + r) * n, n, memory.left + r * left_pitch<T>);
    };
    const auto finish = [&](int i, int rows, int j, int columns, T* tile) NEURALINV_LAMBDA {
        const int first = i > j ? i - j : 0;  // what is left of column i was mirrored when its row was formed
        for (int r = 0; r < rows; ++r) {
            const T* const x = X + std::int64_t(i + r) * n + j;
            T* const row = tile + r * panel_columns;
            const auto sum = [&](auto one, auto other) NEURALINV_LAMBDA { return minus ? one - other : one + other; };
            int c = first;
            for (; c + lanes<T> <= columns; c += lanes<T>) store_vector(sum(load_vector(x + c), load_vector(row + c)), row + c);
            for (; c < columns; ++c) row[c] = sum(x[c], row[c]);
        }
        for (int r = 0; r < rows; ++r)
            copy_row(tile + r * panel_columns + first, columns - first, Y + std::int64_t(i + r) * n + j + first);
        const int below = i + rows - j;  // columns from here on lie right of the diagonal in every row
        for (int c = first; c < below && c < columns; ++c)
            for (int r = 0; i + r < j + c; ++r) Y[std::int64_t(j + c) * n + i + r] = tile[r * panel_columns + c];
        store_transposed(tile, rows, below > 0 ? below : 0, columns, Y + std::int64_t(j) * n, n, i);
    };
    NothingAhead<T> nothing{memory.left};
    multiply<T, true>(n, n, Q, memory, nothing, fill, finish);
}

}  // namespace neuralinv::NEURALINV_TARGET
