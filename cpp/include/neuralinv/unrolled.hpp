#pragma once

#include "batch.hpp"
#include "simd.hpp"

namespace neuralinv::NEURALINV_TARGET {

// One step of the elimination, k, as every column j ≠ k undergoes it.
template <class T, int n, int k>
struct Step {
    Mask<T> row;               // row − k of the pivot
    Condition<T> take[n];      // take[r]: the pivot lies in row r > k
    Vector<T> l[n];            // multipliers of the rows i ≠ k
    Vector<T> reciprocal;      // of the pivot

    // x: (n) a column, `stride` vectors between rows.
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

    // Column k itself: choose the pivot, keep the multipliers, and leave column k of the inverse so far.
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

template <class T, int n>
NEURALINV_INLINE bool invert_unrolled(Vector<T>* a) {
    Mask<T> pivot_row[n];
    Vector<T> lo = broadcast<T>(1), hi = broadcast<T>(1);
    const auto load = [&](auto j_, Vector<T>* x) NEURALINV_LAMBDA {
        constexpr int j = decltype(j_)::value;
        static_for<0, n>([&](auto i_) NEURALINV_LAMBDA {
            constexpr int i = decltype(i_)::value;
            x[i] = a[i * n + j];
        });
    };
    const auto store = [&](auto j_, const Vector<T>* x) NEURALINV_LAMBDA {
        constexpr int j = decltype(j_)::value;
        static_for<0, n>([&](auto i_) NEURALINV_LAMBDA {
            constexpr int i = decltype(i_)::value;
            a[i * n + j] = x[i];
        });
    };
    const auto note = [&](Vector<T> r) NEURALINV_LAMBDA {
        lo = smaller(lo, absolute<T>(r));
        hi = larger(hi, absolute<T>(r));
    };
    static_for<0, (n + 1) / 2>([&](auto half) NEURALINV_LAMBDA {
        constexpr int k = 2 * decltype(half)::value;
        Vector<T> x[n], y[n];
        Step<T, n, k> first;
        load(Index<k>{}, x);
        first.begin(x);
        note(first.reciprocal);
        pivot_row[k] = first.row;
        if constexpr (k + 1 < n) {
            Step<T, n, k + 1> second;
            load(Index<k + 1>{}, y);
            first.template apply<k + 1>(y);
            second.begin(y);
            note(second.reciprocal);
            pivot_row[k + 1] = second.row;
            second.template apply<k>(x);
            store(Index<k>{}, x);
            store(Index<k + 1>{}, y);
            static_for<2, n>([&](auto d) NEURALINV_LAMBDA {
                constexpr int j = (k + decltype(d)::value) % n;
                Vector<T> z[n];
                load(Index<j>{}, z);
                first.template apply<j>(z);
                second.template apply<j>(z);
                store(Index<j>{}, z);
            });
        } else {
            store(Index<k>{}, x);
            static_for<0, k>([&](auto j_) NEURALINV_LAMBDA {
                constexpr int j = decltype(j_)::value;
                Vector<T> z[n];
                load(Index<j>{}, z);
                first.template apply<j>(z);
                store(Index<j>{}, z);
            });
        }
    });
    static_for<1, n>([&](auto step_) NEURALINV_LAMBDA {
        constexpr int k = n - 1 - decltype(step_)::value;
        Condition<T> take[n];
        static_for<k + 1, n>([&](auto r_) NEURALINV_LAMBDA {
            constexpr int r = decltype(r_)::value;
            take[r] = equal(pivot_row[k], broadcast_mask<T>(r - k));
        });
        static_for<0, n>([&](auto i_) NEURALINV_LAMBDA {
            constexpr int i = decltype(i_)::value;
            Vector<T>* x = a + i * n;
            const Vector<T> first = x[k];
            Vector<T> chosen = first;
            static_for<k + 1, n>([&](auto r_) NEURALINV_LAMBDA {
                constexpr int r = decltype(r_)::value;
                const Vector<T> other = x[r];
                chosen = select(take[r], other, chosen);
                x[r] = select(take[r], first, other);
            });
            x[k] = chosen;
        });
    });
    const T smallest = Traits<T>::smallest_normal;
    return all<T>(greater(lo, broadcast<T>(smallest))) && all<T>(greater(broadcast<T>(T(1) / smallest), hi));
}

}  // namespace neuralinv::NEURALINV_TARGET
