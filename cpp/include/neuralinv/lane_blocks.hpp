// Small dense blocks with a sequence in each SIMD lane: what the block-tridiagonal kernels for batches are made of.
//
// A block (n, n) is n·n vectors; vector (i, j) holds entry (i, j) of the block of every sequence. Nothing here depends on n
// being known to the compiler: what is unrolled are tiles of a product that fit the registers.
#pragma once

#include "simd.hpp"

namespace neuralinv::NEURALINV_TARGET::in_lanes {

// A view of vectors: entry (i, j) is data[i·row + j·column]. Strides may be negative.
template <class V>
struct View {
    V* data;
    std::int64_t row, column;

    NEURALINV_INLINE V& operator()(std::int64_t i, std::int64_t j) const { return data[i * row + j * column]; }
    NEURALINV_INLINE View from(int i, int j) const { return {&(*this)(i, j), row, column}; }
    NEURALINV_INLINE View transposed() const { return {data, column, row}; }
    // The rows and columns of an (n, n) view from the last to the first, transposed: (i, j) is (n − 1 − j, n − 1 − i) here.
    // An upper triangle becomes a lower one, a lower one stays what it is.
    NEURALINV_INLINE View reversed(int n) const { return {&(*this)(n - 1, n - 1), -column, -row}; }
    NEURALINV_INLINE View rows_reversed(int n) const { return {&(*this)(n - 1, 0), -row, column}; }
    NEURALINV_INLINE View columns_reversed(int n) const { return {&(*this)(0, n - 1), row, -column}; }
};

template <class T>
NEURALINV_INLINE View<Vector<T>> square(Vector<T>* data, int n) {
    return {data, n, 1};
}

// Tiles of products: as many sums as leave registers for their factors.
#if NEURALINV_VECTOR_BYTES == 64 || defined(__aarch64__)
inline constexpr int tile_rows = 4, tile_columns = 4;
#else
inline constexpr int tile_rows = 4, tile_columns = 2;
#endif
// Columns that triangular recursions work on at once.
inline constexpr int panel_columns = 4;

// Rows [i, i_end) and columns [j, j_end) of a matrix, and terms [k, k_end) of sums.
struct Range {
    int begin, end;
};

template <int sign, int rows, int columns, class V>
NEURALINV_INLINE void add_tile(View<V> x, View<V> a, View<V> b, int i, int j, Range k) {
    V sum[rows][columns];
    static_for<0, rows * columns>([&](auto e_) NEURALINV_LAMBDA {
        constexpr int r = decltype(e_)::value / columns, c = decltype(e_)::value % columns;
        sum[r][c] = x(i + r, j + c);
    });
    const V* left = &a(i, k.begin);
    const V* right = &b(k.begin, j);
    for (int step = k.begin; step < k.end; ++step, left += a.column, right += b.row) {
        V factor[rows];
        static_for<0, rows>([&](auto r) NEURALINV_LAMBDA { factor[decltype(r)::value] = left[decltype(r)::value * a.row]; });
        static_for<0, columns>([&](auto c_) NEURALINV_LAMBDA {
            constexpr int c = decltype(c_)::value;
            const V other = right[c * b.column];
            static_for<0, rows>([&](auto r_) NEURALINV_LAMBDA {
                constexpr int r = decltype(r_)::value;
                if constexpr (sign > 0)
                    sum[r][c] = sum[r][c] + factor[r] * other;
                else
                    sum[r][c] = sum[r][c] - factor[r] * other;
            });
        });
    }
    static_for<0, rows * columns>([&](auto e_) NEURALINV_LAMBDA {
        constexpr int r = decltype(e_)::value / columns, c = decltype(e_)::value % columns;
        x(i + r, j + c) = sum[r][c];
    });
}

template <int sign, int rows, int columns, class V>
NEURALINV_INLINE int add_tiles_across(View<V> x, View<V> a, View<V> b, int i, int j, int end, Range k) {
    for (; j + columns <= end; j += columns) add_tile<sign, rows, columns>(x, a, b, i, j, k);
    if constexpr (columns > 1) return add_tiles_across<sign, rows, columns / 2>(x, a, b, i, j, end, k);
    return j;
}

template <int sign, int rows, class V>
NEURALINV_INLINE int add_tiles(View<V> x, View<V> a, View<V> b, int i, int end, Range columns, Range k) {
    for (; i + rows <= end; i += rows)
        add_tiles_across<sign, rows, tile_columns>(x, a, b, i, columns.begin, columns.end, k);
    if constexpr (rows > 1) return add_tiles<sign, rows / 2>(x, a, b, i, end, columns, k);
    return i;
}

// x ± = a b: x(i, j) ± = Σ_k a(i, k) b(k, j) for the given rows, columns and k.
template <int sign, class V>
__attribute__((noinline)) void add_product(View<V> x, View<V> a, View<V> b, Range rows, Range columns, Range k) {
    if (k.begin < k.end) add_tiles<sign, tile_rows>(x, a, b, rows.begin, rows.end, columns, k);
}

template <int sign, class V>
NEURALINV_INLINE void add_product(View<V> x, View<V> a, View<V> b, int n) {
    add_product<sign>(x, a, b, {0, n}, {0, n}, {0, n});
}

// The same solve as below for `width` columns, in registers: x (rows, width), l (width, width).
template <int width, class V>
NEURALINV_INLINE void solve_panel(View<V> x, View<V> l, View<V> reciprocal, int rows) {
    V corner[width][width], scale[width];
    static_for<0, width * width>([&](auto e_) NEURALINV_LAMBDA {
        constexpr int k = decltype(e_)::value / width, j = decltype(e_)::value % width;
        if constexpr (k > j) corner[k][j] = l(k, j);
        if constexpr (k == j) scale[k] = reciprocal(k, 0);
    });
    for (int i = 0; i < rows; ++i) {
        V row[width];
        static_for<0, width>([&](auto j) NEURALINV_LAMBDA { row[decltype(j)::value] = x(i, decltype(j)::value); });
        static_for<0, width>([&](auto step) NEURALINV_LAMBDA {
            constexpr int k = width - 1 - decltype(step)::value;
            row[k] = row[k] * scale[k];
            static_for<0, k>([&](auto j_) NEURALINV_LAMBDA {
                constexpr int j = decltype(j_)::value;
                row[j] = row[j] - row[k] * corner[k][j];
            });
            x(i, k) = row[k];
        });
    }
}

template <class V>
__attribute__((noinline)) void solve_panel(View<V> x, View<V> l, View<V> reciprocal, int rows, int width) {
    static_assert(panel_columns == 4);
    if (width == 4) return solve_panel<4>(x, l, reciprocal, rows);
    if (width == 3) return solve_panel<3>(x, l, reciprocal, rows);
    if (width == 2) return solve_panel<2>(x, l, reciprocal, rows);
    return solve_panel<1>(x, l, reciprocal, rows);
}

// x ← x l⁻¹ for a lower triangular l (n, n) with the reciprocals of its diagonal; x (rows, n). From the last columns:
//     x(:, j) ← (x(:, j) − Σ_{k > j} x(:, k) l(k, j)) / l(j, j).
// symmetric: x is (n, n), and rows up to its diagonal suffice.
template <class V>
__attribute__((noinline)) void solve_from_right(View<V> x, View<V> l, View<V> reciprocal, int rows, int n,
                                                bool symmetric = false) {
    for (int end = n; end > 0; end -= panel_columns) {
        const int begin = end > panel_columns ? end - panel_columns : 0;
        const int count = symmetric ? end : rows;
        add_product<-1>(x, x, l, {0, count}, {begin, end}, {end, n});
        solve_panel(x.from(0, begin), l.from(begin, begin), reciprocal.from(begin, 0), count, end - begin);
    }
}

// x ← x l⁻ᵀ: the same with the order of the columns reversed.
template <class V>
NEURALINV_INLINE void solve_transpose_from_right(View<V> x, View<V> l, View<V> reciprocal, int rows, int n) {
    solve_from_right(x.columns_reversed(n), l.reversed(n), reciprocal.rows_reversed(n), rows, n);
}

// The symmetric x ← l⁻ᵀ x l⁻¹.
template <class V>
NEURALINV_INLINE void solve_from_both_sides(View<V> x, View<V> l, View<V> reciprocal, int n) {
    solve_from_right(x, l, reciprocal, n, n);
    solve_from_right(x.transposed(), l, reciprocal, n, n, true);
    for (int i = 0; i < n; ++i)
        for (int j = 0; j < i; ++j) x(j, i) = x(i, j);
}

// k = l⁻¹, with zeros above the diagonal.
template <class V>
__attribute__((noinline)) void invert_triangle(View<V> l, View<V> reciprocal, View<V> k, int n) {
    for (int i = 0; i < n; ++i)
        for (int j = 0; j < n; ++j) k(i, j) = i == j ? V{} + 1 : V{};
    for (int end = n; end > 0; end -= panel_columns) {
        const int begin = end > panel_columns ? end - panel_columns : 0;
        add_product<-1>(k, k, l, {end, n}, {begin, end}, {end, n});
        solve_panel(k.from(begin, begin), l.from(begin, begin), reciprocal.from(begin, 0), n - begin, end - begin);
    }
}

template <class V>
NEURALINV_INLINE void fill(View<V> x, int n, V value) {
    for (int i = 0; i < n; ++i)
        for (int j = 0; j < n; ++j) x(i, j) = value;
}

template <class V>
NEURALINV_INLINE void clear_above_diagonal(View<V> x, int n) {
    for (int i = 0; i < n; ++i)
        for (int j = i + 1; j < n; ++j) x(i, j) = V{};
}

template <class V>
NEURALINV_INLINE void symmetrise(View<V> x, int n) {
    const V half = V{} + 0.5f;
    for (int i = 0; i < n; ++i)
        for (int j = 0; j < i; ++j) x(i, j) = x(j, i) = (x(i, j) + x(j, i)) * half;
}

NEURALINV_INLINE Vector<float> square_roots(Vector<float> x) {
#if NEURALINV_VECTOR_BYTES == 64
    return Vector<float>(_mm512_sqrt_ps(__m512(x)));
#elif NEURALINV_VECTOR_BYTES == 32
    return Vector<float>(_mm256_sqrt_ps(__m256(x)));
#elif defined(__x86_64__)
    return Vector<float>(_mm_sqrt_ps(__m128(x)));
#else
    for (int l = 0; l < lanes<float>; ++l) x[l] = __builtin_sqrtf(x[l]);
    return x;
#endif
}

NEURALINV_INLINE Vector<double> square_roots(Vector<double> x) {
#if NEURALINV_VECTOR_BYTES == 64
    return Vector<double>(_mm512_sqrt_pd(__m512d(x)));
#elif NEURALINV_VECTOR_BYTES == 32
    return Vector<double>(_mm256_sqrt_pd(__m256d(x)));
#elif defined(__x86_64__)
    return Vector<double>(_mm_sqrt_pd(__m128d(x)));
#else
    for (int l = 0; l < lanes<double>; ++l) x[l] = __builtin_sqrt(x[l]);
    return x;
#endif
}

// ---- between the caller's memory and lanes ---------------------------------------------------------------------------

// `count` ≤ lanes sequences whose entries lie `stride` apart; lanes without one repeat the last. buffer: `room` entries for
// every lane.
template <class T>
struct Tile {
    static constexpr int line = 64 / int(sizeof(T));

    int count;
    T* buffer;
    std::int64_t room;

    // `entries` consecutive entries of every sequence, from `source` on for the first one. So many streams are more than the
    // hardware foresees: it is told of what lies `ahead` entries further, the block of the next step.
    void load(const T* source, std::int64_t stride, std::int64_t entries, Vector<T>* target, std::int64_t ahead) const {
        if (count == lanes<T>) return load_all(source, stride, entries, target, ahead);
        for (std::int64_t at = 0; at < entries; at += room) {
            const std::int64_t part = entries - at < room ? entries - at : room;
            for (int lane = 0; lane < lanes<T>; ++lane) {
                const T* const from = source + (lane < count ? lane : count - 1) * stride + at;
                for (std::int64_t e = 0; e < part; ++e) buffer[lane * part + e] = from[e];
            }
            load_all(buffer, part, part, target + at, 0);
        }
    }

    void store(const Vector<T>* source, std::int64_t entries, T* target, std::int64_t stride) const {
        if (count == lanes<T>) return store_all(source, entries, target, stride);
        for (std::int64_t at = 0; at < entries; at += room) {
            const std::int64_t part = entries - at < room ? entries - at : room;
            store_all(source + at, part, buffer, part);
            for (int lane = 0; lane < count; ++lane)
                for (std::int64_t e = 0; e < part; ++e) target[lane * stride + at + e] = buffer[lane * part + e];
        }
    }

   private:
    __attribute__((noinline)) static void load_all(const T* source, std::int64_t stride, std::int64_t entries,
                                                   Vector<T>* target, std::int64_t ahead) {
        std::int64_t e = 0;
        for (; e + piece<T> <= entries; e += piece<T>) {
            if (e % line == 0)
                for (int lane = 0; lane < lanes<T>; ++lane) __builtin_prefetch(source + lane * stride + e + ahead);
            load_chunk<T>(source + e, stride, target + e);
        }
        if (e < entries && entries >= piece<T>) {  // the last ones come twice
            e = entries - piece<T>;
            load_chunk<T>(source + e, stride, target + e);
        } else {
            for (; e < entries; ++e) {
                Vector<T> v;
                for (int lane = 0; lane < lanes<T>; ++lane) v[lane] = source[lane * stride + e];
                target[e] = v;
            }
        }
    }

    __attribute__((noinline)) static void store_all(const Vector<T>* source, std::int64_t entries, T* target,
                                                    std::int64_t stride) {
        std::int64_t e = 0;
        for (; e + piece<T> <= entries; e += piece<T>) store_chunk<T>(source + e, target + e, stride);
        if (e < entries && entries >= piece<T>) {
            e = entries - piece<T>;
            store_chunk<T>(source + e, target + e, stride);
        } else {
            for (; e < entries; ++e)
                for (int lane = 0; lane < lanes<T>; ++lane) target[lane * stride + e] = source[e][lane];
        }
    }
};

}  // namespace neuralinv::NEURALINV_TARGET::in_lanes
