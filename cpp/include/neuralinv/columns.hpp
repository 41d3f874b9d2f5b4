// Gauss–Jordan elimination with partial pivoting, one matrix at a time, a column in one or a few vectors.
//
// Step k takes, of the rows that were not chosen before, the one with the largest modulus in column k: row p, pivot π. With
// l = a(:,k) / π and l(p) = 0, every other column loses l times its entry in row p. No row is moved: a lane per row makes
// swaps superfluous, the order is put right when results are written. Rows are not divided by their pivots before that
// either. Where A⁻¹ is wanted, column k turns into −l with 1 in row p; where A x = b is solved, b is one more column and
// the columns up to k are done with. In the end row p of what is left, divided by π, is row k of the answer.
//
// `rank` steps are applied in one pass over the other columns: one load and one store for `rank` multiplications.
// A pass begins with a chain of dependent operations (find a pivot, divide, prepare the next column): several matrices
// take turns, so that the chain of one fills the gaps of the others.
#pragma once

#include "prefetch.hpp"
#include "reduce.hpp"

namespace neuralinv::NEURALINV_TARGET {

inline constexpr int rank = 4;

// What becomes of the columns whose step is over.
enum class Wanted { inverse, solution };

// How a step finds its row.
enum class Pivots {
    largest,   // partial pivoting
    diagonal,  // row k in step k: for symmetric positive definite matrices, whose pivots are positive and need no choice
};

// Steps joined into one product add up what would be added one after the other, and meanwhile may overflow: numbers up to
// this one leave room for that.
template <class T>
inline constexpr T largest_summand = T(1) / Traits<T>::smallest_normal / 1024;

// Whether products and the sums that take them are rounded together or, as in LAPACK, apart.
enum class Rounding { fused, apart };

template <Rounding rounding, class V>
NEURALINV_INLINE V minus_product(V x, V l, V t) {
    if constexpr (rounding == Rounding::fused)
        return x - l * t;
    else
        return x - rounded(l * t);
}

// One matrix under elimination. `height`: vectors to a column, enough for n rows; rows beyond n are zero.
template <class T>
struct Elimination {
    Vector<T>* columns;     // (n + right-hand sides, height)
    Vector<T>* multipliers; // (rank, height): l of the pass
    Bits<T>* closed;        // (height): all ones in rows that were chosen, and beyond n
    Vector<T>* reciprocals; // (height): 1/π by row
    T* pivots;              // (n): π by step
    int* rows;              // (n): p by step
};

// 0, 1, 2, … by lane.
template <class T>
NEURALINV_INLINE Bits<T> iota() {
    Bits<T> x{};
    static_for<0, lanes<T>>([&](auto i) NEURALINV_LAMBDA { x[decltype(i)::value] = decltype(i)::value; });
    return x;
}

// Lanes of vector v that lie beyond n.
template <class T>
NEURALINV_INLINE Bits<T> missing_lanes(int n, int v) {
    return Bits<T>(iota<T>() >= Bits<T>{} + typename Traits<T>::Integer(n - v * lanes<T>));
}

// Of a pivot, relative to the largest entry of its column: a smaller one may be made of rounding errors alone.
template <class T>
inline T rounding_errors(int n) {
    return T(4 * n) * (sizeof(T) == 4 ? T(0x1p-24) : T(0x1p-53));
}

// Steps first..last-1 of the pass, applied to one column. l: (last, height), rows: p of the pass,
// cross[q][s]: entry p_s of l_q, or, if `joined`, of no use.
template <class T, int fixed, Rounding rounding, int first, int last, bool joined>
NEURALINV_INLINE void apply(Vector<T>* column, int any_height, const Vector<T>* l, const int* rows,
                            const T (*cross)[rank]) {
    const int height = fixed > 0 ? fixed : any_height;
    const T* entries = reinterpret_cast<const T*>(column);
    Vector<T> t[last];
    static_for<first, last>([&](auto s_) NEURALINV_LAMBDA {
        constexpr int s = decltype(s_)::value;
        Vector<T> x = broadcast<T>(entries[rows[s]]);
        if constexpr (!joined)
            static_for<first, s>([&](auto q_) NEURALINV_LAMBDA {
                constexpr int q = decltype(q_)::value;
                x = minus_product<rounding>(x, broadcast<T>(cross[q][s]), t[q]);
            });
        t[s] = x;
    });
    for (int v = 0; v < height; ++v) {
        Vector<T> x = column[v];
        static_for<first, last>([&](auto s_) NEURALINV_LAMBDA {
            constexpr int s = decltype(s_)::value;
            x = minus_product<rounding>(x, l[s * height + v], t[s]);
        });
        column[v] = x;
    }
}

#if NEURALINV_VECTOR_BYTES == 64 || defined(__aarch64__)
inline constexpr int columns_together = 4;  // what a pass takes from each of them, and what else there is, in 32 registers
#else
inline constexpr int columns_together = 2;
#endif

// All steps of a pass, joined into one product, applied to `count` columns at once: multipliers are loaded once for all.
template <class T, int steps, int count>
NEURALINV_INLINE void apply_joined(Vector<T>* columns, int height, const Vector<T>* l, const int* rows) {
    Vector<T> t[count][steps];
    static_for<0, count * steps>([&](auto e_) NEURALINV_LAMBDA {
        constexpr int c = decltype(e_)::value / steps, s = decltype(e_)::value % steps;
        t[c][s] = broadcast(reinterpret_cast<const T*>(columns + c * height)[rows[s]]);
    });
    for (int v = 0; v < height; ++v) {
        Vector<T> multipliers[steps];
        static_for<0, steps>([&](auto s) NEURALINV_LAMBDA { multipliers[decltype(s)::value] = l[decltype(s)::value * height + v]; });
        static_for<0, count>([&](auto c_) NEURALINV_LAMBDA {
            constexpr int c = decltype(c_)::value;
            Vector<T> x = columns[c * height + v];
            static_for<0, steps>([&](auto s) NEURALINV_LAMBDA { x -= multipliers[decltype(s)::value] * t[c][decltype(s)::value]; });
            columns[c * height + v] = x;
        });
    }
}

// A whole pass applied to columns begin..end-1.
template <class T, int fixed, Rounding rounding, int steps>
NEURALINV_INLINE void apply_pass(Vector<T>* columns, int height, const Vector<T>* l, const int* rows, const T (*cross)[rank],
                                 int begin, int end, Ahead& ahead) {
    constexpr bool joined = rounding == Rounding::fused;
    int j = begin;
    if constexpr (joined && fixed == 0)  // with few vectors to a column the multipliers stay in registers anyway
        for (; j + columns_together <= end; j += columns_together) {
            ahead.fetch();
            apply_joined<T, steps, columns_together>(columns + std::int64_t(j) * height, height, l, rows);
        }
    for (; j < end; ++j)
        apply<T, fixed, rounding, 0, steps, joined>(columns + std::int64_t(j) * height, height, l, rows, cross);
}

// Lowest row with the largest modulus among those not closed, of which there is one. NaN is larger than any number: what
// is divided by it is of no use, and `usable` will say so.
template <class T, int fixed>
NEURALINV_INLINE int find_row(const Vector<T>* column, int any_height, const Bits<T>* closed) {
    const int height = fixed > 0 ? fixed : any_height;
    // Closed rows are −1, moduli are not negative.
    const auto size = [&](int v) NEURALINV_LAMBDA { return Bits<T>(absolute<T>(column[v])) | closed[v]; };
    Bits<T> best = size(0);
    for (int v = 1; v < height; ++v) best = larger_bits(size(v), best);
    best = spread_largest(best);
    // No branch: nobody can foresee the row.
    if (height * lanes<T> <= 64) {
        std::uint64_t found = 0;
        for (int v = 0; v < height; ++v) found |= std::uint64_t(lanes_equal(size(v), best)) << (v * lanes<T>);
        return __builtin_ctzll(found);
    }
    using Integer = typename Traits<T>::Integer;
    Bits<T> row = Bits<T>{} - iota<T>(), lowest = Bits<T>{} - Integer(height * lanes<T>);  // negative, so that the lowest row is the largest
    for (int v = 0; v < height; ++v) {
        const Bits<T> found = Bits<T>(size(v) == best);
        lowest = larger_bits(lowest, Bits<T>((row & found) | (lowest & ~found)));
        row -= Integer(lanes<T>);
    }
    return int(-spread_largest(lowest)[0]);
}

// Step k + r, the r-th of a pass that began at k: bring the column up to date, choose the row, leave l behind.
template <class T, int fixed, Wanted wanted, Pivots choice, Rounding rounding, int r>
NEURALINV_INLINE void step(Elimination<T>& e, int any_height, int k, T (*cross)[rank]) {
    const int height = fixed > 0 ? fixed : any_height;
    Vector<T>* column = e.columns + (k + r) * height;
    apply<T, fixed, rounding, 0, r, false>(column, height, e.multipliers, e.rows + k, cross);
    const int row = choice == Pivots::largest ? find_row<T, fixed>(column, height, e.closed) : k + r;
    const T pivot = reinterpret_cast<const T*>(column)[row];
    e.rows[k + r] = row;
    e.pivots[k + r] = pivot;
    static_for<0, r>([&](auto q) NEURALINV_LAMBDA {
        cross[decltype(q)::value][r] = reinterpret_cast<const T*>(e.multipliers + decltype(q)::value * height)[row];
    });
    const Vector<T> reciprocal = broadcast<T>(T(1) / pivot);
    for (int v = 0; v < height; ++v) {
        const Bits<T> chosen = Bits<T>(iota<T>() == Bits<T>{} + typename Traits<T>::Integer(row - v * lanes<T>));
        const Vector<T> l = Vector<T>(Bits<T>(column[v] * reciprocal) & ~chosen);
        e.multipliers[r * height + v] = l;
        e.closed[v] |= chosen;
        e.reciprocals[v] = Vector<T>((Bits<T>(e.reciprocals[v]) & ~chosen) | (Bits<T>(reciprocal) & chosen));
        if constexpr (wanted == Wanted::inverse)
            column[v] = Vector<T>(Bits<T>(Vector<T>{} - l) | (Bits<T>(broadcast<T>(1)) & chosen));
    }
}

// Make multipliers of one product out of those of `steps` dependent ones: with t the entries that the steps see and e those
// before the pass, t = L⁻¹ e, where L is unit lower triangular and holds `cross`; l t = (l L⁻¹) e. l: (steps, height).
template <class T, int steps>
NEURALINV_INLINE void join(Vector<T>* l, int height, const T (*cross)[rank]) {
    for (int v = 0; v < height; ++v)
        static_for<2, steps + 1>([&](auto from_end) NEURALINV_LAMBDA {
            constexpr int q = steps - decltype(from_end)::value;
            Vector<T> x = l[q * height + v];
            static_for<q + 1, steps>([&](auto s) NEURALINV_LAMBDA {
                x -= broadcast<T>(cross[q][decltype(s)::value]) * l[decltype(s)::value * height + v];
            });
            l[q * height + v] = x;
        });
}

// Steps k..k+steps-1 of `together` matrices. count: columns in all, right-hand sides included.
template <class T, int fixed, Wanted wanted, Pivots choice, Rounding rounding, int steps, int together>
inline void pass(Elimination<T>* e, int any_height, int count, int k, Ahead& ahead) {
    const int height = fixed > 0 ? fixed : any_height;
    constexpr bool joined = rounding == Rounding::fused;
    T cross[together][rank][rank];
    static_for<0, steps>([&](auto r) NEURALINV_LAMBDA {
        static_for<0, together>([&](auto m) NEURALINV_LAMBDA {
            constexpr int at = decltype(m)::value;
            step<T, fixed, wanted, choice, rounding, decltype(r)::value>(e[at], height, k, cross[at]);
        });
    });
    for (int m = 0; m < together; ++m) {
        if constexpr (fixed > 0) ahead.fetch();
        const Elimination<T> matrix = e[m];
        const int* rows = matrix.rows + k;
        Vector<T> l[fixed > 0 ? steps * fixed : 1];
        if constexpr (fixed > 0)
            for (int i = 0; i < steps * fixed; ++i) l[i] = matrix.multipliers[i];
        if constexpr (joined) join<T, steps>(fixed > 0 ? l : matrix.multipliers, height, cross[m]);
        const Vector<T>* multipliers = fixed > 0 ? l : matrix.multipliers;
        apply_pass<T, fixed, rounding, steps>(matrix.columns, height, multipliers, rows, cross[m], k + steps, count, ahead);
        if constexpr (wanted == Wanted::inverse) {
            apply_pass<T, fixed, rounding, steps>(matrix.columns, height, multipliers, rows, cross[m], 0, k, ahead);
            static_for<0, steps - 1>([&](auto r_) NEURALINV_LAMBDA {
                constexpr int r = decltype(r_)::value;
                apply<T, fixed, rounding, r + 1, steps, joined>(matrix.columns + (k + r) * height, height, multipliers, rows, cross[m]);
            });
        }
    }
}

// How often `eliminate` fetches.
template <int fixed, Wanted wanted, int together>
NEURALINV_INLINE int fetches(int n, int count) {
    const int passes = (n + rank - 1) / rank, columns = wanted == Wanted::inverse ? n : count - n / 2;
    return together * (fixed > 0 ? passes : passes * (columns / columns_together));
}

// All steps for `together` matrices.
template <class T, int fixed, Wanted wanted, Pivots choice, Rounding rounding, int together>
inline void eliminate(Elimination<T>* e, int height, int n, int count, Ahead ahead) {
    int k = 0;
    for (; k + rank <= n; k += rank) pass<T, fixed, wanted, choice, rounding, rank, together>(e, height, count, k, ahead);
    if (k + 2 <= n) {
        pass<T, fixed, wanted, choice, rounding, 2, together>(e, height, count, k, ahead);
        k += 2;
    }
    if (k < n) pass<T, fixed, wanted, choice, rounding, 1, together>(e, height, count, k, ahead);
}

}  // namespace neuralinv::NEURALINV_TARGET
