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

// A square of `piece` × `piece` entries, transposed in registers of 16 bytes.
template <class T>
NEURALINV_INLINE void move_square(const T* source, int source_stride, T* target, int target_stride) {
    if constexpr (piece<T> == 4) {
        const Piece<T> r0 = load_piece(source), r1 = load_piece(source + source_stride);
        const Piece<T> r2 = load_piece(source + 2 * source_stride), r3 = load_piece(source + 3 * source_stride);
        const Piece<T> a = __builtin_shufflevector(r0, r1, 0, 4, 1, 5), b = __builtin_shufflevector(r0, r1, 2, 6, 3, 7);
        const Piece<T> c = __builtin_shufflevector(r2, r3, 0, 4, 1, 5), d = __builtin_shufflevector(r2, r3, 2, 6, 3, 7);
        store_piece<T>(__builtin_shufflevector(a, c, 0, 1, 4, 5), target);
        store_piece<T>(__builtin_shufflevector(a, c, 2, 3, 6, 7), target + target_stride);
        store_piece<T>(__builtin_shufflevector(b, d, 0, 1, 4, 5), target + 2 * target_stride);
        store_piece<T>(__builtin_shufflevector(b, d, 2, 3, 6, 7), target + 3 * target_stride);
    } else {
        const Piece<T> r0 = load_piece(source), r1 = load_piece(source + source_stride);
        store_piece<T>(__builtin_shufflevector(r0, r1, 0, 2), target);
        store_piece<T>(__builtin_shufflevector(r0, r1, 1, 3), target + target_stride);
    }
}

// Move a block between two places, transposed: target[j·target_stride + i] = source[i·source_stride + j] for
// i, j < n. What fits into registers is transposed there; the last rows and columns are moved back to fit, and then come
// twice.
template <class T>
__attribute__((noinline)) void move_transposed(int n, const T* source, int source_stride, T* target, int target_stride) {
    const auto back = [&](int at, int size) NEURALINV_LAMBDA { return at + size <= n ? at : n - size; };
    if (n >= lanes<T>) {
        for (int row = 0; row < n; row += lanes<T>)
            for (int column = 0; column < n; column += piece<T>) {
                const int i = back(row, lanes<T>), j = back(column, piece<T>);
                Vector<T> columns[piece<T>];
                load_chunk<T>(source + i * source_stride + j, source_stride, columns);
                static_for<0, piece<T>>([&](auto c_) NEURALINV_LAMBDA {
                    constexpr int c = decltype(c_)::value;
                    store_vector(columns[c], target + (j + c) * target_stride + i);
                });
            }
    } else if (n >= piece<T>) {
        for (int row = 0; row < n; row += piece<T>)
            for (int column = 0; column < n; column += piece<T>) {
                const int i = back(row, piece<T>), j = back(column, piece<T>);
                move_square(source + i * source_stride + j, source_stride, target + j * target_stride + i, target_stride);
            }
    } else {
        for (int i = 0; i < n; ++i)
            for (int j = 0; j < n; ++j) target[j * target_stride + i] = source[i * source_stride + j];
    }
}

// The same for a block of known or unknown size.
template <class Size, class T>
NEURALINV_INLINE void move_transposed(Size size, const T* source, int source_stride, T* target, int target_stride) {
    if constexpr (Size::fixed) {
        for (int i = 0; i < size.n(); ++i)
            for (int j = 0; j < size.n(); ++j) target[j * target_stride + i] = source[i * source_stride + j];
    } else {
        move_transposed(size.n(), source, source_stride, target, target_stride);
    }
}

// Row by row, without transposition.
template <class Size, class T>
NEURALINV_INLINE void move_rows(Size size, const T* source, int source_stride, T* target, int target_stride) {
    const int n = size.n();
    for (int i = 0; i < n; ++i) {
        const T* const from = source + i * source_stride;
        T* const to = target + i * target_stride;
        if (n >= lanes<T>) {
            for (int row = 0; row < n; row += lanes<T>) {
                const int j = row + lanes<T> <= n ? row : n - lanes<T>;
                store_vector(load_vector(from + j), to + j);
            }
        } else if (n >= piece<T>) {
            for (int row = 0; row < n; row += piece<T>) {
                const int j = row + piece<T> <= n ? row : n - piece<T>;
                store_piece<T>(load_piece(from + j), to + j);
            }
        } else {
            for (int j = 0; j < n; ++j) to[j] = from[j];
        }
    }
}

// x[:, j] = source[:, j].
template <class Size, class T>
NEURALINV_INLINE void load_columns(Size size, const T* source, T* x) {
    move_transposed(size, source, size.n(), x, size.stride());
}

// x[:, i] = source[i, :].
template <class Size, class T>
NEURALINV_INLINE void load_rows(Size size, const T* source, T* x) {
    move_rows(size, source, size.n(), x, size.stride());
}

// target[:, j] = x[:, j].
template <class Size, class T>
NEURALINV_INLINE void store_columns(Size size, const T* x, T* target) {
    move_transposed(size, x, size.stride(), target, size.n());
}

// target[i, :] = x[:, i]: for a symmetric block the same as store_columns.
template <class Size, class T>
NEURALINV_INLINE void store_rows(Size size, const T* x, T* target) {
    move_rows(size, x, size.stride(), target, size.n());
}

// 0 above the diagonal of a block that lies row by row.
template <class Size, class T>
NEURALINV_INLINE void clear_above_diagonal(Size size, T* block) {
    for (int i = 0; i < size.n(); ++i)
        for (int j = i + 1; j < size.n(); ++j) block[i * size.n() + j] = T(0);
}

template <class Size, class T>
NEURALINV_INLINE void transpose(Size size, const T* x, T* transposed) {
    move_transposed(size, x, size.stride(), transposed, size.stride());
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
                if constexpr (sign >= 0)
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

// x[:, j] ± = Σ_{begin ≤ k < end} a[:, k] s[k·step + j·across] for columns first ≤ j < last; with sign 0, x[:, j] = Σ ….
template <int sign, class Size, class T>
NEURALINV_INLINE void add_product_inline(Size size, T* x, const T* a, const T* s, int step, int across, int first,
                                         int last, int begin, int end) {
    constexpr int vectors = Size::vectors, together = Size::together;
    const int stride = size.stride();
    for (int row = 0; row < stride; row += Size::chunk) {
        int j = first;
        for (; j + together <= last; j += together) {
            Vector<T> acc[together][vectors] = {};
            if constexpr (sign != 0) load_sums(acc, x + j * stride + row, stride);
            sum_columns<sign>(acc, a + row, stride, s + j * across, step, across, begin, end);
            store_sums(acc, x + j * stride + row, stride);
        }
        for (; j < last; ++j) {
            Vector<T> acc[1][vectors] = {};
            if constexpr (sign != 0) load_sums(acc, x + j * stride + row, stride);
            sum_columns<sign>(acc, a + row, stride, s + j * across, step, across, begin, end);
            store_sums(acc, x + j * stride + row, stride);
        }
    }
}

// The same, inline where the size is known, and else one function for all calls, which spares the compiler much.
template <int sign, class Size, class T>
__attribute__((noinline)) void add_product_apart(Size size, T* x, const T* a, const T* s, int step, int across, int first,
                                                 int last, int begin, int end) {
    add_product_inline<sign>(size, x, a, s, step, across, first, last, begin, end);
}

template <int sign, class Size, class T>
NEURALINV_INLINE void add_product(Size size, T* x, const T* a, const T* s, int step, int across, int first, int last,
                                  int begin, int end) {
    if constexpr (Size::fixed)
        add_product_inline<sign>(size, x, a, s, step, across, first, last, begin, end);
    else
        add_product_apart<sign>(size, x, a, s, step, across, first, last, begin, end);
}

// x ± = a s, or x = a s, for all columns.
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
NEURALINV_INLINE void solve_from_right_inline(Size size, T* x, const T* l, const T* reciprocal) {
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

template <class Size, class T>
__attribute__((noinline)) void solve_from_right_apart(Size size, T* x, const T* l, const T* reciprocal) {
    solve_from_right_inline(size, x, l, reciprocal);
}

template <class Size, class T>
NEURALINV_INLINE void solve_from_right(Size size, T* x, const T* l, const T* reciprocal) {
    if constexpr (Size::fixed)
        solve_from_right_inline(size, x, l, reciprocal);
    else
        solve_from_right_apart(size, x, l, reciprocal);
}

// The symmetric x ← l⁻ᵀ x l⁻¹ (x symmetric): y = x l⁻¹, then z = yᵀ l⁻¹, whose halves rounding has left a little
// different: ½ (z + zᵀ). work: padded.
template <class Size, class T>
NEURALINV_INLINE void solve_from_both_sides(Size size, T* x, const T* l, const T* reciprocal, T* work) {
    solve_from_right(size, x, l, reciprocal);
    transpose(size, x, work);
    solve_from_right(size, work, l, reciprocal);
    transpose(size, work, x);
    for (std::int64_t at = 0; at < size.padded(); at += lanes<T>)
        store<T>((load<T>(x + at) + load<T>(work + at)) * broadcast<T>(T(0.5)), x + at);
}

// The symmetric x whose row i, up to the diagonal, is `factor` times the beginning of p[:, i]. work: padded.
template <class Size, class T>
NEURALINV_INLINE void symmetric_from_rows(Size size, const T* p, T factor, T* x, T* work) {
    transpose(size, p, work);
    Vector<T> lane;
    for (int l = 0; l < lanes<T>; ++l) lane[l] = T(l);
    for (int i = 0; i < size.n(); ++i)
        for (int row = 0; row < size.stride(); row += lanes<T>) {
            const int at = i * size.stride() + row;
            const Mask<T> below = Mask<T>(lane > broadcast<T>(T(i - row)));
            store<T>((below ? load<T>(work + at) : load<T>(p + at)) * broadcast<T>(factor), x + at);
        }
}

template <class Size, class T>
NEURALINV_INLINE void reciprocals(Size size, const T* l, T* reciprocal) {
    for (int j = 0; j < size.n(); ++j) reciprocal[j] = T(1) / l[j * size.n() + j];
}

}  // namespace neuralinv::NEURALINV_TARGET
