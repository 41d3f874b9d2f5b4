// Solves with the Cholesky factor F of block_tridiagonal.hpp, one sequence at a time: F x = b and Fᵀ x = b.
#pragma once

#include "block_tridiagonal.hpp"

namespace neuralinv::NEURALINV_TARGET {

// Groups of `piece` rows are what the vectors of a single right-hand side go by.

// The sum of the pieces of 16 bytes that a vector consists of.
template <class T>
NEURALINV_INLINE Piece<T> sum_of_pieces(Vector<T> v) {
#if NEURALINV_VECTOR_BYTES == 16
    return v;
#elif NEURALINV_VECTOR_BYTES == 32
    return Piece<T>(lower(Half256(v))) + Piece<T>(upper(Half256(v)));
#else
    const Half256 a = lower(Half512(v)), b = upper(Half512(v));
    return (Piece<T>(lower(a)) + Piece<T>(upper(a))) + (Piece<T>(lower(b)) + Piece<T>(upper(b)));
#endif
}

// Entry r is the sum of all entries of p[r].
NEURALINV_INLINE Piece<float> sums_of_entries(const Piece<float> (&p)[4]) {
    const Piece<float> a = __builtin_shufflevector(p[0], p[1], 0, 4, 1, 5) + __builtin_shufflevector(p[0], p[1], 2, 6, 3, 7);
    const Piece<float> b = __builtin_shufflevector(p[2], p[3], 0, 4, 1, 5) + __builtin_shufflevector(p[2], p[3], 2, 6, 3, 7);
    return __builtin_shufflevector(a, b, 0, 1, 4, 5) + __builtin_shufflevector(a, b, 2, 3, 6, 7);
}

NEURALINV_INLINE Piece<double> sums_of_entries(const Piece<double> (&p)[2]) {
    return __builtin_shufflevector(p[0], p[1], 0, 2) + __builtin_shufflevector(p[0], p[1], 1, 3);
}

// sum[r] gets Σ_{k < count} rows[r·n + k] x[k] as vectors, pieces and, `rest`, scalars.
template <class T>
struct RowSums {
    Vector<T> wide[piece<T>] = {};
    Piece<T> narrow[piece<T>] = {};
    Piece<T> rest = {};

    NEURALINV_INLINE void add(const T* rows, int n, const T* x, int count) {
        int k = 0;
        for (; k + lanes<T> <= count; k += lanes<T>) add_to(wide, rows + k, n, x + k);
        if constexpr (lanes<T> > piece<T>)
            for (; k + piece<T> <= count; k += piece<T>) add_to(narrow, rows + k, n, x + k);
        for (; k < count; ++k)
            static_for<0, piece<T>>([&](auto r_) NEURALINV_LAMBDA {
                constexpr int r = decltype(r_)::value;
                rest[r] += rows[r * n + k] * x[k];
            });
    }

    NEURALINV_INLINE Piece<T> totals() const {
        Piece<T> sums[piece<T>];
        static_for<0, piece<T>>([&](auto r_) NEURALINV_LAMBDA {
            constexpr int r = decltype(r_)::value;
            sums[r] = sum_of_pieces<T>(wide[r]) + narrow[r];
        });
        return sums_of_entries(sums) + rest;
    }

   private:
    template <class V>
    NEURALINV_INLINE static void add_to(V (&sum)[piece<T>], const T* rows, int n, const T* x) {
        V factor;
        __builtin_memcpy(&factor, x, sizeof(V));
        static_for<0, piece<T>>([&](auto r_) NEURALINV_LAMBDA {
            constexpr int r = decltype(r_)::value;
            V row;
            __builtin_memcpy(&row, rows + r * n, sizeof(V));
            sum[r] = sum[r] + row * factor;
        });
    }
};

// x[i] −= Σ_{r < count} rows[r·n + i] values[r] for i < end.
template <int count, class V, class T>
NEURALINV_INLINE int subtract_rows_as(T* __restrict x, const T* __restrict rows, int n, const T* values, int i, int end) {
    constexpr int width = int(sizeof(V) / sizeof(T));
    for (; i + width <= end; i += width) {
        V sum;
        __builtin_memcpy(&sum, x + i, sizeof(V));
        static_for<0, count>([&](auto r_) NEURALINV_LAMBDA {
            constexpr int r = decltype(r_)::value;
            V row;
            __builtin_memcpy(&row, rows + r * n + i, sizeof(V));
            sum = sum - row * values[r];
        });
        __builtin_memcpy(x + i, &sum, sizeof(V));
    }
    return i;
}

template <int count, class T>
NEURALINV_INLINE void subtract_rows(T* __restrict x, const T* __restrict rows, int n, const T* values, int end) {
    int i = subtract_rows_as<count, Vector<T>>(x, rows, n, values, 0, end);
    if constexpr (lanes<T> > piece<T>) i = subtract_rows_as<count, Piece<T>>(x, rows, n, values, i, end);
    for (; i < end; ++i)
        for (int r = 0; r < count; ++r) x[i] -= rows[r * n + i] * values[r];
}

// One step of F x = b for one right-hand side: x = L⁻¹ (b − C x_before). C is null in the first step.
template <class Size, class T>
NEURALINV_INLINE void step_forward(Size size, const T* __restrict L, const T* __restrict C, const T* b,
                                   const T* x_before, T* x) {
    const int n = size.n();
    if constexpr (Size::fixed) {  // the vector stays in registers
        constexpr int m = Size{}.n();
        T s[m];
        static_for<0, m>([&](auto i) NEURALINV_LAMBDA { s[decltype(i)::value] = b[decltype(i)::value]; });
        if (C)
            static_for<0, m>([&](auto k_) NEURALINV_LAMBDA {
                constexpr int k = decltype(k_)::value;
                const T value = x_before[k];
                static_for<0, m>(
                    [&](auto i) NEURALINV_LAMBDA { s[decltype(i)::value] -= C[decltype(i)::value * m + k] * value; });
            });
        static_for<0, m>([&](auto k_) NEURALINV_LAMBDA {
            constexpr int k = decltype(k_)::value;
            // The quotient of ones does not depend on x: it is ready when s[k] is.
            const T value = s[k] * (T(1) / L[k * m + k]);
            x[k] = value;
            static_for<k + 1, m>(
                [&](auto i) NEURALINV_LAMBDA { s[decltype(i)::value] -= L[decltype(i)::value * m + k] * value; });
        });
    } else {
        int i = 0;
        for (; i + piece<T> <= n; i += piece<T>) {
            RowSums<T> sums;
            if (C) sums.add(C + i * n, n, x_before, n);
            sums.add(L + i * n, n, x, i);
            const Piece<T> totals = sums.totals();
            for (int r = i; r < i + piece<T>; ++r) {
                T value = b[r] - totals[r - i];
                for (int k = i; k < r; ++k) value -= L[r * n + k] * x[k];
                x[r] = value * (T(1) / L[r * n + r]);
            }
        }
        for (; i < n; ++i) {
            T value = b[i];
            if (C)
                for (int k = 0; k < n; ++k) value -= C[i * n + k] * x_before[k];
            for (int k = 0; k < i; ++k) value -= L[i * n + k] * x[k];
            x[i] = value * (T(1) / L[i * n + i]);
        }
    }
}

// One step of Fᵀ x = b for one right-hand side: x = L⁻ᵀ (b − Cᵀ x_after). C is null in the last step.
template <class Size, class T>
NEURALINV_INLINE void step_backward(Size size, const T* __restrict L, const T* __restrict C, const T* b,
                                    const T* x_after, T* __restrict x) {
    const int n = size.n();
    if constexpr (Size::fixed) {  // the vector stays in registers
        constexpr int m = Size{}.n();
        T s[m];
        static_for<0, m>([&](auto i) NEURALINV_LAMBDA { s[decltype(i)::value] = b[decltype(i)::value]; });
        if (C)
            static_for<0, m>([&](auto k_) NEURALINV_LAMBDA {
                constexpr int k = decltype(k_)::value;
                const T value = x_after[k];
                static_for<0, m>(
                    [&](auto i) NEURALINV_LAMBDA { s[decltype(i)::value] -= C[k * m + decltype(i)::value] * value; });
            });
        static_for<0, m>([&](auto step) NEURALINV_LAMBDA {
            constexpr int k = m - 1 - decltype(step)::value;
            const T value = s[k] * (T(1) / L[k * m + k]);
            x[k] = value;
            static_for<0, k>(
                [&](auto i) NEURALINV_LAMBDA { s[decltype(i)::value] -= L[k * m + decltype(i)::value] * value; });
        });
    } else {
        for (int i = 0; i < n; ++i) x[i] = b[i];
        if (C) {
            int k = 0;
            for (; k + piece<T> <= n; k += piece<T>) subtract_rows<piece<T>>(x, C + k * n, n, x_after + k, n);
            for (; k < n; ++k) subtract_rows<1>(x, C + k * n, n, x_after + k, n);
        }
        int end = n;
        for (; end % piece<T> != 0; --end) {
            const T value = x[end - 1] *= T(1) / L[(end - 1) * n + end - 1];
            subtract_rows<1>(x, L + (end - 1) * n, n, &value, end - 1);
        }
        for (; end > 0; end -= piece<T>) {
            const int begin = end - piece<T>;
            T values[piece<T>];
            for (int k = end - 1; k >= begin; --k) {
                T value = x[k];
                for (int r = k + 1; r < end; ++r) value -= L[r * n + k] * values[r - begin];
                values[k - begin] = x[k] = value * (T(1) / L[k * n + k]);
            }
            subtract_rows<piece<T>>(x, L + begin * n, n, values, begin);
        }
    }
}

// target −= s · source for rows of k right-hand sides.
template <class T>
NEURALINV_INLINE void subtract_row(T* __restrict target, const T* __restrict source, T s, std::int64_t k) {
    for (std::int64_t r = 0; r < k; ++r) target[r] -= s * source[r];
}

template <class T>
NEURALINV_INLINE void divide_row(T* target, T divisor, std::int64_t k) {
    for (std::int64_t r = 0; r < k; ++r) target[r] /= divisor;
}

// The same two steps for k right-hand sides, which fill the vectors.
template <class Size, class T>
NEURALINV_INLINE void step_forward(Size size, std::int64_t k, const T* L, const T* C, const T* b, const T* x_before,
                                   T* x) {
    const int n = size.n();
    for (std::int64_t e = 0; e < n * k; ++e) x[e] = b[e];
    for (int i = 0; i < n; ++i) {
        if (C)
            for (int m = 0; m < n; ++m) subtract_row(x + i * k, x_before + m * k, C[i * n + m], k);
        for (int m = 0; m < i; ++m) subtract_row(x + i * k, x + m * k, L[i * n + m], k);
        divide_row(x + i * k, L[i * n + i], k);
    }
}

template <class Size, class T>
NEURALINV_INLINE void step_backward(Size size, std::int64_t k, const T* L, const T* C, const T* b, const T* x_after,
                                    T* x) {
    const int n = size.n();
    for (std::int64_t e = 0; e < n * k; ++e) x[e] = b[e];
    for (int i = n - 1; i >= 0; --i) {
        if (C)
            for (int m = 0; m < n; ++m) subtract_row(x + i * k, x_after + m * k, C[m * n + i], k);
        for (int m = i + 1; m < n; ++m) subtract_row(x + i * k, x + m * k, L[m * n + i], k);
        divide_row(x + i * k, L[i * n + i], k);
    }
}

// The steps where the size is not known to the compiler: one function of each kind for all calls and sizes, which spares it
// much.
template <bool transposed, class T>
__attribute__((noinline)) void step_apart(int n, const T* L, const T* C, const T* b, const T* neighbour, T* x) {
    const BlockSize<T, 0, 1> size{n};
    transposed ? step_backward(size, L, C, b, neighbour, x) : step_forward(size, L, C, b, neighbour, x);
}

template <bool transposed, class T>
__attribute__((noinline)) void step_apart(int n, std::int64_t k, const T* L, const T* C, const T* b, const T* neighbour,
                                          T* x) {
    const BlockSize<T, 0, 1> size{n};
    transposed ? step_backward(size, k, L, C, b, neighbour, x) : step_forward(size, k, L, C, b, neighbour, x);
}

// One step of F x = b, or of Fᵀ x = b, for k right-hand sides. C is null where there is no neighbour; x may be b.
template <class Size, class T>
NEURALINV_INLINE void solve_step(Size size, std::int64_t k, bool transposed, const T* L, const T* C, const T* b,
                                 const T* neighbour, T* x) {
    if constexpr (Size::fixed) {
        if (k == 1)
            transposed ? step_backward(size, L, C, b, neighbour, x) : step_forward(size, L, C, b, neighbour, x);
        else
            transposed ? step_backward(size, k, L, C, b, neighbour, x) : step_forward(size, k, L, C, b, neighbour, x);
    } else {
        if (k == 1)
            transposed ? step_apart<true>(size.n(), L, C, b, neighbour, x)
                       : step_apart<false>(size.n(), L, C, b, neighbour, x);
        else
            transposed ? step_apart<true>(size.n(), k, L, C, b, neighbour, x)
                       : step_apart<false>(size.n(), k, L, C, b, neighbour, x);
    }
}

// Step t of a sequence. b, x: (steps, n, k).
template <class Size, class T>
NEURALINV_INLINE void solve_step(Size size, std::int64_t steps, std::int64_t k, bool transposed, std::int64_t t,
                                 const T* L, const T* C, const T* b, T* x) {
    const std::int64_t entries = size.n() * k, block = size.block();
    const bool first = t == (transposed ? steps - 1 : 0);
    solve_step(size, k, transposed, L + t * block, first ? nullptr : C + (transposed ? t : t - 1) * block, b + t * entries,
               x + (transposed ? t + 1 : t - 1) * entries, x + t * entries);
}

// All steps of F x = b, or of Fᵀ x = b.
template <class Size, class T>
inline void solve_sequence(Size size, std::int64_t steps, std::int64_t k, bool transposed, const T* L, const T* C,
                           const T* b, T* x) {
    for (std::int64_t step = 0; step < steps; ++step)
        solve_step(size, steps, k, transposed, transposed ? steps - 1 - step : step, L, C, b, x);
}

}  // namespace neuralinv::NEURALINV_TARGET
