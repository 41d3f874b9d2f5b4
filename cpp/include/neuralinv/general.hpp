// Batches of general matrices, real or complex: solutions, inverses and determinants by lu.hpp.
//
// Where a pivot is extreme or perhaps zero, the tile is computed again in careful arithmetic, which alone knows failure.
#pragma once

#include "entries.hpp"
#include "logarithm.hpp"
#include "lu.hpp"
#include "panels.hpp"
#include "prefetch.hpp"

namespace neuralinv::NEURALINV_TARGET {

// Sizes up to this one are unrolled completely. A complex number takes two registers.
template <class S>
inline constexpr int largest_unrolled_lu = !unrolls_factors ? 0 : Field<S>::parts == 1 ? 6 : 4;

// A tile once it has been factored: L and U in a.
template <class S, int room>
struct Factors {
    Lane<S> a[room * room];
    Pivot<S> pivot[room];
    LaneMask<S> pivot_row[room];
};

// Load a tile and factor it. Returns where the factors can be used.
template <class S, class N>
NEURALINV_INLINE LaneMask<S> load_and_eliminate_inline(Rows<const S> from, N n, Factors<S, lu_room<N>>& factors, Ahead& ahead) {
    Vector<RealOf<S>> scale[lu_room<N>];
    load_entries<S>(from, n * n, factors.a);
    column_scales<S>(factors.a, n, scale);
    factor_general<S, false>(factors.a, n, factors.pivot, factors.pivot_row, ahead);
    return safe_pivots<S>(scale, factors.pivot, n);
}

// One copy for all callers where the tile lies in memory anyway.
template <class S, class N>
__attribute__((noinline)) LaneMask<S> load_and_eliminate_shared(Rows<const S> from, N n,
                                                                Factors<S, lu_room<N>>& factors, Ahead& ahead) {
    return load_and_eliminate_inline<S>(from, n, factors, ahead);
}

template <class S, class N>
NEURALINV_INLINE LaneMask<S> load_and_eliminate(Rows<const S> from, N n, Factors<S, lu_room<N>>& factors, Ahead ahead) {
    if constexpr (is_fixed<N>)
        return load_and_eliminate_inline<S>(from, n, factors, ahead);
    else
        return load_and_eliminate_shared<S>(from, n, factors, ahead);
}

// The careful counterpart. Returns LAPACK's info.
template <class S>
__attribute__((noinline, cold)) LaneMask<S> eliminate_carefully(Rows<const S> from, int n,
                                                                Factors<S, largest_lu>& factors) {
    NothingAhead nothing;
    load_entries<S>(from, n * n, factors.a);
    factor_general<S, true>(factors.a, n, factors.pivot, factors.pivot_row, nothing);
    return first_zero_pivot<S>(factors.pivot, n);
}

// ---- solutions -----------------------------------------------------------------------------------------------------

template <class S, bool careful>
__attribute__((noinline)) void solve_general_panels(const Lane<S>* a, int n, const Pivot<S>* pivot,
                                                    const LaneMask<S>* pivot_row, LaneMask<S> failed,
                                                    const RightSides<S>& B, std::int64_t begin, int count, S* X) {
    solve_panels<S, largest_lu>(n, B, begin, count, X, [&](Lane<S>* b, auto width) NEURALINV_LAMBDA {
        solve_general<S, careful, decltype(width)::value>(a, n, pivot, pivot_row, b);
        if (careful) spoil<S>(failed, n * width, b);
    });
}

template <class S>
__attribute__((noinline, cold)) void solve_carefully(Rows<const S> from, int n, const RightSides<S>& B,
                                                     std::int64_t begin, int count, S* X, Status* status) {
    Factors<S, largest_lu> factors;
    const LaneMask<S> info = eliminate_carefully<S>(from, n, factors);
    solve_general_panels<S, true>(factors.a, n, factors.pivot, factors.pivot_row, LaneMask<S>(info != LaneMask<S>{}), B,
                                  begin, count, X);
    store_status<S>(info, status);
}

// single: one right-hand side, which for a Fixed n stays in registers.
template <class S, bool single, class N>
inline FirstFailure solve_sized(N n, const MatrixBatch<S>& A, const RightSides<S>& B, std::int64_t begin,
                                std::int64_t end, S* X, Status* info) {
    const Block<const S> matrices = block_of(A);
    return for_each_tile<S>(begin, end, info, [&](std::int64_t b, int count, Status* status) NEURALINV_LAMBDA {
        constexpr int room = lu_room<N>;
        S in[room * room * tile<S>];
        Factors<S, room> factors;
        const Rows<const S> from = source_rows<S>(matrices, b, count, in);
        const bool careful = any<RealOf<S>>(~load_and_eliminate<S>(from, n, factors, look_ahead(A, B, b, tile<S>, n)));
        if (__builtin_expect(careful, 0)) {
            solve_carefully<S>(from, n, B, b, count, X, status);
        } else if constexpr (single) {
            solve_panel<S, 1, room>(n, B, 0, b, count, X, [&](Lane<S>* x) NEURALINV_LAMBDA {
                solve_general<S, false, 1>(factors.a, n, factors.pivot, factors.pivot_row, x);
            });
        } else {
            solve_general_panels<S, false>(factors.a, n, factors.pivot, factors.pivot_row, LaneMask<S>{}, B, b, count,
                                           X);
        }
        return careful;
    });
}

// Solutions of A X = B for matrices [begin, end) of A, 1 ≤ A.n ≤ largest_lu.
//
// X: (count, n, k), row by row without gaps. info: (count) or null; 0, or k ≥ 1 where pivot k is the first that is zero.
template <class S>
inline FirstFailure solve_range(const MatrixBatch<S>& A, const RightSides<S>& B, std::int64_t begin, std::int64_t end,
                                S* X, Status* info) {
    if (B.columns == 1)
        return with_size<largest_unrolled_lu<S>>(A.n, [&](auto n) { return solve_sized<S, true>(n, A, B, begin, end, X, info); });
    return solve_sized<S, false>(int(A.n), A, B, begin, end, X, info);
}

// ---- inverses ------------------------------------------------------------------------------------------------------

template <class S>
__attribute__((noinline, cold)) void invert_general_carefully(Rows<const S> from, int n, Rows<S> to, Status* status) {
    Factors<S, largest_lu> factors;
    Lane<S> x[largest_lu * largest_lu];
    const LaneMask<S> info = eliminate_carefully<S>(from, n, factors);
    invert_from_factors<S, true>(factors.a, n, factors.pivot, factors.pivot_row, x);
    spoil<S>(LaneMask<S>(info != LaneMask<S>{}), n * n, x);
    store_entries<S>(x, n * n, to);
    store_status<S>(info, status);
}

template <class S, class N>
inline FirstFailure invert_general_sized(N n, const MatrixBatch<S>& A, std::int64_t begin, std::int64_t end, S* X,
                                         Status* info) {
    const Block<const S> matrices = block_of(A);
    const Block<S> inverses{X, n, n, n * n, n, 1};
    return for_each_tile<S>(begin, end, info, [&](std::int64_t b, int count, Status* status) NEURALINV_LAMBDA {
        constexpr int room = lu_room<N>;
        S in[room * room * tile<S>], out[room * room * tile<S>];
        Factors<S, room> factors;
        Lane<S> x[room * room];
        const Rows<const S> from = source_rows<S>(matrices, b, count, in);
        const Rows<S> to = target_rows<S>(inverses, b, count, out);
        const bool careful = any<RealOf<S>>(~load_and_eliminate<S>(from, n, factors, look_ahead(A, b, tile<S>, X, n)));
        if (__builtin_expect(careful, 0)) {
            invert_general_carefully<S>(from, n, to, status);
        } else {
            invert_from_factors<S, false>(factors.a, n, factors.pivot, factors.pivot_row, x);
            store_entries<S>(x, n * n, to);
        }
        finish_rows<S>(inverses, b, count, out);
        return careful;
    });
}

// Inverses of matrices [begin, end) of A, sizes and info as for solve_range. X: (count, n, n), row by row without gaps.
// For complex matrices; those of real ones come from tiles.hpp.
template <class S>
inline FirstFailure invert_general_range(const MatrixBatch<S>& A, std::int64_t begin, std::int64_t end, S* X,
                                         Status* info) {
    return with_size<largest_unrolled_lu<S>>(A.n, [&](auto n) { return invert_general_sized<S>(n, A, begin, end, X, info); });
}

// ---- determinants --------------------------------------------------------------------------------------------------

template <class S>
struct LaneDeterminants {
    Lane<S> sign;
    Vector<RealOf<S>> logabsdet;
};

template <class S, class N>
NEURALINV_INLINE LaneDeterminants<S> multiply_pivots(const Pivot<S>* pivot, const LaneMask<S>* pivot_row, N n) {
    using F = Field<S>;
    Product<S> product;
    loop(zero, n, [&](auto k) NEURALINV_LAMBDA {
        const Lane<S> p = pivot[k].value;
        product.multiply(F::choose(LaneMask<S>(pivot_row[k] != LaneMask<S>{}), F::negative(p), p));
    });
    return {product.sign(), product.log_modulus()};
}

template <class S>
__attribute__((noinline, cold)) LaneDeterminants<S> determinants_carefully(Rows<const S> from, int n) {
    using T = RealOf<S>;
    Factors<S, largest_lu> factors;
    const Mask<T> singular = Mask<T>(eliminate_carefully<S>(from, n, factors) != Mask<T>{});
    const LaneDeterminants<S> found = multiply_pivots<S>(factors.pivot, factors.pivot_row, n);
    return {Field<S>::choose(singular, Field<S>::constant(0), found.sign),
            select<T>(singular, broadcast<T>(-T(__builtin_inff())), found.logabsdet)};
}

template <class S, class N>
inline void slogdet_sized(N n, const MatrixBatch<S>& A, std::int64_t begin, std::int64_t end, S* sign,
                          RealOf<S>* logabsdet) {
    const Block<const S> matrices = block_of(A);
    for_each_tile<S>(begin, end, nullptr, [&](std::int64_t b, int count, Status*) NEURALINV_LAMBDA {
        constexpr int room = lu_room<N>;
        S in[room * room * tile<S>];
        Factors<S, room> factors;
        const Rows<const S> from = source_rows<S>(matrices, b, count, in);
        const bool careful = any<RealOf<S>>(~load_and_eliminate<S>(from, n, factors, look_ahead(A, b, tile<S>, n)));
        const LaneDeterminants<S> found = __builtin_expect(careful, 0)
                                              ? determinants_carefully<S>(from, n)
                                              : multiply_pivots<S>(factors.pivot, factors.pivot_row, n);
        S signs[tile<S>];
        store_entries<S>(&found.sign, one, Rows<S>{signs, 1});
        for (int i = 0; i < count; ++i) {
            sign[b + i] = signs[i];
            logabsdet[b + i] = found.logabsdet[i];
        }
        return false;
    });
}

// sign, logabsdet: (count). 0 and −∞ where a pivot is exactly zero, as NumPy has it. Sizes as for solve_range.
template <class S>
inline void slogdet_range(const MatrixBatch<S>& A, std::int64_t begin, std::int64_t end, S* sign,
                          RealOf<S>* logabsdet) {
    with_size<largest_unrolled_lu<S>>(A.n, [&](auto n) { return slogdet_sized<S>(n, A, begin, end, sign, logabsdet); });
}

}  // namespace neuralinv::NEURALINV_TARGET
