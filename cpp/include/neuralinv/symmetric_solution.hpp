// Solutions of positive definite systems from A = L D Lᵀ, symmetric_pivots.hpp, for few right-hand sides.
//
// L lies in columns. L y = b takes four columns of it at a time from what is below them, Lᵀ x = D⁻¹ y sums over the same four.
#pragma once

#include "reduce.hpp"
#include "right_sides.hpp"
#include "symmetric_pivots.hpp"

namespace neuralinv::NEURALINV_TARGET {

// Right-hand sides at once.
inline constexpr int sides_together = 4;

// Four columns of L, from step k on.
template <class T>
struct FourColumns {
    const T* entries[steps_together];
    int k, whole;  // rows k + 4.. before vector `whole` share one with the four steps

    NEURALINV_INLINE FourColumns(const Symmetric<T>& a, int height, int first) : k(first), whole((first + steps_together - 1) / lanes<T> + 1) {
        for (int s = 0; s < steps_together; ++s)
            entries[s] = reinterpret_cast<const T*>(a.columns + std::int64_t(k + s) * height);
    }

    NEURALINV_INLINE Vector<T> vector(int s, int v) const { return load_vector(entries[s] + v * lanes<T>); }
};

// b: (width, height) vectors, the right-hand sides with zeros behind them, become the solutions.
template <int width, class T>
NEURALINV_INLINE void substitute(const Symmetric<T>& a, int n, int height, T* b) {
    const int length = height * lanes<T>, end = (n + steps_together - 1) / steps_together * steps_together;
    for (int k = 0; k < end; k += steps_together) {
        const FourColumns<T> L(a, height, k);
        T t[width][steps_together];
        for (int c = 0; c < width; ++c)
            for (int s = 0; s < steps_together; ++s) {
                T sum = b[c * length + k + s];
                for (int q = 0; q < s; ++q) sum -= L.entries[q][k + s] * t[c][q];
                t[c][s] = b[c * length + k + s] = sum;
            }
        for (int i = k + steps_together; i < L.whole * lanes<T>; ++i)
            for (int c = 0; c < width; ++c)
                for (int s = 0; s < steps_together; ++s) b[c * length + i] -= L.entries[s][i] * t[c][s];
        for (int v = L.whole; v < height; ++v)
            static_for<0, width>([&](auto c_) NEURALINV_LAMBDA {
                constexpr int c = decltype(c_)::value;
                T* const at = b + c * length + v * lanes<T>;
                Vector<T> sum = load_vector(at);
                static_for<0, steps_together>([&](auto s) NEURALINV_LAMBDA { sum -= L.vector(decltype(s)::value, v) * broadcast(t[c][decltype(s)::value]); });
                store_vector(sum, at);
            });
    }
    for (int k = end - steps_together; k >= 0; k -= steps_together) {
        const FourColumns<T> L(a, height, k);
        Vector<T> sums[width][steps_together] = {};
        for (int v = L.whole; v < height; ++v)
            static_for<0, width>([&](auto c_) NEURALINV_LAMBDA {
                constexpr int c = decltype(c_)::value;
                const Vector<T> x = load_vector(b + c * length + v * lanes<T>);
                static_for<0, steps_together>([&](auto s) NEURALINV_LAMBDA { sums[c][decltype(s)::value] += L.vector(decltype(s)::value, v) * x; });
            });
        for (int c = 0; c < width; ++c)
            for (int s = steps_together - 1; s >= 0; --s) {
                T x = b[c * length + k + s] / a.pivots[k + s];
                for (int lane = 0; lane < lanes<T>; ++lane) x -= sums[c][s][lane];
                for (int i = k + s + 1; i < L.whole * lanes<T>; ++i) x -= L.entries[s][i] * b[c * length + i];
                b[c * length + k + s] = x;
            }
    }
}

// Right-hand sides column..column+width-1 of system b. sides: (width, height), overwritten; X: (n, B.columns).
template <int width, class T>
NEURALINV_INLINE void solve_sides(const Symmetric<T>& a, int n, int height, const RightSides<T>& B, std::int64_t b, std::int64_t column, Vector<T>* vectors, T* X) {
    T* const sides = reinterpret_cast<T*>(vectors);
    const int length = height * lanes<T>;
    for (int c = 0; c < width; ++c) {
        const T* const from = B.data + b * B.batch_stride + (column + c) * B.column_stride;
        for (int i = 0; i < n; ++i) sides[c * length + i] = from[i * B.row_stride];
        for (int i = n; i < length; ++i) sides[c * length + i] = 0;
    }
    substitute<width>(a, n, height, sides);
    for (int i = 0; i < n; ++i)
        for (int c = 0; c < width; ++c) X[i * B.columns + column + c] = sides[c * length + i];
}

// All right-hand sides of system b, or those of `part`. vectors: (sides_together, height), overwritten; X: (n, B.columns).
template <class T>
NEURALINV_INLINE void solve_all_sides(const Symmetric<T>& a, int n, int height, const RightSides<T>& B, std::int64_t b, Vector<T>* vectors, T* X, Part part = {}) {
    const int end = part.end(int(B.columns));
    int column = part.begin(int(B.columns));
    for (; column + sides_together <= end; column += sides_together) solve_sides<sides_together>(a, n, height, B, b, column, vectors, X);
    for (; column < end; ++column) solve_sides<1>(a, n, height, B, b, column, vectors, X);
}

// Solve systems [begin, end), n ≥ 8, of positive definite matrices, of which only lower triangles have an effect. X: (count, n,
// B.columns); info as for solve_columns, which takes what has an extreme pivot.
template <class T>
FirstFailure solve_symmetric(const MatrixBatch<T>& A, const RightSides<T>& B, std::int64_t begin, std::int64_t end, T* X, Status* info) {
    return for_each_factored<true>(
        A, begin, end, info,
        // Y is needed no more.
        [&](std::int64_t b, const Symmetric<T>& a, int height) { solve_all_sides(a, int(A.n), height, B, b, a.y, X + b * A.n * B.columns); },
        [&](std::int64_t b) { return solve_columns(A, B, Structure::positive, b, b + 1, X, nullptr).status; });
}

}  // namespace neuralinv::NEURALINV_TARGET
