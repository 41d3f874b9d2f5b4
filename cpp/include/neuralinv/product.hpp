// Products of square matrices, row by row without gaps, n ≤ largest_product: tiles of the result stay in registers.
//
// The right factor is laid out in panels of `panel_columns` columns, padded with zeros, so that a tile reads it from the
// first byte to the last. A few rows of the left one are copied to memory of a fixed pitch: the distances between them
// are then constants, and converting them to the precision of the product costs nothing more. Both precisions have
// panels of the same width, so that a residual computed in doubles is laid out as a right factor of floats.
#pragma once

#include "simd.hpp"

namespace neuralinv::NEURALINV_TARGET {

inline constexpr int largest_product = 512;

inline constexpr int panel_columns = 4 * lanes<double>;

#if NEURALINV_VECTOR_BYTES == 64 || defined(__aarch64__)
inline constexpr int tile_vectors = 24;  // of 32 registers
#else
inline constexpr int tile_vectors = 12;  // of 16
#endif

// A tile is as wide as a panel.
template <class T>
inline constexpr int panel_vectors = panel_columns / lanes<T>;

template <class T>
inline constexpr int tile_rows = tile_vectors / panel_vectors<T>;

// Between rows of the left factor: one cache line more, or all rows would compete for the same lines.
template <class T>
inline constexpr int left_pitch = largest_product + 64 / int(sizeof(T));

// Panels of a right factor that stay in the second-level cache while all rows of the left one pass.
inline constexpr std::int64_t panels_in_cache = std::int64_t(512) << 10;

inline std::int64_t panels(std::int64_t n) { return (n + panel_columns - 1) / panel_columns; }
inline std::int64_t panel_entries(std::int64_t n) { return panels(n) * n * panel_columns; }

template <class T>
NEURALINV_INLINE Vector<T> load_vector(const T* source) {
    Vector<T> value;
    __builtin_memcpy(&value, source, sizeof value);
    return value;
}

template <class T>
NEURALINV_INLINE void store_vector(Vector<T> value, T* target) {
    __builtin_memcpy(target, &value, sizeof value);
}

// As many entries of T as a vector has doubles.
template <class T>
struct HalfOf {
    typedef T type __attribute__((vector_size(lanes<double> * sizeof(T))));
};

template <class T>
using Half = typename HalfOf<T>::type;

template <class T>
NEURALINV_INLINE Vector<double> widened(Half<T> entries) {
    return __builtin_convertvector(entries, Vector<double>);
}

template <class T>
NEURALINV_INLINE void store_narrowed(Vector<double> value, T* target) {
    const Half<T> narrow = __builtin_convertvector(value, Half<T>);
    __builtin_memcpy(target, &narrow, sizeof narrow);
}

NEURALINV_INLINE double sum_of_lanes(Vector<double> x) {
    double sum = 0;
    for (int lane = 0; lane < lanes<double>; ++lane) sum += x[lane];
    return sum;
}

// body(i, value) for a row's entries source[i..], as many as a vector has doubles; beyond the row there are zeros.
template <class T, class Body>
NEURALINV_INLINE void for_each_half(const T* source, int n, const Body& body) {
    int i = 0;
    Half<T> value;
    for (; i + lanes<double> <= n; i += lanes<double>) {
        __builtin_memcpy(&value, source + i, sizeof value);
        body(i, value);
    }
    if (i == n) return;
    T rest[lanes<double>] = {};
    for (int k = 0; i + k < n; ++k) rest[k] = source[i + k];
    __builtin_memcpy(&value, rest, sizeof value);
    body(i, value);
}

template <class T>
NEURALINV_INLINE void copy_row(const T* source, int n, T* target) {
    int i = 0;
    for (; i + lanes<T> <= n; i += lanes<T>) store_vector(load_vector(source + i), target + i);
    for (; i < n; ++i) target[i] = source[i];
}

// Lines of memory to fetch, one in each step of a sum: arithmetic alone keeps the memory idle, and more lines at once than
// the core can wait for would hold it up.
struct Lines {
    const char* at;
    std::int64_t step;  // 0: the same one again and again, for nothing
};

template <class T>
struct NothingAhead {
    const T* near;  // in the cache anyway
    NEURALINV_INLINE Lines take(int) { return {reinterpret_cast<const char*>(near), 0}; }
};

// tile = left · panel, (rows, panel_columns), of which `vectors` vectors in each row are written.
template <class T, int rows, int vectors>
void multiply_tile(const T* left, const T* panel, int n, T* tile, Lines ahead) {
    Vector<T> sum[rows][vectors] = {};
    for (int k = 0; k < n; ++k) {
        Vector<T> right[vectors];
        static_for<0, vectors>([&](auto v_) NEURALINV_LAMBDA {
            constexpr int v = decltype(v_)::value;
            right[v] = load_vector(panel + v * lanes<T>);
        });
        static_for<0, rows>([&](auto i_) NEURALINV_LAMBDA {
            constexpr int i = decltype(i_)::value;
            const Vector<T> entry = broadcast(left[i * left_pitch<T>]);
            static_for<0, vectors>([&](auto v_) NEURALINV_LAMBDA {
                constexpr int v = decltype(v_)::value;
                sum[i][v] += entry * right[v];
            });
        });
        panel += panel_columns;
        ++left;
        __builtin_prefetch(ahead.at, 0, 2);  // into the second level
        ahead.at += ahead.step;
    }
    static_for<0, rows>([&](auto i_) NEURALINV_LAMBDA {
        constexpr int i = decltype(i_)::value;
        static_for<0, vectors>([&](auto v_) NEURALINV_LAMBDA {
            constexpr int v = decltype(v_)::value;
            store_vector(sum[i][v], tile + i * panel_columns + v * lanes<T>);
        });
    });
}

template <class T>
using MultiplyTile = void (*)(const T* left, const T* panel, int n, T* tile, Lines ahead);

template <class T>
struct TileKernels {
    MultiplyTile<T> of[tile_rows<T>][panel_vectors<T>] = {};

    constexpr TileKernels() { add<1, 1>(); }

   private:
    template <int rows, int vectors>
    constexpr void add() {
        of[rows - 1][vectors - 1] = &multiply_tile<T, rows, vectors>;
        if constexpr (vectors < panel_vectors<T>)
            add<rows, vectors + 1>();
        else if constexpr (rows < tile_rows<T>)
            add<rows + 1, 1>();
    }
};

template <class T>
inline constexpr TileKernels<T> tile_kernels{};

// What a product works in.
template <class T>
struct ProductMemory {
    alignas(64) T left[tile_rows<T> * left_pitch<T>];
    alignas(64) T tile[tile_rows<T> * panel_columns];
};

// left · right, a tile at a time: fill(i, rows, first) puts rows i.. of the left factor, `rows` of them, into memory.left
// (first: for the first time), and finish(i, rows, j, columns, tile) gets the tile at row i and column j, and may
// write to it.
template <class T, class Ahead, class Fill, class Finish>
NEURALINV_INLINE void multiply(int n, const T* right, ProductMemory<T>& memory, Ahead& ahead, const Fill& fill,
                               const Finish& finish) {
    const int count = int(panels(n));
    const std::int64_t held = panels_in_cache / (std::int64_t(n) * panel_columns * std::int64_t(sizeof(T)));
    const int group = held < 1 ? 1 : held < count ? int(held) : count;
    for (int begin = 0; begin < count; begin += group) {
        const int end = begin + group < count ? begin + group : count;
        for (int i = 0; i < n; i += tile_rows<T>) {
            const int rows = n - i < tile_rows<T> ? n - i : tile_rows<T>;
            fill(i, rows, begin == 0);
            for (int p = begin; p < end; ++p) {
                const int j = p * panel_columns, columns = n - j < panel_columns ? n - j : panel_columns;
                const int vectors = (columns + lanes<T> - 1) / lanes<T>;
                tile_kernels<T>.of[rows - 1][vectors - 1](memory.left, right + std::int64_t(p) * n * panel_columns, n,
                                                          memory.tile, ahead.take(n));
                finish(i, rows, j, columns, memory.tile);
            }
        }
    }
}

}  // namespace neuralinv::NEURALINV_TARGET
