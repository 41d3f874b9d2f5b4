// Gauss–Jordan elimination with partial pivoting, a matrix in each lane, that moves no row: what columns.hpp does for one
// matrix, for as many as a vector has lanes.
//
// The lanes choose different rows. So a step keeps masks, one for each row, of the lanes that chose it: entry p of a column,
// p the row of each lane, is the union of what the masks let through. That takes one operation for each entry, where a swap
// of rows takes two (unrolled.hpp); the order is put right when the inverses are written, matrix by matrix, by permutations
// of whole lines.
//
// Lines are the rows of A here, and the columns of columns.hpp: (Aᵀ)⁻¹ = (A⁻¹)ᵀ, and pivots are the largest of a row. In the
// end, line k of what is left is line p_k of the inverse, and entry p_k of a line, divided by pivot k, is its entry k.
//
// Lines live in memory. Two steps make one pass over them: what a step needs of each row, mask and multiplier, is loaded
// once for several lines, and a line once for both steps.
#pragma once

#include "columns_direct.hpp"
#include "tiles.hpp"

namespace neuralinv::NEURALINV_TARGET {

// Numbers of rows fit into the lowest bits of a modulus.
inline constexpr int most_rows = 16;

// Steps of a pass: with more of them, bringing the lines of the steps themselves up to date would cost more than it saves.
inline constexpr int steps_by_lanes = 2;

// One step.
template <class T, int n>
struct LaneStep {
    Bits<T> chosen[n];         // all ones in the lanes that chose row i
    Vector<T> multipliers[n];  // zero there
};

// A tile under elimination.
template <class T, int n>
struct LaneElimination {
    Vector<T> lines[n * n];
    LaneStep<T, n> steps[steps_by_lanes];  // of the pass
    Vector<T> cross;        // multipliers of the first step in the rows that the second one chose
    Bits<T> open[n];        // the number of the row counted from the last possible one, −1 once it was chosen
    Vector<T> sizes[n];     // the largest modulus of each line
    Vector<T> pivots[n];
    Vector<T> reciprocals[n];
    Bits<T> rows[n];        // p by step
};

// unite: x, and of y what the mask lets through. where_equal: all ones where a = b.
#if NEURALINV_VECTOR_BYTES == 64
NEURALINV_INLINE Vector<float> unite(Vector<float> x, Vector<float> y, Bits<float> mask) {
    return Vector<float>(_mm512_ternarylogic_epi32(__m512i(x), __m512i(y), __m512i(mask), 0xf8));
}
NEURALINV_INLINE Vector<double> unite(Vector<double> x, Vector<double> y, Bits<double> mask) {
    return Vector<double>(_mm512_ternarylogic_epi64(__m512i(x), __m512i(y), __m512i(mask), 0xf8));
}
NEURALINV_INLINE Bits<float> where_equal(Bits<float> a, Bits<float> b) { return Bits<float>(_mm512_movm_epi32(equal(a, b))); }
NEURALINV_INLINE Bits<double> where_equal(Bits<double> a, Bits<double> b) { return Bits<double>(_mm512_movm_epi64(equal(a, b))); }
#else
template <class V, class M>
NEURALINV_INLINE V unite(V x, V y, M mask) {
    return V(M(x) | (M(y) & mask));
}
template <class M>
NEURALINV_INLINE M where_equal(M a, M b) {
    return M(a == b);
}
#endif

// The entry of z: (n) in the row that each lane chose.
template <class T, int n>
NEURALINV_INLINE Vector<T> chosen_entry(const Vector<T>* z, const Bits<T>* chosen) {
    Vector<T> parts[2] = {Vector<T>(Bits<T>(z[0]) & chosen[0]), Vector<T>(Bits<T>(z[1]) & chosen[1])};  // for latency
    static_for<2, n>([&](auto i_) NEURALINV_LAMBDA {
        constexpr int i = decltype(i_)::value;
        parts[i % 2] = unite(parts[i % 2], z[i], chosen[i]);
    });
    return Vector<T>(Bits<T>(parts[0]) | Bits<T>(parts[1]));
}

// One step, applied to one line.
template <class T, int n>
NEURALINV_INLINE void apply_step(const LaneStep<T, n>& step, Vector<T>* line) {
    const Vector<T> t = chosen_entry<T, n>(line, step.chosen);
    static_for<0, n>([&](auto i) NEURALINV_LAMBDA { line[decltype(i)::value] -= step.multipliers[decltype(i)::value] * t; });
}

// All steps of a pass, applied to `count` lines, the first of which is line k; line 0 follows the last one.
template <class T, int n, int steps, int count>
NEURALINV_INLINE void apply_steps(LaneElimination<T, n>& e, int k) {
    Vector<T>* lines[count];
    for (int c = 0; c < count; ++c) lines[c] = e.lines + (k + c < n ? k + c : k + c - n) * n;
    Vector<T> t[count][steps];
    static_for<0, n>([&](auto i_) NEURALINV_LAMBDA {
        constexpr int i = decltype(i_)::value;
        static_for<0, count * steps>([&](auto at) NEURALINV_LAMBDA {
            constexpr int c = decltype(at)::value / steps, s = decltype(at)::value % steps;
            const Vector<T> z = lines[c][i];
            t[c][s] = i == 0 ? Vector<T>(Bits<T>(z) & e.steps[s].chosen[i]) : unite(t[c][s], z, e.steps[s].chosen[i]);
        });
    });
    // Entries as the second step sees them.
    if constexpr (steps == 2)
        static_for<0, count>([&](auto c) NEURALINV_LAMBDA { t[decltype(c)::value][1] -= e.cross * t[decltype(c)::value][0]; });
    // The compiler would keep the lines, which are more than the registers hold.
    __asm__ volatile("" : : : "memory");
    static_for<0, n>([&](auto i_) NEURALINV_LAMBDA {
        constexpr int i = decltype(i_)::value;
        static_for<0, count>([&](auto c_) NEURALINV_LAMBDA {
            constexpr int c = decltype(c_)::value;
            Vector<T> z = lines[c][i];
            static_for<0, steps>([&](auto s) NEURALINV_LAMBDA {
                z -= e.steps[decltype(s)::value].multipliers[i] * t[c][decltype(s)::value];
            });
            lines[c][i] = z;
        });
    });
}

// The same for all lines but k..k+steps-1, those of the steps themselves.
template <class T, int n, int steps>
NEURALINV_INLINE void apply_to_others(LaneElimination<T, n>& e, int k) {
    constexpr int others = n - steps, left = others % columns_together;
    int at = k + steps;  // the next pivots' lines first
    for (int group = 0; group < others / columns_together; ++group, at += columns_together)
        apply_steps<T, n, steps, columns_together>(e, at < n ? at : at - n);
    if constexpr (left > 0) apply_steps<T, n, steps, left>(e, at < n ? at : at - n);
}

// Choose the row of step k, the r-th of its pass, from its line, brought up to date; leave masks and multipliers, and what
// the line becomes: −l, and 1 in the row itself.
template <class T, int n>
NEURALINV_INLINE void choose_rows(LaneElimination<T, n>& e, int k, int r, Vector<T>* line) {
    using Integer = typename Traits<T>::Integer;
    constexpr Integer numbers = most_rows - 1;
    LaneStep<T, n>& step = e.steps[r];
    // Moduli with the number of the row in the lowest bits: no two are equal. NaN is larger than any number.
    const Bits<T> modulus = Bits<T>{} + Integer(~(Integer(1) << (8 * sizeof(T) - 1)) & ~numbers);
    Bits<T> keys[n], best[n];
    static_for<0, n>([&](auto i) NEURALINV_LAMBDA {
        keys[decltype(i)::value] = best[decltype(i)::value] = (Bits<T>(line[decltype(i)::value]) & modulus) | e.open[decltype(i)::value];
    });
    static_for<0, 4>([&](auto level) NEURALINV_LAMBDA {
        constexpr int distance = 1 << decltype(level)::value;
        static_for<0, n>([&](auto i_) NEURALINV_LAMBDA {
            constexpr int i = decltype(i_)::value;
            if constexpr (i % (2 * distance) == 0 && i + distance < n) best[i] = larger_bits(best[i], best[i + distance]);
        });
    });
    e.rows[k] = numbers - (best[0] & numbers);
    static_for<0, n>([&](auto i_) NEURALINV_LAMBDA {
        constexpr int i = decltype(i_)::value;
        step.chosen[i] = where_equal(keys[i], best[0]);
        e.open[i] |= step.chosen[i];
    });
    e.pivots[k] = chosen_entry<T, n>(line, step.chosen);
    const Vector<T> reciprocal = e.reciprocals[k] = broadcast<T>(1) / e.pivots[k];
    static_for<0, n>([&](auto i_) NEURALINV_LAMBDA {
        constexpr int i = decltype(i_)::value;
        const Vector<T> l = Vector<T>(Bits<T>(line[i] * reciprocal) & ~step.chosen[i]);
        step.multipliers[i] = l;
        line[i] = Vector<T>(Bits<T>(Vector<T>{} - l) | (Bits<T>(broadcast<T>(1)) & step.chosen[i]));
    });
}

// Steps k..k+steps-1.
template <class T, int n, int steps>
NEURALINV_INLINE void pass_by_lanes(LaneElimination<T, n>& e, int k) {
    Vector<T>* const first = e.lines + k * n;
    choose_rows<T, n>(e, k, 0, first);
    if constexpr (steps == 2) {
        apply_step<T, n>(e.steps[0], first + n);
        choose_rows<T, n>(e, k + 1, 1, first + n);
        e.cross = chosen_entry<T, n>(e.steps[0].multipliers, e.steps[1].chosen);
        apply_step<T, n>(e.steps[1], first);
    }
    apply_to_others<T, n, steps>(e, k);
}

// Eliminate the lines of a tile. False: in some lane a pivot cannot be used, as `usable` of columns_range.hpp has it.
template <class T, int n>
NEURALINV_INLINE bool eliminate_by_lanes(LaneElimination<T, n>& e, Ahead ahead) {
    static_assert(n <= most_rows);
    static_for<0, n>([&](auto i) NEURALINV_LAMBDA { e.open[decltype(i)::value] = broadcast_mask<T>(most_rows - 1 - decltype(i)::value); });
    for (int k = 0; k < n; ++k) {
        Bits<T> largest{};
        static_for<0, n>([&](auto i) NEURALINV_LAMBDA {
            largest = larger_bits(largest, Bits<T>(absolute<T>(e.lines[k * n + decltype(i)::value])));
        });
        e.sizes[k] = Vector<T>(largest);
    }
    int k = 0;
    for (; k + steps_by_lanes <= n; k += steps_by_lanes) {
        ahead.fetch();
        pass_by_lanes<T, n, steps_by_lanes>(e, k);
    }
    if constexpr (n % steps_by_lanes > 0) pass_by_lanes<T, n, n % steps_by_lanes>(e, k);
    Condition<T> fine = Condition<T>(~Condition<T>{});
    const Vector<T> small = broadcast<T>(rounding_errors<T>(n)), most = broadcast<T>(largest_summand<T>);
    const Vector<T> least = broadcast<T>(Traits<T>::smallest_normal), limit = broadcast<T>(1 / Traits<T>::smallest_normal);
    for (int s = 0; s < n; ++s) {
        const Vector<T> size = absolute<T>(e.pivots[s]);
        fine = Condition<T>(fine & greater(size, e.sizes[s] * small) & ~greater(least, size) & ~greater(size, limit) &
                            ~greater(e.sizes[s], most));
    }
    return all<T>(fine);
}

}  // namespace neuralinv::NEURALINV_TARGET
