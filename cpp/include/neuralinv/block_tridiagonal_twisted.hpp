// The system M x = b and its gradients from both ends of a sequence at once, for two threads: the twisted factorisation
// (van der Vorst 1987, doi:10.1016/0377-0427(87)90034-8, "burn at both ends").
//
// One end eliminates steps 0, 1, … up to a middle step m, the other, in the opposite order, steps T − 1, T − 2, …; the
// middle block loses what both put into it. That is the Cholesky factorisation of M with its steps in another order, as
// stable as any: L_t at every step, and C_t between steps t and t + 1, of the end that they belong to. Everything that
// follows starts from the middle, where (M⁻¹)_mm = (L_m L_mᵀ)⁻¹, and goes outwards, again at both ends at once.
//
// The calls of each pass, the first and the last of them for both ends in parallel:
//     factor_end, solve_middle, finish_end           begin_rev_end, solve_middle_rev, finish_rev_end
#pragma once

#include "block_tridiagonal_system.hpp"
#include "block_tridiagonal_ends.hpp"

namespace neuralinv::NEURALINV_TARGET::twisted {

// The steps of one end, counted from that end on.
struct End {
    std::int64_t steps;  // of the sequence
    bool mirrored;       // the last one

    NEURALINV_INLINE std::int64_t count() const { return mirrored ? steps - 1 - middle_step(steps) : middle_step(steps); }
    // Which step of the sequence is this; at(count()) is the middle.
    NEURALINV_INLINE std::int64_t at(std::int64_t s) const { return mirrored ? steps - 1 - s : s; }
    // Which block below the diagonal stands between steps s and s + 1.
    NEURALINV_INLINE std::int64_t below(std::int64_t s) const { return mirrored ? steps - 2 - s : s; }
};

// x = L⁻¹ (b − C x_before) for all steps of an end but the middle.
template <class Size, class T>
NEURALINV_INLINE void solve_inwards(Size size, End end, std::int64_t s, std::int64_t k, const T* L, const T* C,
                                    const T* b, T* x) {
    const std::int64_t rhs = size.n() * k;
    solve_step(size, k, false, L + end.at(s) * size.block(), s == 0 ? nullptr : C + end.below(s - 1) * size.block(),
               b + end.at(s) * rhs, x + end.at(s - 1) * rhs, x + end.at(s) * rhs);
}

// x = L⁻ᵀ (x − Cᵀ x_after).
template <class Size, class T>
NEURALINV_INLINE void solve_outwards(Size size, End end, std::int64_t s, std::int64_t k, const T* L, const T* C,
                                     T* x) {
    const std::int64_t rhs = size.n() * k;
    T* const here = x + end.at(s) * rhs;
    solve_step(size, k, true, L + end.at(s) * size.block(), C + end.below(s) * size.block(), here, x + end.at(s + 1) * rhs,
               here);
}

// The middle step of both solves, after both ends have come there. rest: n k entries.
template <class Size, class T>
NEURALINV_INLINE void solve_middle_step(Size size, std::int64_t steps, std::int64_t k, const T* L, const T* C, const T* b,
                                        T* x, T* rest) {
    const std::int64_t m = middle_step(steps), rhs = size.n() * k, n = size.n();
    const T* const c = C + m * size.block();  // of the mirrored end
    const T* const after = x + (m + 1) * rhs;
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t r = 0; r < k; ++r) {
            T value = b[m * rhs + i * k + r];
            for (std::int64_t j = 0; j < n; ++j) value -= c[i * n + j] * after[j * k + r];
            rest[i * k + r] = value;
        }
    const T* const l = L + m * size.block();
    T* const here = x + m * rhs;
    solve_step(size, k, false, l, c - size.block(), rest, here - rhs, here);
    solve_step(size, k, true, l, static_cast<const T*>(nullptr), here, here, here);
}

// Returns 0 or, if there is any trouble, something else: who wants to know factors from one end.
template <class Size, class T>
inline std::int64_t factor_end(Size size, bool mirrored, const TwistedSystem<T>& system, T* scratch) {
    const End end{system.steps, mirrored};
    Factorization<Size, T> factors(size, scratch);
    for (std::int64_t s = 0; s < end.count(); ++s) {
        const std::int64_t at = end.at(s) * size.block(), below = end.below(s) * size.block();
        load_columns(size, system.D + at, factors.l);
        if (s > 0) factors.subtract(factors.c);
        const std::int64_t status =
            factors.template eliminate<false>(mirrored, system.B + below, system.L + at, system.C + below);
        if (status != 0) return status;
        if (system.k > 0) solve_inwards(size, end, s, system.k, system.L, system.C, system.b, system.x);
    }
    return 0;
}

template <class Size, class T>
inline std::int64_t solve_middle(Size size, const TwistedSystem<T>& system, T* scratch) {
    const std::int64_t m = middle_step(system.steps), at = m * size.block();
    Factorization<Size, T> factors(size, scratch);
    load_columns(size, system.D + at, factors.l);
    for (int end = 0; end < 2; ++end) {
        load_columns(size, system.C + at - (1 - end) * size.block(), factors.c);
        factors.subtract(factors.c);
    }
    const std::int64_t status = factors.template eliminate<false>(false, nullptr, system.L + at, nullptr);
    if (status != 0) return status;
    if (system.k > 0)
        solve_middle_step(size, system.steps, system.k, system.L, system.C, system.b, system.x,
                          scratch + scratch_entries(size));
    return 0;
}

template <class Size, class T>
inline void finish_end(Size size, bool mirrored, const TwistedSystem<T>& system) {
    const End end{system.steps, mirrored};
    for (std::int64_t s = end.count() - 1; s >= 0; --s) solve_outwards(size, end, s, system.k, system.L, system.C, system.x);
}

template <class Size, class T>
inline void begin_rev_end(Size size, bool mirrored, const TwistedGradient<T>& g) {
    const End end{g.steps, mirrored};
    for (std::int64_t s = 0; s < end.count(); ++s) solve_inwards(size, end, s, g.k, g.L, g.C, g.x_bar, g.b_bar);
}

template <class Size, class T>
inline void solve_middle_rev(Size size, const TwistedGradient<T>& g, T* scratch) {
    solve_middle_step(size, g.steps, g.k, g.L, g.C, g.x_bar, g.b_bar, scratch + scratch_entries(size));
}

template <class Size, class T>
inline void finish_rev_end(Size size, bool mirrored, const TwistedGradient<T>& g, T* scratch) {
    const End end{g.steps, mirrored};
    const std::int64_t rhs = size.n() * g.k;
    SystemGradient<Size, T> gradients(size, g.k, g.log_bar, scratch);
    for (std::int64_t s = end.count(); s >= 0; --s) {
        const bool middle = s == end.count();
        const std::int64_t at = end.at(s) * size.block(), below = end.below(s) * size.block();
        if (!middle && g.k > 0) solve_outwards(size, end, s, g.k, g.L, g.C, g.b_bar);
        if (g.D_bar)  // that of the middle is for one of the ends
            gradients.step(mirrored, g.L + at, middle ? nullptr : g.C + below, g.b_bar + end.at(s) * rhs,
                           g.x + end.at(s) * rhs, middle && mirrored ? nullptr : g.D_bar + at,
                           middle ? nullptr : g.B_bar + below);
    }
}

}  // namespace neuralinv::NEURALINV_TARGET::twisted
