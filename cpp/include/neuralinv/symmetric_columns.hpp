// Inverses of symmetric positive definite matrices, one at a time, a column in one or a few vectors: half the work of
// columns.hpp, since only the lower triangle is kept, up to whole vectors.
//
// Step k is Jordan's exchange on a symmetric matrix: with the pivot d = a(k,k) and c = a(:,k),
//
//     a(i,j) ← a(i,j) − c(i) c(j) / d    for i, j ≠ k,    a(i,k), a(k,i) ← c(i) / d,    a(k,k) ← −1 / d,
//
// which leaves −A⁻¹ after n steps, and a symmetric matrix after each. The pivots are those of A = L D Lᵀ.
//
// Four steps make one pass. C: the four columns, P: the 4×4 block where they meet the four rows, P = L D Lᵀ. All other
// entries lose C P⁻¹ Cᵀ = Z Yᵀ with Y = C L⁻ᵀ, Z = Y D⁻¹; W = Z L⁻¹ = C P⁻¹ takes the place of C. Where −I stands for P in
// C, W becomes −P⁻¹ there, which is what belongs in its place.
#pragma once

#include "columns_range.hpp"

namespace neuralinv::NEURALINV_TARGET {

inline constexpr int steps_together = 4;

// Columns that keep the same rows: those from the first of these columns on.
template <class T>
inline constexpr int column_group = lanes<T> < steps_together ? steps_together : lanes<T>;

template <class T>
inline constexpr int group_vectors = column_group<T> / lanes<T>;

// Vectors to a column.
template <class T>
NEURALINV_INLINE int symmetric_height(int n) {
    return (n + column_group<T> - 1) / column_group<T> * group_vectors<T>;
}

// The first vector of column j.
template <class T>
NEURALINV_INLINE int first_vector(int j) {
    return j / column_group<T> * group_vectors<T>;
}

// The factors of P.
template <class T>
struct PivotBlock {
    T l[steps_together][steps_together];
    T pivots[steps_together];
    T reciprocal[steps_together];
};

// One matrix. Columns and rows from n up to a whole pass are those of the identity.
template <class T>
struct Symmetric {
    Vector<T>* columns;  // (n, rounded up to a pass, height)
    Vector<T>* y;        // (4, height), and z and w after it
    T* pivots;           // (n, rounded up to a pass)
    T* sizes;            // (n): the diagonal of A

    NEURALINV_INLINE Vector<T>* z(int height) const { return y + steps_together * height; }
    NEURALINV_INLINE Vector<T>* w(int height) const { return y + 2 * steps_together * height; }
};

// L and D of the pass that begins at step k.
template <class T>
NEURALINV_INLINE PivotBlock<T> factor_block(const Symmetric<T>& a, int height, int k) {
    const T* const entries = reinterpret_cast<const T*>(a.columns);
    const std::int64_t length = std::int64_t(height) * lanes<T>;
    PivotBlock<T> block;
    static_for<0, steps_together>([&](auto s_) NEURALINV_LAMBDA {
        constexpr int s = decltype(s_)::value;
        T d = entries[(k + s) * length + k + s], scaled[steps_together];
        static_for<0, s>([&](auto q_) NEURALINV_LAMBDA {
            constexpr int q = decltype(q_)::value;
            T x = entries[(k + q) * length + k + s];
            static_for<0, q>([&](auto p) NEURALINV_LAMBDA { x -= scaled[decltype(p)::value] * block.l[q][decltype(p)::value]; });
            scaled[q] = x;
            block.l[s][q] = x * block.reciprocal[q];
        });
        static_for<0, s>([&](auto q) NEURALINV_LAMBDA { d -= scaled[decltype(q)::value] * block.l[s][decltype(q)::value]; });
        block.pivots[s] = d;
        block.reciprocal[s] = 1 / d;
    });
    return block;
}

// The same, with D kept among the pivots.
template <class T>
NEURALINV_INLINE PivotBlock<T> factor_pivots(const Symmetric<T>& a, int height, int k) {
    const PivotBlock<T> block = factor_block(a, height, k);
    for (int s = 0; s < steps_together; ++s) a.pivots[k + s] = block.pivots[s];
    return block;
}

// Rows k..k+3 of columns vector·lanes.., a row in each vector of c.
template <class T>
NEURALINV_INLINE void load_across(const Vector<T>* columns, std::int64_t length, int k, int vector, Vector<T>* c) {
    const T* const from = reinterpret_cast<const T*>(columns) + vector * lanes<T> * length + k;
    static_for<0, steps_together / piece<T>>([&](auto part) NEURALINV_LAMBDA {
        constexpr int at = decltype(part)::value * piece<T>;
        load_chunk<T>(from + at, length, c + at);
    });
}

template <class T>
NEURALINV_INLINE void store_across(const Vector<T>* c, std::int64_t length, int k, int vector, Vector<T>* columns) {
    T* const to = reinterpret_cast<T*>(columns) + vector * lanes<T> * length + k;
    static_for<0, steps_together / piece<T>>([&](auto part) NEURALINV_LAMBDA {
        constexpr int at = decltype(part)::value * piece<T>;
        store_chunk<T>(c + at, to + at, length);
    });
}

// Vectors begin..end-1 of Y, Z and W.
template <class T>
NEURALINV_INLINE void form_panel(const Symmetric<T>& a, int height, int k, const PivotBlock<T>& block, int begin, int end) {
    const std::int64_t length = std::int64_t(height) * lanes<T>;
    const int own = first_vector<T>(k);
    for (int v = begin; v < end; ++v) {
        Vector<T> y[steps_together], z[steps_together], w[steps_together];
        if (v < own)
            load_across<T>(a.columns, length, k, v, y);
        else
            static_for<0, steps_together>([&](auto s) NEURALINV_LAMBDA { y[decltype(s)::value] = a.columns[(k + decltype(s)::value) * height + v]; });
        if (v >= own && v < own + group_vectors<T>) {
            using Integer = typename Traits<T>::Integer;
            const Bits<T> row = iota<T>() + Integer(v * lanes<T> - k);
            const Bits<T> inside = Bits<T>(row >= 0) & Bits<T>(row < steps_together);
            static_for<0, steps_together>([&](auto s) NEURALINV_LAMBDA {
                const Bits<T> one = Bits<T>(row == Integer(decltype(s)::value));
                y[decltype(s)::value] = Vector<T>((Bits<T>(y[decltype(s)::value]) & ~inside) | (Bits<T>(broadcast<T>(-1)) & one));
            });
        }
        static_for<0, steps_together>([&](auto s_) NEURALINV_LAMBDA {
            constexpr int s = decltype(s_)::value;
            static_for<0, s>([&](auto q) NEURALINV_LAMBDA { y[s] -= broadcast(block.l[s][decltype(q)::value]) * y[decltype(q)::value]; });
            z[s] = y[s] * block.reciprocal[s];
            a.y[s * height + v] = y[s];
            a.z(height)[s * height + v] = z[s];
        });
        static_for<0, steps_together>([&](auto from_end) NEURALINV_LAMBDA {
            constexpr int s = steps_together - 1 - decltype(from_end)::value;
            w[s] = z[s];
            static_for<s + 1, steps_together>([&](auto q) NEURALINV_LAMBDA { w[s] -= broadcast(block.l[decltype(q)::value][s]) * w[decltype(q)::value]; });
            a.w(height)[s * height + v] = w[s];
        });
    }
}

// Columns j..j+count-1, of one group, whose rows begin in vector `first`, lose Z Yᵀ. fixed: the vectors from there on, or 0.
template <class T, int fixed, int count>
NEURALINV_INLINE void update_columns(const Symmetric<T>& a, int height, int j, int first) {
    const T* const entries = reinterpret_cast<const T*>(a.y);
    const std::int64_t length = std::int64_t(height) * lanes<T>;
    Vector<T> t[count][steps_together];
    static_for<0, count * steps_together>([&](auto e_) NEURALINV_LAMBDA {
        constexpr int e = decltype(e_)::value;
        t[e / steps_together][e % steps_together] = broadcast(entries[e % steps_together * length + j + e / steps_together]);
    });
    const Vector<T>* const z = a.z(height);
    Vector<T>* const columns = a.columns + std::int64_t(j) * height;
    const auto update = [&](int v) NEURALINV_LAMBDA {
        Vector<T> l[steps_together];
        static_for<0, steps_together>([&](auto s) NEURALINV_LAMBDA { l[decltype(s)::value] = z[decltype(s)::value * height + v]; });
        static_for<0, count>([&](auto c_) NEURALINV_LAMBDA {
            constexpr int c = decltype(c_)::value;
            Vector<T> x = columns[c * height + v];
            static_for<0, steps_together>([&](auto s) NEURALINV_LAMBDA { x -= l[decltype(s)::value] * t[c][decltype(s)::value]; });
            columns[c * height + v] = x;
        });
    };
    if constexpr (fixed > 0)
        static_for<0, fixed>([&](auto v) NEURALINV_LAMBDA { update(first + decltype(v)::value); });
    else
        for (int v = first; v < height; ++v) update(v);
}

// Columns from j to the end of their group. first: as for update_columns.
template <class T, int fixed, class Prefetch>
NEURALINV_INLINE void update_group(const Symmetric<T>& a, int height, int n, int j, int first, Prefetch& ahead) {
    const int group_end = (j / column_group<T> + 1) * column_group<T>, end = group_end < n ? group_end : n;
    for (; j + columns_together <= end; j += columns_together) {
        if constexpr (fixed == 0) ahead.fetch();
        update_columns<T, fixed, columns_together>(a, height, j, first);
    }
    for (; j < end; ++j) update_columns<T, fixed, 1>(a, height, j, first);
}

// All columns; the group of the next pivots first. fixed: the height, or 0.
template <class T, int fixed>
NEURALINV_INLINE void update_all(const Symmetric<T>& a, int any_height, int n, int k, Ahead& ahead) {
    constexpr int group = column_group<T>, each = group_vectors<T>;
    if constexpr (fixed > 0) {
        static_for<0, fixed / each>([&](auto g_) NEURALINV_LAMBDA {
            constexpr int g = decltype(g_)::value;
            update_group<T, fixed - g * each>(a, fixed, n, g * group, g * each, ahead);
        });
    } else {
        const int next = (k + steps_together) / group * group;
        if (next < n) update_group<T, 0>(a, any_height, n, next, first_vector<T>(next), ahead);
        for (int j = 0; j < n; j += group)
            if (j != next) update_group<T, 0>(a, any_height, n, j, first_vector<T>(j), ahead);
    }
}

// How often all steps of `together` matrices fetch.
template <int fixed, int together>
NEURALINV_INLINE int symmetric_fetches(int n) {
    const int passes = (n + steps_together - 1) / steps_together;
    return together * (fixed > 0 ? passes : passes * (n / columns_together));
}

// W in rows k..k+3 of the columns in vector v, up to those of the pass; in columns k..k+3.
template <class T>
NEURALINV_INLINE void place_across(const Symmetric<T>& a, int height, int k, int v) {
    Vector<T> w[steps_together];
    static_for<0, steps_together>([&](auto s) NEURALINV_LAMBDA { w[decltype(s)::value] = a.w(height)[decltype(s)::value * height + v]; });
    store_across<T>(w, std::int64_t(height) * lanes<T>, k, v, a.columns);
}

template <class T>
NEURALINV_INLINE void place_columns(const Symmetric<T>& a, int height, int k) {
    for (int v = first_vector<T>(k); v < height; ++v)
        static_for<0, steps_together>([&](auto s) NEURALINV_LAMBDA { a.columns[(k + decltype(s)::value) * height + v] = a.w(height)[decltype(s)::value * height + v]; });
}

// Four steps of `together` matrices.
template <class T, int fixed, int together>
NEURALINV_INLINE void exchange(const Symmetric<T>* a, int any_height, int n, int k, Ahead& ahead) {
    const int height = fixed > 0 ? fixed : any_height, own = first_vector<T>(k);
    PivotBlock<T> block[together];
    static_for<0, together>([&](auto m) NEURALINV_LAMBDA { block[decltype(m)::value] = factor_pivots(a[decltype(m)::value], height, k); });
    for (int m = 0; m < together; ++m) {
        if constexpr (fixed > 0) ahead.fetch();
        form_panel(a[m], height, k, block[m], 0, height);
        update_all<T, fixed>(a[m], height, n, k, ahead);
        for (int v = 0; v < own + group_vectors<T>; ++v) place_across(a[m], height, k, v);
        place_columns(a[m], height, k);
    }
}

}  // namespace neuralinv::NEURALINV_TARGET
