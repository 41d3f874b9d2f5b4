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
    int failed;             // the first step, from 1, that found no row to choose, or 0
};

// 0, 1, 2, … by lane.
template <class T>
NEURALINV_INLINE Bits<T> iota() {
    Bits<T> x{};
    static_for<0, lanes<T>>([&](auto i) NEURALINV_LAMBDA { x[decltype(i)::value] = decltype(i)::value; });
    return x;
}

// Steps first..last-1 of the pass, applied to one column. l: (last, height), rows: p of the pass,
// cross[q][s]: entry p_s of l_q.
template <class T, int fixed, Rounding rounding, int first, int last>
NEURALINV_INLINE void apply(Vector<T>* column, int any_height, const Vector<T>* l, const int* rows,
                            const T (*cross)[rank]) {
    const int height = fixed > 0 ? fixed : any_height;
    const T* entries = reinterpret_cast<const T*>(column);
    Vector<T> t[last];
    static_for<first, last>([&](auto s_) NEURALINV_LAMBDA {
        constexpr int s = decltype(s_)::value;
        Vector<T> x = broadcast<T>(entries[rows[s]]);
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

// Lowest row with the largest modulus among those not closed, or -1 if none of them holds a number.
template <class T, int fixed>
NEURALINV_INLINE int find_row(const Vector<T>* column, int any_height, const Bits<T>* closed) {
    const int height = fixed > 0 ? fixed : any_height;
    // All ones are not a number, which is neither larger than anything nor equal to it.
    const auto size = [&](int v) NEURALINV_LAMBDA { return Vector<T>(Bits<T>(absolute<T>(column[v])) | closed[v]); };
    Vector<T> best = broadcast<T>(-1);
    for (int v = 0; v < height; ++v) best = larger(size(v), best);
    best = spread_largest(best);
    if constexpr (fixed > 0 && fixed * lanes<T> <= 64) {
        std::uint64_t found = 0;
        for (int v = 0; v < height; ++v) found |= std::uint64_t(lanes_equal(size(v), best)) << (v * lanes<T>);
        return found ? __builtin_ctzll(found) : -1;
    } else {
        for (int v = 0; v < height; ++v)
            if (const unsigned found = lanes_equal(size(v), best)) return v * lanes<T> + __builtin_ctz(found);
        return -1;
    }
}

// Step k + r, the r-th of a pass that began at k: bring the column up to date, choose the row, leave l behind.
template <class T, int fixed, Wanted wanted, Pivots choice, Rounding rounding, int r>
NEURALINV_INLINE void step(Elimination<T>& e, int any_height, int k, T (*cross)[rank]) {
    const int height = fixed > 0 ? fixed : any_height;
    Vector<T>* column = e.columns + (k + r) * height;
    apply<T, fixed, rounding, 0, r>(column, height, e.multipliers, e.rows + k, cross);
    int row = choice == Pivots::largest ? find_row<T, fixed>(column, height, e.closed) : k + r;
    if (choice == Pivots::largest && row < 0) row = 0, e.failed = e.failed ? e.failed : k + r + 1;  // nothing will come of it: any row will do
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

// Steps k..k+steps-1 of `together` matrices. count: columns in all, right-hand sides included.
template <class T, int fixed, Wanted wanted, Pivots choice, Rounding rounding, int steps, int together>
inline void pass(Elimination<T>* e, int any_height, int count, int k) {
    const int height = fixed > 0 ? fixed : any_height;
    T cross[together][rank][rank];
    static_for<0, steps>([&](auto r) NEURALINV_LAMBDA {
        static_for<0, together>([&](auto m) NEURALINV_LAMBDA {
            constexpr int at = decltype(m)::value;
            step<T, fixed, wanted, choice, rounding, decltype(r)::value>(e[at], height, k, cross[at]);
        });
    });
    for (int m = 0; m < together; ++m) {
        const Elimination<T> matrix = e[m];
        const int* rows = matrix.rows + k;
        Vector<T> l[fixed > 0 ? steps * fixed : 1];
        if constexpr (fixed > 0)
            for (int i = 0; i < steps * fixed; ++i) l[i] = matrix.multipliers[i];
        const Vector<T>* multipliers = fixed > 0 ? l : matrix.multipliers;
        for (int j = k + steps; j < count; ++j)
            apply<T, fixed, rounding, 0, steps>(matrix.columns + j * height, height, multipliers, rows, cross[m]);
        if constexpr (wanted == Wanted::inverse) {
            for (int j = 0; j < k; ++j)
                apply<T, fixed, rounding, 0, steps>(matrix.columns + j * height, height, multipliers, rows, cross[m]);
            static_for<0, steps - 1>([&](auto r_) NEURALINV_LAMBDA {
                constexpr int r = decltype(r_)::value;
                apply<T, fixed, rounding, r + 1, steps>(matrix.columns + (k + r) * height, height, multipliers, rows, cross[m]);
            });
        }
    }
}

// All steps for `together` matrices.
template <class T, int fixed, Wanted wanted, Pivots choice, Rounding rounding, int together>
inline void eliminate(Elimination<T>* e, int height, int n, int count) {
    int k = 0;
    for (; k + rank <= n; k += rank) pass<T, fixed, wanted, choice, rounding, rank, together>(e, height, count, k);
    switch (n - k) {
        case 3: return pass<T, fixed, wanted, choice, rounding, 3, together>(e, height, count, k);
        case 2: return pass<T, fixed, wanted, choice, rounding, 2, together>(e, height, count, k);
        case 1: return pass<T, fixed, wanted, choice, rounding, 1, together>(e, height, count, k);
    }
}

}  // namespace neuralinv::NEURALINV_TARGET
