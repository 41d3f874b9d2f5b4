// block_tridiagonal_system.hpp, where it is derived, with a sequence in each SIMD lane. The factor stays in lanes between the
// two passes: only what the caller gives and gets is transposed.
//
// factors: 2 steps blocks of vectors, L_t and C_t in turn; the diagonal of L_t holds its reciprocals. scratch: aligned to a
// vector, `system_vectors(n, steps, k)` vectors. Other arguments as in block_tridiagonal_lanes.hpp.
#pragma once

#include "block_tridiagonal_lanes.hpp"

namespace neuralinv::NEURALINV_TARGET::in_lanes {

// Six blocks, a vector, and two right-hand sides of all steps, besides the tile's buffer.
inline std::int64_t system_vectors(std::int64_t n, std::int64_t steps, std::int64_t k) {
    return 6 * n * n + n + 2 * steps * n * k + Workspace<float>::buffer_entries;
}

// Sums of logarithms, a sequence in each lane: products of mantissas and sums of exponents, and a logarithm in a while.
template <class T>
class Logarithms {
   public:
    // x: positive and normal.
    NEURALINV_INLINE void add(Vector<T> x) {
        const Mask<T> bits = Mask<T>(x);
        exponents_ = exponents_ + (bits >> mantissa_bits) - bias;
        product_ = product_ * Vector<T>((bits & mantissa) | one);
        if (++count_ == most) flush();
    }
    T total(int lane) {
        flush();
        return T(sums_[lane]);
    }

   private:
    using Integer = typename Traits<T>::Integer;
    static constexpr int mantissa_bits = sizeof(T) == 4 ? 23 : 52, most = sizeof(T) == 4 ? 100 : 1000;
    static constexpr Integer bias = sizeof(T) == 4 ? 127 : 1023, mantissa = (Integer(1) << mantissa_bits) - 1;
    static constexpr Integer one = bias << mantissa_bits;

    __attribute__((noinline)) void flush() {
        for (int lane = 0; lane < lanes<T>; ++lane)
            sums_[lane] += __builtin_log(double(product_[lane])) + double(exponents_[lane]) * 0.69314718055994530942;
        product_ = Vector<T>{} + 1;
        exponents_ = Mask<T>{};
        count_ = 0;
    }

    Vector<T> product_ = Vector<T>{} + 1;
    Mask<T> exponents_{};
    int count_ = 0;
    double sums_[lanes<T>] = {};
};

template <class V>
NEURALINV_INLINE View<V> factor_view(V* factors, std::int64_t t, int n) {
    return {factors + 2 * t * n * n, n, 1};
}

template <class V>
NEURALINV_INLINE View<V> below_view(V* factors, std::int64_t t, int n) {
    return {factors + (2 * t + 1) * n * n, n, 1};
}

// The diagonal of an (n, n) view as a vector.
template <class V>
NEURALINV_INLINE View<V> diagonal_of(View<V> l) {
    return {l.data, l.row + l.column, 1};
}

// x_t ← L_t⁻¹ (x_t − C_{t−1} x_{t−1}) for k right-hand sides.
template <class V>
NEURALINV_INLINE void forward_step(V* factors, std::int64_t t, V* x, int n, int k) {
    const View<V> l = factor_view(factors, t, n), now{x + t * n * k, k, 1};
    if (t > 0)
        add_product<-1>(now, below_view(factors, t - 1, n), View<V>{x + (t - 1) * n * k, k, 1}, {0, n}, {0, k}, {0, n});
    for (int r = 0; r < k; ++r)
        for (int j = 0; j < n; ++j) {
            const V value = now(j, r) = now(j, r) * l(j, j);
            for (int i = j + 1; i < n; ++i) now(i, r) = now(i, r) - l(i, j) * value;
        }
}

// x_t ← L_t⁻ᵀ (x_t − C_tᵀ x_{t+1}).
template <class V>
NEURALINV_INLINE void backward_step(V* factors, std::int64_t t, bool last, V* x, int n, int k) {
    const View<V> l = factor_view(factors, t, n), now{x + t * n * k, k, 1};
    if (!last)
        add_product<-1>(now, below_view(factors, t, n).transposed(), View<V>{x + (t + 1) * n * k, k, 1}, {0, n}, {0, k},
                        {0, n});
    for (int r = 0; r < k; ++r)
        for (int j = n - 1; j >= 0; --j) {
            const V value = now(j, r) = now(j, r) * l(j, j);
            for (int i = 0; i < j; ++i) now(i, r) = now(i, r) - l(j, i) * value;
        }
}

// logs, info: (count); logs: log det M, null if not wanted.
template <class T>
void solve_system(int n, std::int64_t steps, std::int64_t k, int count, const T* D, const T* B, const T* b, T* x, T* logs,
                  std::int64_t* info, T* factors_, T* scratch) {
    using V = Vector<T>;
    Workspace<T> w(n, steps, 1, count, scratch);
    V* const factors = reinterpret_cast<V*>(factors_);
    const View<V> reciprocal = w.vector();
    V* const rhs = w.take(steps * n, k).data;
    if (k > 0) w.tile.load(b, steps * n * k, steps * n * k, rhs, 64);
    Logarithms<T> logarithms;
    for (int lane = 0; lane < count; ++lane) info[lane] = 0;
    for (std::int64_t t = 0; t < steps; ++t) {
        const bool last = t + 1 == steps;
        const View<V> l = factor_view(factors, t, n), c = below_view(factors, t, n);
        w.load(D, t, l);
        if (t > 0) subtract_square(l, below_view(factors, t - 1, n), n);
        if (!last) w.load_below(B, t, c);
        factor_block<T>(l, c, last, reciprocal, n, [&](int j, Mask<T> good) {
            for (int lane = 0; lane < count; ++lane)
                if (!good[lane] && info[lane] == 0) info[lane] = t * n + j + 1;
        });
        for (int j = 0; j < n; ++j) {
            if (logs) logarithms.add(l(j, j));
            l(j, j) = reciprocal(j, 0);
        }
        if (k > 0) forward_step(factors, t, rhs, n, int(k));
    }
    if (logs)
        for (int lane = 0; lane < count; ++lane) logs[lane] = 2 * logarithms.total(lane);
    if (k == 0) return;
    for (std::int64_t t = steps - 1; t >= 0; --t) backward_step(factors, t, t + 1 == steps, rhs, n, int(k));
    w.tile.store(rhs, steps * n * k, x, steps * n * k);
}

// log_bar: (count).
template <class T>
void solve_system_rev(int n, std::int64_t steps, std::int64_t k, int count, const T* factors_, const T* x, const T* x_bar,
                      const T* log_bar, T* D_bar, T* B_bar, T* b_bar, T* scratch) {
    using V = Vector<T>;
    Workspace<T> w(n, steps, -1, count, scratch);
    V* const factors = const_cast<V*>(reinterpret_cast<const V*>(factors_));
    const View<V> sigma = w.block(), negative = w.block(), g = w.block(), inverse = w.block(), result = w.block();
    const std::int64_t entries = steps * n * k;
    V* const adjoint = w.take(steps * n, k).data;
    V* const solution = w.take(steps * n, k).data;
    if (k > 0) {
        w.tile.load(x_bar, entries, entries, adjoint, 64);
        w.tile.load(x, entries, entries, solution, 64);
        for (std::int64_t t = 0; t < steps; ++t) forward_step(factors, t, adjoint, n, int(k));
    }
    V gradient{};
    if (log_bar)
        for (int lane = 0; lane < lanes<T>; ++lane) gradient[lane] = log_bar[lane < count ? lane : count - 1];
    const V twice = gradient + gradient, half = V{} + T(0.5);
    for (std::int64_t t = steps - 1; t >= 0; --t) {
        const bool last = t + 1 == steps;
        if (k > 0) backward_step(factors, t, last, adjoint, n, int(k));
        if (!D_bar) continue;
        if (log_bar) {
            const View<V> l = factor_view(factors, t, n);
            if (!last)
                for (int e = 0; e < n * n; ++e) g.data[e] = below_view(factors, t, n).data[e];
            inverse_step(sigma, negative, g, l, diagonal_of(l), inverse, last, n);
        }
        const View<V> v{solution + t * n * k, k, 1}, v_after = v.from(n, 0);
        const View<V> u{adjoint + t * n * k, k, 1}, u_after = u.from(n, 0);
        for (int i = 0; i < n; ++i)
            for (int j = 0; j <= i; ++j) {
                V sum{};
                for (int r = 0; r < int(k); ++r) sum = sum + u(i, r) * v(j, r) + v(i, r) * u(j, r);
                result(i, j) = result(j, i) = (log_bar ? sigma(i, j) * gradient : V{}) - sum * half;
            }
        w.store(result, D_bar, t);
        if (last) continue;
        for (int i = 0; i < n; ++i)
            for (int j = 0; j < n; ++j) {
                V sum = log_bar ? negative(i, j) * twice : V{};
                for (int r = 0; r < int(k); ++r) sum = sum + u_after(i, r) * v(j, r) + v_after(i, r) * u(j, r);
                result(i, j) = V{} - sum;
            }
        w.store_below(result, B_bar, t);
    }
    if (k > 0) w.tile.store(adjoint, entries, b_bar, entries);
}

}  // namespace neuralinv::NEURALINV_TARGET::in_lanes
