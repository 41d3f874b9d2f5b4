// Small dense blocks as columns of SIMD vectors: what the block-tridiagonal kernels are made of.
//
// A block (n, n) lies row by row in the caller's memory, and in scratch memory as n columns of `stride` entries: column j
// begins at j·stride, is aligned, and its entries from n on are padding, zero throughout. A vector spans rows, so that a
// product or a triangular solve from the right never shuffles: every step is (column) −= (column) · (scalar).
#pragma once

#include "simd.hpp"

namespace neuralinv::NEURALINV_TARGET {

// The size of a block: known to the compiler if fixed_n > 0. Columns are padded to a multiple of `chunk_vectors` vectors,
// which are worked on at once.
template <class Scalar, int fixed_n, int chunk_vectors>
struct BlockSize {
    using T = Scalar;
    static constexpr bool fixed = fixed_n > 0;
    static constexpr int vectors = chunk_vectors;
    static constexpr int chunk = vectors * lanes<T>;
    // Columns worked on at once where they do not depend on each other: enough sums under way to hide their latency.
    static constexpr int together = vectors <= 2 ? 4 : vectors == 3 ? 3 : 2;

    int runtime_n;

    NEURALINV_INLINE constexpr int n() const { return fixed ? fixed_n : runtime_n; }
    NEURALINV_INLINE constexpr int stride() const { return (n() + chunk - 1) / chunk * chunk; }
    NEURALINV_INLINE constexpr std::int64_t block() const { return std::int64_t(n()) * n(); }
    // Entries of a block in scratch memory.
    NEURALINV_INLINE constexpr std::int64_t padded() const { return std::int64_t(n()) * stride(); }
};

// A vector in scratch memory.
template <class T>
struct ColumnVector {
    typedef T type __attribute__((vector_size(NEURALINV_VECTOR_BYTES), may_alias));
};

template <class T>
NEURALINV_INLINE Vector<T> load(const T* source) {
    return Vector<T>(*reinterpret_cast<const typename ColumnVector<T>::type*>(source));
}

template <class T>
NEURALINV_INLINE void store(Vector<T> value, T* target) {
    *reinterpret_cast<typename ColumnVector<T>::type*>(target) = value;
}

// ---- between the caller's memory and scratch -------------------------------------------------------------------------

template <class Size, class T>
NEURALINV_INLINE void clear(Size size, T* x) {
    for (int j = 0; j < size.n(); ++j)
        for (int at = 0; at < size.stride(); at += lanes<T>) store<T>(Vector<T>{}, x + j * size.stride() + at);
}

// x[:, j] = source[:, j].
template <class Size, class T>
NEURALINV_INLINE void load_columns(Size size, const T* source, T* x) {
    const int n = size.n(), stride = size.stride();
    int first = 0;  // row
    // Blocks of `lanes` rows and `piece` columns are transposed in registers, the last such block moved back to fit.
    if (n >= lanes<T>)
        for (; first + lanes<T> <= n; first += lanes<T>)
            for (int at = 0; at < n; at += piece<T>) {
                const int j = at + piece<T> <= n ? at : n - piece<T>;
                Vector<T> columns[piece<T>];
                load_chunk<T>(source + first * n + j, n, columns);
                static_for<0, piece<T>>([&](auto c) NEURALINV_LAMBDA {
                    store<T>(columns[decltype(c)::value], x + (j + decltype(c)::value) * stride + first);
                });
            }
    for (int i = first; i < n; ++i)
        for (int j = 0; j < n; ++j) x[j * stride + i] = source[i * n + j];
}

// x[:, i] = source[i, :].
template <class Size, class T>
NEURALINV_INLINE void load_rows(Size size, const T* source, T* x) {
    for (int i = 0; i < size.n(); ++i)
        for (int j = 0; j < size.n(); ++j) x[i * size.stride() + j] = source[i * size.n() + j];
}

// target[i, j] = x[i, j], or 0 above the diagonal of a lower triangle.
template <bool triangle, class Size, class T>
NEURALINV_INLINE void store_columns(Size size, const T* x, T* target) {
    for (int i = 0; i < size.n(); ++i)
        for (int j = 0; j < size.n(); ++j)
            target[i * size.n() + j] = triangle && j > i ? T(0) : x[j * size.stride() + i];
}

template <class Size, class T>
NEURALINV_INLINE void transpose(Size size, const T* x, T* transposed) {
    for (int j = 0; j < size.n(); ++j)
        for (int i = 0; i < size.n(); ++i) transposed[i * size.stride() + j] = x[j * size.stride() + i];
}

// The symmetric x with the entries on and below the diagonal of `lower`, lower[j·stride + i] with i ≥ j, times `factor`.
template <class Size, class T>
NEURALINV_INLINE void mirror(Size size, const T* lower, T factor, T* x) {
    for (int j = 0; j < size.n(); ++j)
        for (int i = j; i < size.n(); ++i)
            x[j * size.stride() + i] = x[i * size.stride() + j] = factor * lower[j * size.stride() + i];
}

// ---- arithmetic ------------------------------------------------------------------------------------------------------

// acc[c][:] ± = Σ_{begin ≤ k < end} a[:, k] · s[k·step + c·across] for `count` columns c and `vectors` vectors of rows.
template <int sign, int count, int vectors, class T>
NEURALINV_INLINE void sum_columns(Vector<T> (&acc)[count][vectors], const T* a, int stride, const T* s, int step,
                                  int across, int begin, int end) {
    for (int k = begin; k < end; ++k) {
        Vector<T> column[vectors];
        static_for<0, vectors>([&](auto v) NEURALINV_LAMBDA {
            column[decltype(v)::value] = load<T>(a + k * stride + decltype(v)::value * lanes<T>);
        });
        static_for<0, count>([&](auto c_) NEURALINV_LAMBDA {
            constexpr int c = decltype(c_)::value;
            const Vector<T> scalar = broadcast<T>(s[k * step + c * across]);
            static_for<0, vectors>([&](auto v_) NEURALINV_LAMBDA {
                constexpr int v = decltype(v_)::value;
                if constexpr (sign > 0)
                    acc[c][v] = acc[c][v] + column[v] * scalar;
                else
                    acc[c][v] = acc[c][v] - column[v] * scalar;
            });
        });
    }
}

template <int count, int vectors, class T>
NEURALINV_INLINE void load_sums(Vector<T> (&acc)[count][vectors], const T* x, int stride) {
    static_for<0, count * vectors>([&](auto e_) NEURALINV_LAMBDA {
        constexpr int c = decltype(e_)::value / vectors, v = decltype(e_)::value % vectors;
        acc[c][v] = load<T>(x + c * stride + v * lanes<T>);
    });
}

template <int count, int vectors, class T>
NEURALINV_INLINE void store_sums(const Vector<T> (&acc)[count][vectors], T* x, int stride) {
    static_for<0, count * vectors>([&](auto e_) NEURALINV_LAMBDA {
        constexpr int c = decltype(e_)::value / vectors, v = decltype(e_)::value % vectors;
        store<T>(acc[c][v], x + c * stride + v * lanes<T>);
    });
}

// x[:, j] ± = Σ_{begin ≤ k < end} a[:, k] s[k·step + j·across] for columns first ≤ j < last.
template <int sign, class Size, class T>
NEURALINV_INLINE void add_product(Size size, T* x, const T* a, const T* s, int step, int across, int first, int last,
                                  int begin, int end) {
    constexpr int vectors = Size::vectors, together = Size::together;
    const int stride = size.stride();
    for (int row = 0; row < stride; row += Size::chunk) {
        int j = first;
        for (; j + together <= last; j += together) {
            Vector<T> acc[together][vectors];
            load_sums(acc, x + j * stride + row, stride);
            sum_columns<sign>(acc, a + row, stride, s + j * across, step, across, begin, end);
            store_sums(acc, x + j * stride + row, stride);
        }
        for (; j < last; ++j) {
            Vector<T> acc[1][vectors];
            load_sums(acc, x + j * stride + row, stride);
            sum_columns<sign>(acc, a + row, stride, s + j * across, step, across, begin, end);
            store_sums(acc, x + j * stride + row, stride);
        }
    }
}

// x ± = a s for all columns.
template <int sign, class Size, class T>
NEURALINV_INLINE void add_product(Size size, T* x, const T* a, const T* s, int step, int across) {
    add_product<sign>(size, x, a, s, step, across, 0, size.n(), 0, size.n());
}

// x[:, j] *= s.
template <class Size, class T>
NEURALINV_INLINE void scale_column(Size size, T* x, int j, T s) {
    const Vector<T> scale = broadcast<T>(s);
    T* const column = x + j * size.stride();
    for (int row = 0; row < size.stride(); row += lanes<T>) store<T>(load<T>(column + row) * scale, column + row);
}

// x = a l for a lower triangular l, given row by row: x[:, j] = Σ_{k ≥ j} a[:, k] l[k, j].
template <class Size, class T>
NEURALINV_INLINE void multiply_triangle(Size size, T* x, const T* a, const T* l) {
    const int n = size.n(), stride = size.stride();
    // Columns `width` at a time: the corner of l that they meet apart, the rows below it together.
    const auto columns = [&](auto width_, int j, int row) NEURALINV_LAMBDA {
        constexpr int width = decltype(width_)::value;
        Vector<T> acc[width][Size::vectors] = {};
        sum_columns<1>(acc, a + row, stride, l + j, n, 1, j + width, n);
        static_for<0, width * Size::vectors>([&](auto e_) NEURALINV_LAMBDA {
            constexpr int c = decltype(e_)::value / Size::vectors, v = decltype(e_)::value % Size::vectors;
            static_for<c, width>([&](auto k_) NEURALINV_LAMBDA {
                constexpr int k = decltype(k_)::value;
                acc[c][v] = acc[c][v] + load<T>(a + (j + k) * stride + row + v * lanes<T>) *
                                            broadcast<T>(l[(j + k) * n + j + c]);
            });
        });
        store_sums(acc, x + j * stride + row, stride);
    };
    for (int row = 0; row < stride; row += Size::chunk) {
        int j = 0;
        for (; j + Size::together <= n; j += Size::together) columns(Index<Size::together>{}, j, row);
        for (; j < n; ++j) columns(Index<1>{}, j, row);
    }
}

// x ← x l⁻¹ for a lower triangular l, given row by row with the reciprocals of its diagonal:
// x[:, j] ← (x[:, j] − Σ_{k > j} x[:, k] l[k, j]) / l[j, j], from the last column to the first.
template <class Size, class T>
NEURALINV_INLINE void solve_from_right(Size size, T* x, const T* l, const T* reciprocal) {
    const int n = size.n(), stride = size.stride();
    // Columns `width` at a time: what later columns subtract from all of them first, then their own corner of l.
    const auto columns = [&](auto width_, int j, int row) NEURALINV_LAMBDA {
        constexpr int width = decltype(width_)::value;
        Vector<T> acc[width][Size::vectors];
        load_sums(acc, x + j * stride + row, stride);
        sum_columns<-1>(acc, x + row, stride, l + j, n, 1, j + width, n);
        static_for<0, width>([&](auto step) NEURALINV_LAMBDA {
            constexpr int k = width - 1 - decltype(step)::value;
            static_for<0, Size::vectors>([&](auto v_) NEURALINV_LAMBDA {
                constexpr int v = decltype(v_)::value;
                acc[k][v] = acc[k][v] * broadcast<T>(reciprocal[j + k]);
                static_for<0, k>([&](auto c_) NEURALINV_LAMBDA {
                    constexpr int c = decltype(c_)::value;
                    acc[c][v] = acc[c][v] - acc[k][v] * broadcast<T>(l[(j + k) * n + j + c]);
                });
            });
        });
        store_sums(acc, x + j * stride + row, stride);
    };
    for (int row = 0; row < stride; row += Size::chunk) {
        int j = n;
        for (; j % Size::together != 0; --j) columns(Index<1>{}, j - 1, row);
        for (; j > 0; j -= Size::together) columns(Index<Size::together>{}, j - Size::together, row);
    }
}

// The symmetric x ← l⁻ᵀ x l⁻¹ (x symmetric): y = x l⁻¹, then (yᵀ l⁻¹)ᵀ, which is symmetric. work: padded.
template <class Size, class T>
NEURALINV_INLINE void solve_from_both_sides(Size size, T* x, const T* l, const T* reciprocal, T* work) {
    solve_from_right(size, x, l, reciprocal);
    transpose(size, x, work);
    solve_from_right(size, work, l, reciprocal);
    mirror(size, work, T(1), x);  // rounding has left its halves a little different
}

template <class Size, class T>
NEURALINV_INLINE void reciprocals(Size size, const T* l, T* reciprocal) {
    for (int j = 0; j < size.n(); ++j) reciprocal[j] = T(1) / l[j * size.n() + j];
}

}  // namespace neuralinv::NEURALINV_TARGET
