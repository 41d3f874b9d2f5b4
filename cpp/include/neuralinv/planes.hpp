// An n×n matrix times another of n rows, complex ones by three real products instead of four: with A = Aᵣ + iAᵢ and
// B = Bᵣ + iBᵢ,
//
//     Re AB = AᵣBᵣ − AᵢBᵢ,    Im AB = (Aᵣ + Aᵢ)(Bᵣ + Bᵢ) − AᵣBᵣ − AᵢBᵢ
//
// (Higham, Stability of a method for multiplying complex matrices with three real matrix multiplications, SIAM J. Matrix
// Anal. Appl. 13, 1992). Both factors lie in three planes of real numbers, the sum of the parts last. Real matrices are one
// plane.
#pragma once

#include "product.hpp"

namespace neuralinv::NEURALINV_TARGET {

template <class S>
inline constexpr int plane_count = part_count<S> == 2 ? 3 : 1;

// What a product of matrices of S works in, in precision T. The planes of its rows lie tile_rows<T> rows apart.
template <class S, class T>
using PlanesMemory = ProductMemory<T, plane_count<S> * tile_rows<T>>;

// An entry, or as many as a vector has, into its plane; into three planes from its two parts.
template <class V, class T>
NEURALINV_INLINE void store_entry(T* target, std::int64_t, V entry) {
    __builtin_memcpy(target, &entry, sizeof entry);
}

template <class V, class T>
NEURALINV_INLINE void store_entry(T* target, std::int64_t plane, V re, V im) {
    store_entry(target, plane, re);
    store_entry(target + plane, plane, im);
    store_entry(target + 2 * plane, plane, re + im);
}

// A row of S as the planes of row r of a left factor.
template <class S, class T = RealOf<S>>
NEURALINV_INLINE void fill_row(const T* source, int n, int r, T* left) {
    T* const target = left + r * left_pitch<T>;
    if constexpr (part_count<S> == 1)
        copy_row(source, n, target);
    else
        for_each_pair<Vector<T>>(source, n, [&](int i, Vector<T> re, Vector<T> im) NEURALINV_LAMBDA {
            store_entry(target + i, tile_rows<T> * left_pitch<T>, re, im);
        });
}

// Half a vector of numbers, from a half of their parts each.
template <int half, class V, int... lane>
NEURALINV_INLINE V paired(V re, V im, std::integer_sequence<int, lane...>) {
    constexpr int count = int(sizeof...(lane));
    return __builtin_shufflevector(re, im, (half * count / 2 + lane / 2 + lane % 2 * count)...);
}

// Parts side by side, as they lie in memory. T is the type of an entry.
template <class T, class V>
NEURALINV_INLINE void store_pairs(V re, V im, T* target) {
    constexpr int count = int(sizeof(V) / sizeof(T));
    const auto order = std::make_integer_sequence<int, count>{};
    const V first = paired<0>(re, im, order), second = paired<1>(re, im, order);
    __builtin_memcpy(target, &first, sizeof first);
    __builtin_memcpy(target + count, &second, sizeof second);
}

// The real and the imaginary part of a tile, from its three products.
template <class T>
NEURALINV_INLINE void join_planes(int rows, int vectors, T* tile) {
    constexpr int apart = tile_rows<T> * panel_columns;
    for (int r = 0; r < rows; ++r)
        for (int v = 0; v < vectors; ++v) {
            T* const at = tile + r * panel_columns + v * lanes<T>;
            const Vector<T> re = load_vector(at), im = load_vector(at + apart), both = load_vector(at + 2 * apart);
            store_vector(re - im, at);
            store_vector(both - re - im, at + apart);
        }
}

// The sum of the squares of a tile's entries.
template <class S, class T>
NEURALINV_INLINE double square_of_tile(int rows, int columns, const T* tile) {
    constexpr int apart = tile_rows<T> * panel_columns;
    Vector<T> squares = {};
    for (int part = 0; part < part_count<S>; ++part)
        for (int r = 0; r < rows; ++r)
            for (int c = 0; c < columns; c += lanes<T>) {  // beyond the matrix there are zeros
                const Vector<T> entries = load_vector(tile + part * apart + r * panel_columns + c);
                squares += entries * entries;
            }
    double sum = 0;
    for (int lane = 0; lane < lanes<T>; ++lane) sum += double(squares[lane]);
    return sum;
}

// left · right for matrices of S, (n, n) and (n, width), a tile at a time, the right one in panels, plane after plane:
// fill(i, rows, first) puts the planes of rows i.. of the left factor into memory.left (first: for the first time), and
// finish(i, rows, j, columns, tile) gets the tile at row i and column j, and may write to it; imaginary parts lie tile_rows<T>
// rows behind the real ones. upper: without the panels that end before the diagonal.
template <class S, bool upper = false, class T, class Ahead, class Fill, class Finish>
NEURALINV_INLINE void multiply(int n, int width, const T* right, PlanesMemory<S, T>& memory, Ahead& ahead, const Fill& fill, const Finish& finish) {
    constexpr int rows_at_once = tile_rows<T>, planes = plane_count<S>, apart = rows_at_once * panel_columns;
    const std::int64_t panel = std::int64_t(n) * panel_columns, plane = panels(width) * panel;
    const int count = int(panels(width));
    const std::int64_t held = panels_in_cache / (planes * panel * std::int64_t(sizeof(T)));
    const int group = held < 1 ? 1 : held < count ? int(held) : count;
    for (int begin = 0; begin < count; begin += group) {
        const int end = begin + group < count ? begin + group : count;
        for (int i = 0; i < n; i += rows_at_once) {
            const int rows = n - i < rows_at_once ? n - i : rows_at_once;
            fill(i, rows, begin == 0);
            const int diagonal = upper ? i / panel_columns : 0;
            for (int p = diagonal < begin ? begin : diagonal; p < end; ++p) {
                const int j = p * panel_columns, columns = width - j < panel_columns ? width - j : panel_columns;
                const int vectors = (columns + lanes<T> - 1) / lanes<T>;
                for (int q = 0; q < planes; ++q)
                    tile_kernels<T>.of[rows - 1][vectors - 1](memory.left + q * rows_at_once * left_pitch<T>, right + q * plane + p * panel, n,
                                                              memory.tile + q * apart, ahead.take(n), summed_at_once);
                if constexpr (planes == 3) join_planes(rows, vectors, memory.tile);
                finish(i, rows, j, columns, memory.tile);
            }
        }
    }
}

}  // namespace neuralinv::NEURALINV_TARGET
