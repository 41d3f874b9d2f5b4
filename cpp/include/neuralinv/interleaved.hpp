// Small matrices that lie one after another without gaps: whole vectors of them from memory into lanes and back, entry e of
// every matrix in a[e]. Which lane a matrix gets is left open, so that little has to move.
//
// Where a matrix fills a piece of 16 bytes, transposition of the pieces is all. Else let E be the number of entries of a
// matrix, odd, and W that of lanes. What lies at position p = W w + ℓ of memory, in
// lane ℓ of vector w, is entry e = p mod E of its matrix. Since W is a power of two and E is odd, w ↦ u = W w mod E
// renumbers the vectors, and then
//     entry e in lane ℓ comes from lane ℓ of vector u = (e − ℓ) mod E:
// each lane rotates the vectors by ℓ mod E, which takes a blend of every vector for each binary digit of ℓ mod E, and no
// entry leaves its lane. Matrix b is then in lane (E b + e) mod W, and a[e], rotated by e lanes, has it in lane E b mod W.
#pragma once

#include <utility>

#include "simd.hpp"

namespace neuralinv::NEURALINV_TARGET {

// x[ℓ], or y[ℓ] in lanes for which ℓ mod entries has the binary digit `digit`.
template <class T, int entries, int digit, int... lane>
NEURALINV_INLINE Vector<T> blend_lanes(Vector<T> x, Vector<T> y, std::integer_sequence<int, lane...>) {
    return __builtin_shufflevector(x, y, ((lane % entries & digit) ? lanes<T> + lane : lane)...);
}

// x[ℓ + by mod W] in lane ℓ.
template <class T, int by, int... lane>
NEURALINV_INLINE Vector<T> rotate_lanes(Vector<T> x, std::integer_sequence<int, lane...>) {
    return __builtin_shufflevector(x, x, ((lane + by) % lanes<T>)...);
}

// x_e ← x_{(e − r) mod entries} in every lane ℓ, r = ℓ mod entries; the other way round with way −1.
template <class T, int entries, int way, int digit = 1>
NEURALINV_INLINE void rotate_vectors(Vector<T>* x) {
    if constexpr (digit < entries && digit < lanes<T>) {
        Vector<T> y[entries];
        static_for<0, entries>([&](auto e_) NEURALINV_LAMBDA {
            constexpr int e = decltype(e_)::value, from = ((e - way * digit) % entries + entries) % entries;
            y[e] = blend_lanes<T, entries, digit>(x[e], x[from], std::make_integer_sequence<int, lanes<T>>{});
        });
        static_for<0, entries>([&](auto e) NEURALINV_LAMBDA { x[decltype(e)::value] = y[decltype(e)::value]; });
        rotate_vectors<T, entries, way, 2 * digit>(x);
    }
}

// A matrix fills a piece of 16 bytes: a[w], w-th whole vector of memory, becomes entry w, or the other way round.
template <class T>
NEURALINV_INLINE void turn_pieces(Vector<T>* a) {
    Vector<T> v[piece<T>];
    static_for<0, piece<T>>([&](auto w) NEURALINV_LAMBDA { v[decltype(w)::value] = a[decltype(w)::value]; });
    transpose_pieces(v);
    static_for<0, piece<T>>([&](auto e) NEURALINV_LAMBDA { a[decltype(e)::value] = v[decltype(e)::value]; });
}

// source: (lanes, entries).
template <class T, int entries>
NEURALINV_INLINE void load_interleaved(const T* source, Vector<T>* a) {
    constexpr bool pieces = entries == piece<T>;
    static_assert(pieces || entries % 2 == 1);
    static_for<0, entries>([&](auto w_) NEURALINV_LAMBDA {
        constexpr int w = decltype(w_)::value;
        a[pieces ? w : lanes<T> * w % entries] = load_vector(source + w * lanes<T>);
    });
    if constexpr (pieces) {
        turn_pieces<T>(a);
    } else {
        rotate_vectors<T, entries, 1>(a);
        static_for<0, entries>([&](auto e_) NEURALINV_LAMBDA {
            constexpr int e = decltype(e_)::value;
            a[e] = rotate_lanes<T, e % lanes<T>>(a[e], std::make_integer_sequence<int, lanes<T>>{});
        });
    }
}

// target: (lanes, entries). `a` is spoilt.
template <class T, int entries>
NEURALINV_INLINE void store_interleaved(Vector<T>* a, T* target) {
    constexpr bool pieces = entries == piece<T>;
    if constexpr (pieces) {
        turn_pieces<T>(a);
    } else {
        static_for<0, entries>([&](auto e_) NEURALINV_LAMBDA {
            constexpr int e = decltype(e_)::value;
            a[e] = rotate_lanes<T, (lanes<T> - e % lanes<T>) % lanes<T>>(a[e], std::make_integer_sequence<int, lanes<T>>{});
        });
        rotate_vectors<T, entries, -1>(a);
    }
    static_for<0, entries>([&](auto w_) NEURALINV_LAMBDA {
        constexpr int w = decltype(w_)::value;
        store_vector(a[pieces ? w : lanes<T> * w % entries], target + w * lanes<T>);
    });
}

// Which lane matrix b has, counted from the first of a tile.
template <class T, int entries>
constexpr int lane_of(int b) {
    constexpr int pieces = lanes<T> / piece<T>;
    return entries == piece<T> ? b % pieces * piece<T> + b / pieces : entries * b % lanes<T>;
}

template <class T, int entries, int first, int... i>
NEURALINV_INLINE Vector<double> by_matrix(Vector<double> low, Vector<double> high, std::integer_sequence<int, i...>) {
    return __builtin_shufflevector(low, high, lane_of<T, entries>(first + i)...);
}

// A number for each lane, `lanes<T>` of them, in the order of the matrices instead.
template <class T, int entries>
NEURALINV_INLINE void order_by_matrix(double* x) {
    constexpr int count = lanes<double>;
    const auto order = std::make_integer_sequence<int, count>{};
    const Vector<double> low = load_vector(x), high = load_vector(x + lanes<T> - count);
    store_vector(by_matrix<T, entries, 0>(low, high, order), x);
    if constexpr (lanes<T> > count) store_vector(by_matrix<T, entries, count>(low, high, order), x + count);
}

}  // namespace neuralinv::NEURALINV_TARGET
