// Half of the work for symmetric and Hermitian matrices: of products that are so, too, what is right of the diagonal is formed,
// and mirrored.
#pragma once

#include "planes.hpp"
#include "transpose.hpp"

namespace neuralinv::NEURALINV_TARGET {

// From here on answers are symmetric. Half a product, mirrored, and two looks at symmetry take 1.1 to 1.2 times as long as a
// whole one at n = 48, about as long at 64, and 0.7 of the time at 256: measured with AVX-512.
inline constexpr int smallest_mirrored = 48;

// Entries of two parts each from a row of as many numbers.
template <class T>
struct Parts {
    Row<T> re, im;
};

template <class T>
NEURALINV_INLINE Parts<T> load_parts(const Complex<T>* source) {
    const auto order = std::make_integer_sequence<int, block<T>>{};
    const T* const entries = &source->re;
    const Row<T> a = load_row(entries), b = load_row(entries + block<T>);
    return {parts_in<0>(a, b, order), parts_in<1>(a, b, order)};
}

// Whether rows i.. and columns j.. of A, a block of them, are the conjugates of the block opposite. Real ones: to the bit.
template <class S>
NEURALINV_INLINE bool mirrors(const S* A, std::int64_t stride, int i, int j) {
    using T = RealOf<S>;
    constexpr int B = block<T>;
    if constexpr (part_count<S> == 1) {
        typedef std::int64_t Words __attribute__((vector_size(block_bytes)));
        Words different{};
        Row<T> v[B];
        static_for<0, B>([&](auto r) NEURALINV_LAMBDA { v[decltype(r)::value] = load_row(A + (j + decltype(r)::value) * stride + i); });
        transpose(v);
        static_for<0, B>([&](auto r) NEURALINV_LAMBDA {
            different |= Words(v[decltype(r)::value]) ^ Words(load_row(A + (i + decltype(r)::value) * stride + j));
        });
        std::int64_t any = 0;
        for (unsigned w = 0; w < sizeof different / sizeof any; ++w) any |= different[w];
        return any == 0;
    } else {
        typedef typename Traits<T>::Integer Answers __attribute__((vector_size(block_bytes)));
        Answers different{};
        Row<T> re[B], im[B];
        static_for<0, B>([&](auto r) NEURALINV_LAMBDA {
            const Parts<T> row = load_parts(A + (j + decltype(r)::value) * stride + i);
            re[decltype(r)::value] = row.re;
            im[decltype(r)::value] = row.im;
        });
        transpose(re);
        transpose(im);
        static_for<0, B>([&](auto r) NEURALINV_LAMBDA {
            const Parts<T> row = load_parts(A + (i + decltype(r)::value) * stride + j);
            different |= Answers(row.re != re[decltype(r)::value]) | Answers(row.im != -im[decltype(r)::value]);
        });
        typename Traits<T>::Integer any = 0;
        for (int r = 0; r < B; ++r) any |= different[r];
        return any == 0;
    }
}

template <class T>
NEURALINV_INLINE bool are_conjugates(T x, T y) {
    return __builtin_memcmp(&x, &y, sizeof x) == 0;
}

template <class T>
NEURALINV_INLINE bool are_conjugates(Complex<T> x, Complex<T> y) {
    return x.re == y.re && x.im == -y.im;
}

// Whether A is its own conjugate transpose; real matrices to the bit. Rows without gaps inside, `stride` apart.
template <class S>
bool is_hermitian(int n, const S* A, std::int64_t stride) {
    constexpr int B = block<RealOf<S>>;
    const int whole = n / B * B;
    for (int i = 0; i < whole; i += B) {
        bool same = true;
        for (int j = 0; j <= i; j += B) same &= mirrors(A, stride, i, j);
        if (!same) return false;
    }
    for (int i = whole; i < n; ++i)
        for (int j = 0; j <= i; ++j)
            if (!are_conjugates(A[i * stride + j], A[j * stride + i])) return false;
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

// A tile's row, real numbers or parts, from entry `first` on, becomes X minus itself. X: the row of `columns` entries of S.
template <class S, class T = RealOf<S>>
NEURALINV_INLINE void subtract_from_row(const T* X, int first, int columns, T* row) {
    constexpr int apart = tile_rows<T> * panel_columns;
    int c = first;
    for (; c + lanes<T> <= columns; c += lanes<T>)
        if constexpr (part_count<S> == 1)
            store_vector(load_vector(X + c) - load_vector(row + c), row + c);
        else
            for_each_pair<Vector<T>>(X + 2 * c, lanes<T>, [&](int, Vector<T> re, Vector<T> im) NEURALINV_LAMBDA {
                store_vector(re - load_vector(row + c), row + c);
                store_vector(im - load_vector(row + apart + c), row + apart + c);
            });
    for (; c < columns; ++c)
        for (int part = 0; part < part_count<S>; ++part)
            row[part * apart + c] = X[part_count<S> * c + part] - row[part * apart + c];
}

// A tile's row as entries of S, from `first` on.
template <class S, class T = RealOf<S>>
NEURALINV_INLINE void store_joined(const T* row, int first, int columns, T* target) {
    constexpr int apart = tile_rows<T> * panel_columns;
    if constexpr (part_count<S> == 1) {
        copy_row(row + first, columns - first, target + first);
    } else {
        int c = first;
        for (; c + lanes<T> <= columns; c += lanes<T>) store_pairs(load_vector(row + c), load_vector(row + apart + c), target + 2 * c);
        for (; c < columns; ++c) {
            target[2 * c] = row[c];
            target[2 * c + 1] = row[apart + c];
        }
    }
}

// The conjugate of entry c of a tile's row. target: an entry of S.
template <class S, class T = RealOf<S>>
NEURALINV_INLINE void store_conjugate(const T* row, int c, T* target) {
    target[0] = row[c];
    if constexpr (part_count<S> == 2) target[1] = -row[tile_rows<T> * panel_columns + c];
}

// Columns begin..end-1 of a tile's rows, conjugated, as rows of Y from `column` on: (·, pitch) entries of S.
template <class S, class T = RealOf<S>>
NEURALINV_INLINE void store_transposed(const T* tile, int rows, int begin, int end, S* Y, std::int64_t pitch, int column) {
    constexpr int B = block<T>, apart = tile_rows<T> * panel_columns;
    const auto singly = [&](int first, int last) NEURALINV_LAMBDA {
        for (int c = first; c < last; ++c)
            for (int r = 0; r < rows; ++r)
                store_conjugate<S>(tile + r * panel_columns, c, reinterpret_cast<T*>(Y + c * pitch + column + r));
    };
    if (rows < B) return singly(begin, end);
    int c = begin;
    for (; c + B <= end; c += B)
        for (int r = 0; r < rows; r += B) {
            const int first = r + B <= rows ? r : rows - B;  // overlaps the last
            Row<T> v[part_count<S>][B];
            static_for<0, part_count<S>>([&](auto part) NEURALINV_LAMBDA {
                auto& block = v[decltype(part)::value];
                static_for<0, B>([&](auto q) NEURALINV_LAMBDA {
                    block[decltype(q)::value] = load_row(tile + decltype(part)::value * apart + (first + decltype(q)::value) * panel_columns + c);
                });
                transpose(block);
            });
            static_for<0, B>([&](auto q) NEURALINV_LAMBDA {
                T* const target = reinterpret_cast<T*>(Y + (c + decltype(q)::value) * pitch + column + first);
                if constexpr (part_count<S> == 1)
                    store_row(v[0][decltype(q)::value], target);
                else
                    store_pairs(v[0][decltype(q)::value], -v[1][decltype(q)::value], target);
            });
        }
    singly(c, end);
}

// Y = X − ZR, where that is Hermitian: as `improve` of correction.hpp, which has the rest.
template <class S, class T = RealOf<S>>
double improve_mirrored(int n, const T* X, const T* Z, const T* R, T* Y, PlanesMemory<S, T>& memory) {
    constexpr int parts = part_count<S>, apart = tile_rows<T> * panel_columns;
    double square = 0;
    const auto fill = [&](int i, int rows, bool) NEURALINV_LAMBDA {
        for (int r = 0; r < rows; ++r) fill_row<S>(Z + std::int64_t(i + r) * n * parts, n, r, memory.left);
    };
    const auto finish = [&](int i, int rows, int j, int columns, T* tile) NEURALINV_LAMBDA {
        square += square_of_tile<S>(rows, columns, tile);
        const int first = i > j ? i - j : 0;  // what is left of column i was mirrored when its row was formed
        for (int r = 0; r < rows; ++r) {
            const std::int64_t at = (std::int64_t(i + r) * n + j) * parts;
            T* const row = tile + r * panel_columns;
            subtract_from_row<S>(X + at, first, columns, row);
            if constexpr (parts == 2)
                if (i + r >= j && i + r < j + columns) row[apart + i + r - j] = 0;  // of the diagonal
            store_joined<S>(row, first, columns, Y + at);
        }
        const int below = i + rows - j;  // columns from here on lie right of the diagonal in every row
        for (int c = first; c < below && c < columns; ++c)
            for (int r = 0; i + r < j + c; ++r)
                store_conjugate<S>(tile + r * panel_columns, c, Y + (std::int64_t(j + c) * n + i + r) * parts);
        store_transposed(tile, rows, below > 0 ? below : 0, columns, reinterpret_cast<S*>(Y) + std::int64_t(j) * n, n, i);
    };
    NothingAhead<T> nothing{memory.left};
    multiply<S, true>(n, n, R, memory, nothing, fill, finish);
    return 2 * square;  // with the entries of tiles that have been mirrored, and the diagonal twice
}

}  // namespace neuralinv::NEURALINV_TARGET
