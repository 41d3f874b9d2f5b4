// Products of matrices whose inner dimension n is at most largest_product: tiles of the result stay in registers.
//
// The right factor is laid out in panels of `panel_columns` columns, padded with zeros, so that a tile reads it from the
// first byte to the last. A few rows of the left one are copied to memory of a fixed pitch: the distances between them
// are then constants, and converting them to the precision of the product costs nothing more. Both precisions have
// panels of the same width, so that a residual computed in doubles is laid out as a right factor of floats.
//
// Here are tiles; planes.hpp makes products of them, of complex matrices, too.
#pragma once

#include <cstddef>
#include <utility>

#include "complex.hpp"
#include "simd.hpp"

namespace neuralinv::NEURALINV_TARGET {

inline constexpr int largest_product = 1024;

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

inline std::int64_t panels(std::int64_t columns) { return (columns + panel_columns - 1) / panel_columns; }

// Entries in the panels of an n×n right factor of real numbers.
inline std::int64_t panel_entries(std::int64_t n) { return panels(n) * n * panel_columns; }

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
NEURALINV_INLINE Half<T> narrowed(Vector<double> entries) {
    return __builtin_convertvector(entries, Half<T>);
}

NEURALINV_INLINE double sum_of_lanes(Vector<double> x) {
    double sum = 0;
    for (int lane = 0; lane < lanes<double>; ++lane) sum += x[lane];
    return sum;
}

// body(i, value) for a row's entries source[i..], as many as a V has; beyond the row there are zeros.
template <class V, class T, class Body>
NEURALINV_INLINE void for_each_vector(const T* source, int n, const Body& body) {
    constexpr int each = int(sizeof(V) / sizeof(T));
    int i = 0;
    V value;
    for (; i + each <= n; i += each) {
        __builtin_memcpy(&value, source + i, sizeof value);
        body(i, value);
    }
    if (i == n) return;
    T rest[each] = {};
    for (int k = 0; i + k < n; ++k) rest[k] = source[i + k];
    __builtin_memcpy(&value, rest, sizeof value);
    body(i, value);
}

// The real parts (odd: the imaginary ones) of complex numbers, of which a holds the first half and b the second.
template <int odd, class V, int... lane>
NEURALINV_INLINE V parts_in(V a, V b, std::integer_sequence<int, lane...>) {
    return __builtin_shufflevector(a, b, (2 * lane + odd)...);
}

// body(i, re, im) for the parts of a row's complex entries i.., as many as a V has; beyond the row there are zeros.
template <class V, class T, class Body>
NEURALINV_INLINE void for_each_pair(const T* source, int n, const Body& body) {
    constexpr int each = int(sizeof(V) / sizeof(T));
    const auto visit = [&](int i, const T* from) NEURALINV_LAMBDA {
        const auto order = std::make_integer_sequence<int, each>{};
        V a, b;
        __builtin_memcpy(&a, from, sizeof a);
        __builtin_memcpy(&b, from + each, sizeof b);
        body(i, parts_in<0>(a, b, order), parts_in<1>(a, b, order));
    };
    int i = 0;
    for (; i + each <= n; i += each) visit(i, source + 2 * i);
    if (i == n) return;
    T rest[2 * each] = {};
    for (int k = 0; k < 2 * (n - i); ++k) rest[k] = source[2 * i + k];
    visit(i, rest);
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

// Products in one sum; such sums are added up. Rounding errors of one long sum would grow with n.
inline constexpr int summed_at_once = 64;

// Roundings that a product of two numbers goes through in the sum of n of them.
NEURALINV_INLINE int roundings(int n) {
    return n <= summed_at_once ? n : summed_at_once + (n - 1) / summed_at_once;
}

// tile = left · panel, (rows, panel_columns), of which `vectors` vectors in each row are written; `at_once` products in one
// sum.
template <class T, int rows, int vectors>
void multiply_tile(const T* left, const T* panel, int n, T* tile, Lines ahead, int at_once) {
    for (int begin = 0; begin < n; begin += at_once) {
        const int end = n - begin < at_once ? n : begin + at_once;
        Vector<T> sum[rows][vectors] = {};
        for (int k = begin; k < end; ++k) {
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
                T* const target = tile + i * panel_columns + v * lanes<T>;
                store_vector(begin == 0 ? sum[i][v] : load_vector(target) + sum[i][v], target);
            });
        });
    }
}

template <class T>
using MultiplyTile = void (*)(const T* left, const T* panel, int n, T* tile, Lines ahead, int at_once);

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
template <class T, int rows = tile_rows<T>>
struct ProductMemory {
    alignas(64) T left[rows * left_pitch<T>];
    alignas(64) T tile[rows * panel_columns];
};

// The next `size` bytes of scratch memory, in whole cache lines, behind the first `bytes`. memory: null to learn how much that
// takes.
template <class Item>
void take_piece(std::byte* memory, std::int64_t& bytes, Item*& pointer, std::int64_t size) {
    pointer = memory == nullptr ? nullptr : reinterpret_cast<Item*>(memory + bytes);
    bytes += (size + 63) / 64 * 64;
}

}  // namespace neuralinv::NEURALINV_TARGET
