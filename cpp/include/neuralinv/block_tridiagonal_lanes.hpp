// The recursions of block_tridiagonal.hpp and block_tridiagonal_rev.hpp, where they are derived, with a sequence in each
// SIMD lane; and the reverse pass of the blocks of the inverse, which has this form alone.
//
// Arguments as there, for the first sequence of a tile; `count` ≤ lanes sequences lie one after the other. scratch: aligned
// to a vector, workspace_vectors(n) vectors.
#pragma once

#include "lane_blocks.hpp"

namespace neuralinv::NEURALINV_TARGET::in_lanes {

// The blocks that a kernel works with, next to each other in scratch memory.
template <class T>
struct Workspace {
    using V = Vector<T>;
    static constexpr std::int64_t buffer_entries = 64;

    int n, direction;
    std::int64_t steps;
    Tile<T> tile;
    V* free;

    // direction: 1 where time runs forwards, −1 backwards.
    Workspace(int n_, std::int64_t steps_, int direction_, int count, T* scratch)
        : n(n_), direction(direction_), steps(steps_), tile{count, scratch, buffer_entries},
          free(reinterpret_cast<V*>(scratch) + buffer_entries) {}

    View<V> take(std::int64_t rows, std::int64_t row) {
        V* const data = free;
        free += rows * row;
        return {data, row, 1};
    }
    View<V> block() { return take(n, n); }
    View<V> vector() { return take(n, 1); }

    std::int64_t entries() const { return std::int64_t(n) * n; }
    // From one sequence to the next: of blocks on the diagonal, of those below it.
    std::int64_t stride() const { return steps * entries(); }
    std::int64_t stride_below() const { return (steps - 1) * entries(); }

    void load(const T* source, std::int64_t t, View<V> x) const {
        tile.load(source + t * entries(), stride(), entries(), x.data, direction * entries());
    }
    void load_below(const T* source, std::int64_t t, View<V> x) const {
        tile.load(source + t * entries(), stride_below(), entries(), x.data, direction * entries());
    }
    // L_t, zero above the diagonal, and the reciprocals of its diagonal.
    void load_factor(const T* L, std::int64_t t, View<V> l, View<V> reciprocal) const {
        load(L, t, l);
        clear_above_diagonal(l, n);
        for (int j = 0; j < n; ++j) reciprocal(j, 0) = broadcast<T>(T(1)) / l(j, j);
    }
    void store(View<V> x, T* target, std::int64_t t) const {
        tile.store(x.data, entries(), target + t * entries(), stride());
    }
    void store_below(View<V> x, T* target, std::int64_t t) const {
        tile.store(x.data, entries(), target + t * entries(), stride_below());
    }
};

// Of a kernel that takes nine blocks and a vector, and the tile's buffer.
inline std::int64_t workspace_vectors(std::int64_t n) { return 9 * n * n + n + Workspace<float>::buffer_entries; }

// ---- factor ----------------------------------------------------------------------------------------------------------

// L_t and C_t in place of S = D_t − C_{t−1} C_{t−1}ᵀ in l and B_t in c, as in `factor_columns`, but for the roots: they
// are taken at once, for they cost the lanes little. reciprocal: n, of the diagonal of L_t. `failed(j, good)` hears of
// pivots that are no positive finite numbers.
template <class T, class Failed>
NEURALINV_INLINE void factor_block(View<Vector<T>> l, View<Vector<T>> c, bool last, View<Vector<T>> reciprocal, int n,
                                   const Failed& failed) {
    using V = Vector<T>;
    for (int begin = 0; begin < n; begin += panel_columns) {
        const int end = begin + panel_columns < n ? begin + panel_columns : n, width = end - begin;
        add_product<-1>(l, l, l.transposed(), {begin, n}, {begin, end}, {0, begin});
        if (!last) add_product<-1>(c, c, l.transposed(), {0, n}, {begin, end}, {0, begin});
        for (int j = begin; j < end; ++j) {
            V pivot = l(j, j);
            for (int k = begin; k < j; ++k) pivot = pivot - l(j, k) * l(j, k);
            const Mask<T> good = Mask<T>(pivot > V{}) & Mask<T>(pivot - pivot == V{});  // infinity − infinity is not 0
            if (__builtin_expect(any<T>(~good), 0)) failed(j, good);
            l(j, j) = square_roots(pivot);
            reciprocal(j, 0) = broadcast<T>(T(1)) / l(j, j);
            for (int i = j + 1; i < end; ++i) {
                V sum = l(i, j);
                for (int k = begin; k < j; ++k) sum = sum - l(i, k) * l(j, k);
                l(i, j) = sum * reciprocal(j, 0);
            }
        }
        // Rows below, and those of c: x ← x l⁻ᵀ with the triangle just found.
        const View<V> corner = l.from(begin, begin).reversed(width), scale = reciprocal.from(begin, 0).rows_reversed(width);
        if (end < n) solve_panel(l.from(end, begin).columns_reversed(width), corner, scale, n - end, width);
        if (!last) solve_panel(c.from(0, begin).columns_reversed(width), corner, scale, n, width);
    }
}

// The lower triangle of l ← l − c cᵀ.
template <class V>
NEURALINV_INLINE void subtract_square(View<V> l, View<V> c, int n) {
    for (int begin = 0; begin < n; begin += panel_columns) {
        const int end = begin + panel_columns < n ? begin + panel_columns : n;
        add_product<-1>(l, c, c.transposed(), {begin, n}, {begin, end}, {0, n});
    }
}

// info: (count), see `factor_sequence`.
template <class T>
void factor(int n, std::int64_t steps, int count, const T* D, const T* B, T* L, T* C, std::int64_t* info, T* scratch) {
    using V = Vector<T>;
    Workspace<T> w(n, steps, 1, count, scratch);
    const View<V> l = w.block(), reciprocal = w.vector();
    View<V> c = w.block(), before = w.block();
    for (int lane = 0; lane < count; ++lane) info[lane] = 0;
    for (std::int64_t t = 0; t < steps; ++t) {
        const bool last = t + 1 == steps;
        w.load(D, t, l);
        if (t > 0) subtract_square(l, before, n);
        if (!last) w.load_below(B, t, c);
        factor_block<T>(l, c, last, reciprocal, n, [&](int j, Mask<T> good) {
            for (int lane = 0; lane < count; ++lane)
                if (!good[lane] && info[lane] == 0) info[lane] = t * n + j + 1;
        });
        clear_above_diagonal(l, n);
        w.store(l, L, t);
        if (!last) w.store_below(c, C, t);
        const View<V> swap = c;
        c = before;
        before = swap;
    }
}

template <class T>
void factor_rev(int n, std::int64_t steps, int count, const T* L, const T* C, const T* L_bar, const T* C_bar, T* D_bar,
                T* B_bar, T* scratch) {
    using V = Vector<T>;
    Workspace<T> w(n, steps, -1, count, scratch);
    const View<V> s_bar = w.block();  // S̄_{t+1}, times −2
    const View<V> b_bar = w.block();  // C̄_t, then B̄_t
    const View<V> l_bar = w.block(), l = w.block(), c = w.block(), reciprocal = w.vector();
    const V half = broadcast<T>(T(0.5)), minus_two = broadcast<T>(T(-2));
    for (std::int64_t t = steps - 1; t >= 0; --t) {
        w.load_factor(L, t, l, reciprocal);
        w.load(L_bar, t, l_bar);
        clear_above_diagonal(l_bar, n);
        if (t + 1 < steps) {
            w.load_below(C, t, c);
            w.load_below(C_bar, t, b_bar);
            add_product<1>(b_bar, s_bar, c, n);
            solve_from_right(b_bar, l, reciprocal, n, n);
            w.store_below(b_bar, B_bar, t);
            for (int begin = 0; begin < n; begin += panel_columns) {
                const int end = begin + panel_columns < n ? begin + panel_columns : n;
                add_product<-1>(l_bar, b_bar.transposed(), c, {begin, n}, {begin, end}, {0, n});
            }
            clear_above_diagonal(l_bar, n);
        }
        fill(s_bar, n, V{});
        for (int begin = 0; begin < n; begin += panel_columns) {  // the lower triangle of Lᵀ L̄
            const int end = begin + panel_columns < n ? begin + panel_columns : n;
            add_product<1>(s_bar, l.transposed(), l_bar, {begin, end}, {0, end}, {begin, n});
        }
        for (int i = 0; i < n; ++i)
            for (int j = 0; j <= i; ++j) s_bar(i, j) = s_bar(j, i) = s_bar(i, j) * half;
        solve_from_both_sides(s_bar, l, reciprocal, n);
        w.store(s_bar, D_bar, t);
        for (int i = 0; i < n; ++i)
            for (int j = 0; j < n; ++j) s_bar(i, j) = s_bar(i, j) * minus_two;
    }
}

// ---- blocks of the inverse -------------------------------------------------------------------------------------------

// One step back: sigma holds Σ_{t+1,t+1} and gets Σ_tt, negative gets −Σ_{t+1,t}, and g holds C_t and gets G = C_t L_t⁻¹.
//     −Σ_{t+1,t} = Σ_{t+1,t+1} G      Σ_tt = L_t⁻ᵀ L_t⁻¹ + Gᵀ Σ_{t+1,t+1} G
// Of the symmetric sum the lower triangle is computed. inverse: a block.
template <class V>
NEURALINV_INLINE void inverse_step(View<V> sigma, View<V> negative, View<V> g, View<V> l, View<V> reciprocal,
                                   View<V> inverse, bool last, int n) {
    invert_triangle(l, reciprocal, inverse, n);
    if (!last) {
        solve_from_right(g, l, reciprocal, n, n);
        fill(negative, n, V{});
        add_product<1>(negative, sigma, g, n);
    }
    fill(sigma, n, V{});
    for (int begin = 0; begin < n; begin += panel_columns) {
        const int end = begin + panel_columns < n ? begin + panel_columns : n;
        add_product<1>(sigma, inverse.transposed(), inverse, {begin, end}, {0, end}, {begin, n});
        if (!last) add_product<1>(sigma, g.transposed(), negative, {begin, end}, {0, end}, {0, n});
    }
    for (int i = 0; i < n; ++i)
        for (int j = 0; j < i; ++j) sigma(j, i) = sigma(i, j);
}

template <class T>
void inverse_blocks(int n, std::int64_t steps, int count, const T* L, const T* C, T* diagonal, T* below, T* scratch) {
    using V = Vector<T>;
    Workspace<T> w(n, steps, -1, count, scratch);
    const View<V> l = w.block(), g = w.block(), negative = w.block(), sigma = w.block(), inverse = w.block();
    const View<V> reciprocal = w.vector();
    for (std::int64_t t = steps - 1; t >= 0; --t) {
        const bool last = t + 1 == steps;
        w.load_factor(L, t, l, reciprocal);
        if (!last) w.load_below(C, t, g);
        inverse_step(sigma, negative, g, l, reciprocal, inverse, last, n);
        w.store(sigma, diagonal, t);
        if (last) continue;
        for (int i = 0; i < n; ++i)
            for (int j = 0; j < n; ++j) negative(i, j) = V{} - negative(i, j);
        w.store_below(negative, below, t);
    }
}

// L̄ and C̄ from gradients of the blocks Σ_t = Σ_tt and E_t = Σ_{t+1,t} of the inverse, and from these themselves.
//
// With K = L_t⁻¹ and G = C_t K the forward recursion is E = −Σ_{t+1} G, Σ_t = KᵀK + Gᵀ Σ_{t+1} G. Forwards over t, with A
// the symmetric part of the gradient that Σ_t has from the caller and from step t − 1:
//
// 1. Ḡ = 2 Σ_{t+1} G A − Σ_{t+1} Ē = −2 E A − Σ_{t+1} Ē, and Σ_{t+1} gets the symmetric part of (G A − Ē) Gᵀ.
// 2. G = C K:        C̄ = Ḡ L⁻ᵀ, and K gets Cᵀ Ḡ.
// 3. K = L⁻¹:        L̄ = −tril(Kᵀ K̄ Kᵀ) with K̄ = 2 K A + Cᵀ Ḡ, that is −tril(2 L⁻ᵀ L⁻¹ A L⁻ᵀ + Gᵀ C̄).
template <class T>
void inverse_blocks_rev(int n, std::int64_t steps, int count, const T* L, const T* C, const T* diagonal, const T* below,
                        const T* diagonal_bar, const T* below_bar, T* L_bar, T* C_bar, T* scratch) {
    using V = Vector<T>;
    Workspace<T> w(n, steps, 1, count, scratch);
    const View<V> l = w.block(), g = w.block(), g_bar = w.block(), e_bar = w.block(), work = w.block();
    const View<V> a = w.block(), carried = w.block(), sigma = w.block(), l_bar = w.block(), reciprocal = w.vector();
    const V minus_two = broadcast<T>(T(-2));
    fill(carried, n, V{});
    for (std::int64_t t = 0; t < steps; ++t) {
        w.load_factor(L, t, l, reciprocal);
        w.load(diagonal_bar, t, a);
        for (int i = 0; i < n; ++i)
            for (int j = 0; j < n; ++j) a(i, j) = a(i, j) + carried(i, j);
        symmetrise(a, n);
        fill(l_bar, n, V{});
        if (t + 1 < steps) {
            w.load_below(C, t, g);
            solve_from_right(g, l, reciprocal, n, n);
            w.load_below(below_bar, t, e_bar);
            w.load(diagonal, t + 1, sigma);
            w.load_below(below, t, work);
            for (int i = 0; i < n; ++i)
                for (int j = 0; j < n; ++j) work(i, j) = work(i, j) * minus_two;
            fill(g_bar, n, V{});
            add_product<1>(g_bar, work, a, n);
            add_product<-1>(g_bar, sigma, e_bar, n);
            solve_transpose_from_right(g_bar, l, reciprocal, n, n);  // C̄ from here on
            w.store_below(g_bar, C_bar, t);
            add_product<-1>(l_bar, g.transposed(), g_bar, n);
            for (int i = 0; i < n; ++i)
                for (int j = 0; j < n; ++j) work(i, j) = V{} - e_bar(i, j);
            add_product<1>(work, g, a, n);
            fill(carried, n, V{});
            add_product<1>(carried, work, g.transposed(), n);
        }
        solve_transpose_from_right(a, l, reciprocal, n, n);
        solve_transpose_from_right(a.transposed(), l, reciprocal, n, n);
        solve_from_right(a.transposed(), l, reciprocal, n, n);
        for (int i = 0; i < n; ++i)
            for (int j = 0; j < n; ++j) l_bar(i, j) = j <= i ? l_bar(i, j) + a(i, j) * minus_two : V{};
        w.store(l_bar, L_bar, t);
    }
}

}  // namespace neuralinv::NEURALINV_TARGET::in_lanes
