// Inverses of many small matrices of known size: Gauss–Jordan elimination in place with partial pivoting, a matrix in each
// lane, without loops.
//
// Step k takes, of rows k.. of column k, the entry of largest modulus as pivot p and swaps its row into row k. Then, with
// l(i) = a(i,k) / p, every other row loses l(i) times row k, and in place of the column that became a unit vector stands
// that column of the inverse: −l(i), and 1/p in row k. What rows k.. see is LU with partial pivoting. Swapped rows of A are
// swapped columns of the inverse, undone in the end. The lanes choose different rows: a swap is a select in every lane.
//
// Two steps at a time, then column by column through both, so that what does not fit into the registers is loaded and
// stored half as often. Where rows below k meet columns right of k, products are rounded before they are subtracted:
// these operations are LAPACK's getf2, and a pivot is zero exactly where it is zero there. With fused operations
// [[3, 6], [1, 2]] would have an inverse. Everywhere else products and sums are fused.
//
// The kernels multiply by 1/p. Where 1/p over- or underflows, or p is zero or not a number, single.hpp computes the tile's
// matrices again, bit by bit the same: it divides, and alone knows failure.
#pragma once

#include "prefetch.hpp"

namespace neuralinv::NEURALINV_TARGET {

// One step of the elimination, k, as every column j ≠ k undergoes it.
template <class T, int n, int k>
struct Step {
    Mask<T> row;            // row − k of the pivot
    Condition<T> take[n];   // take[i]: the pivot lies in row i > k
    Vector<T> l[n];         // multipliers of the rows i ≠ k
    Vector<T> reciprocal;   // of the pivot

    // Find the first entry of largest modulus in rows k.. of x: (n), column k.
    NEURALINV_INLINE void choose(const Vector<T>* x) {
        if constexpr (k + 1 < n) {
            Vector<T> best = absolute<T>(x[k]);
            row = Mask<T>{};
            static_for<k + 1, n>([&](auto i_) NEURALINV_LAMBDA {
                constexpr int i = decltype(i_)::value;
                const Vector<T> size = absolute<T>(x[i]);
                const Condition<T> more = greater(size, best);
                best = larger(size, best);
                row = Mask<T>(select(more, Vector<T>(broadcast_mask<T>(i - k)), Vector<T>(row)));
            });
            static_for<k + 1, n>([&](auto i_) NEURALINV_LAMBDA {
                constexpr int i = decltype(i_)::value;
                take[i] = equal(row, broadcast_mask<T>(i - k));
            });
        }
    }

    // Swap row k of x: (n), any column, with the pivot's.
    NEURALINV_INLINE void exchange(Vector<T>* x) const {
        const Vector<T> first = x[k];
        Vector<T> chosen = first;
        static_for<k + 1, n>([&](auto i_) NEURALINV_LAMBDA {
            constexpr int i = decltype(i_)::value;
            const Vector<T> other = x[i];
            chosen = select(take[i], other, chosen);
            x[i] = select(take[i], first, other);
        });
        x[k] = chosen;
    }

    // x: (n), column k itself. Choose the pivot, keep the multipliers, and leave column k of the inverse so far.
    NEURALINV_INLINE void begin(Vector<T>* x) {
        choose(x);
        exchange(x);
        reciprocal = broadcast<T>(1) / x[k];
        static_for<0, n>([&](auto i_) NEURALINV_LAMBDA {
            constexpr int i = decltype(i_)::value;
            if constexpr (i != k) {
                l[i] = rounded(x[i] * reciprocal);
                x[i] = -l[i];
            }
        });
        x[k] = reciprocal;
    }

    // x: (n), column j ≠ k.
    template <int j>
    NEURALINV_INLINE void apply(Vector<T>* x) const {
        exchange(x);
        const Vector<T> p = x[k];
        static_for<0, n>([&](auto i_) NEURALINV_LAMBDA {
            constexpr int i = decltype(i_)::value;
            if constexpr (i > k && j > k) x[i] = x[i] - rounded(l[i] * p);
            else if constexpr (i != k) x[i] = x[i] - l[i] * p;
        });
        x[k] = rounded(p * reciprocal);
    }
};

// The reciprocals of the pivots met so far, by modulus. NaN may vanish here, but not from the last pivot: whatever is
// computed with it is NaN.
template <class T>
struct Range {
    Vector<T> least = broadcast<T>(1), most = broadcast<T>(1);

    NEURALINV_INLINE void include(Vector<T> reciprocal) {
        const Vector<T> size = absolute<T>(reciprocal);
        least = Vector<T>(smaller(least, size));
        most = Vector<T>(larger(most, size));
    }

    // All are normal numbers, and their reciprocals, too.
    NEURALINV_INLINE bool is_safe() const {
        constexpr T smallest = Traits<T>::smallest_normal;
        return all<T>(greater(least, broadcast<T>(smallest))) && all<T>(greater(broadcast<T>(T(1) / smallest), most));
    }
};

template <class T, int n, int j>
NEURALINV_INLINE void load_column(const Vector<T>* a, Vector<T>* x) {
    static_for<0, n>([&](auto i) NEURALINV_LAMBDA { x[decltype(i)::value] = a[decltype(i)::value * n + j]; });
}

template <class T, int n, int j>
NEURALINV_INLINE void store_column(const Vector<T>* x, Vector<T>* a) {
    static_for<0, n>([&](auto i) NEURALINV_LAMBDA { a[decltype(i)::value * n + j] = x[decltype(i)::value]; });
}

// Swapped rows of A are swapped columns of the inverse: swap them back, last step first. a: (n·n); pivot_row: (n), row − k.
template <class T, int n>
NEURALINV_INLINE void restore_columns_unrolled(Vector<T>* a, const Mask<T>* pivot_row) {
    static_for<1, n>([&](auto step_) NEURALINV_LAMBDA {
        constexpr int k = n - 1 - decltype(step_)::value;
        Condition<T> take[n];
        static_for<k + 1, n>([&](auto j) NEURALINV_LAMBDA {
            take[decltype(j)::value] = equal(pivot_row[k], broadcast_mask<T>(decltype(j)::value - k));
        });
        static_for<0, n>([&](auto i_) NEURALINV_LAMBDA {
            constexpr int i = decltype(i_)::value;
            const Vector<T> first = a[i * n + k];
            Vector<T> chosen = first;
            static_for<k + 1, n>([&](auto j_) NEURALINV_LAMBDA {
                constexpr int j = decltype(j_)::value;
                const Vector<T> other = a[i * n + j];
                chosen = select(take[j], other, chosen);
                a[i * n + j] = select(take[j], first, other);
            });
            a[i * n + k] = chosen;
        });
    });
}

// a: (n·n) vectors, matrices in lanes, replaced by their inverses. False: some pivot has a reciprocal out of range, and
// what is in `a` is of no use.
template <class T, int n, class Prefetch>
NEURALINV_INLINE bool invert_unrolled(Vector<T>* a, Prefetch ahead) {
    Mask<T> pivot_row[n];
    Range<T> range;
    static_for<0, (n + 1) / 2>([&](auto pair) NEURALINV_LAMBDA {
        constexpr int k = 2 * decltype(pair)::value;
        ahead.fetch();
        Vector<T> x[n];
        Step<T, n, k> first;
        load_column<T, n, k>(a, x);
        first.begin(x);
        range.include(first.reciprocal);
        if constexpr (k + 1 < n) {
            Vector<T> y[n];
            Step<T, n, k + 1> second;
            load_column<T, n, k + 1>(a, y);
            first.template apply<k + 1>(y);
            second.begin(y);
            range.include(second.reciprocal);
            second.template apply<k>(x);
            store_column<T, n, k>(x, a);
            store_column<T, n, k + 1>(y, a);
            pivot_row[k] = first.row;
            pivot_row[k + 1] = second.row;
            static_for<2, n>([&](auto distance) NEURALINV_LAMBDA {  // the next pivots' columns first
                constexpr int j = (k + decltype(distance)::value) % n;
                Vector<T> z[n];
                load_column<T, n, j>(a, z);
                first.template apply<j>(z);
                second.template apply<j>(z);
                store_column<T, n, j>(z, a);
            });
        } else {  // n is odd: the last step has nothing to choose
            store_column<T, n, k>(x, a);
            static_for<0, k>([&](auto j_) NEURALINV_LAMBDA {
                constexpr int j = decltype(j_)::value;
                Vector<T> z[n];
                load_column<T, n, j>(a, z);
                first.template apply<j>(z);
                store_column<T, n, j>(z, a);
            });
        }
    });
    if (__builtin_expect(!range.is_safe(), 0)) return false;
    restore_columns_unrolled<T, n>(a, pivot_row);
    return true;
}

}  // namespace neuralinv::NEURALINV_TARGET
