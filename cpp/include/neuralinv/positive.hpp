// Batches of symmetric positive definite matrices: inverses, solutions and log-determinants by cholesky.hpp.
//
// Where a pivot is extreme or not certainly positive, the tile is computed again in careful arithmetic, which alone
// knows failure.
#pragma once

#include "cholesky.hpp"
#include "entries.hpp"
#include "logarithm.hpp"
#include "panels.hpp"

#include <type_traits>

namespace neuralinv::NEURALINV_TARGET {

// Sizes up to this one are unrolled completely.
inline constexpr int largest_unrolled_positive = unrolls_factors ? 6 : 0;

// Entries to make room for: n, or the largest where n is known at run time only.
template <class N>
inline constexpr int positive_room = int(largest_size);

template <int n>
inline constexpr int positive_room<Fixed<n>> = n;

// Blocks of columns of a tile.
template <class N>
NEURALINV_INLINE int block_count(N n) {
    constexpr int columns = BlocksFor<N>::type::columns;
    return n / columns + n % columns;
}

// The lower triangles of a tile, and what shares 16 bytes with them.
template <class T, class N>
NEURALINV_INLINE void load_lower(Rows<const T> from, N n, Vector<T>* a) {
    constexpr Fixed<piece<T>> size{};
    const auto entries = n * n;
    if (entries < size) {
        load_entries<T>(from, entries, a);
        return;
    }
    loop(zero, n, [&](auto i) NEURALINV_LAMBDA {
        loop(zero, (i + size) / size, [&](auto c) NEURALINV_LAMBDA {
            const int at = i * n + c * size, last = entries - size, start = at < last ? at : last;
            load_chunk<T>(from.data + start, from.stride, a + start);
        });
    });
}

// Copy the strict lower triangle to the upper one.
template <class T, class N>
NEURALINV_INLINE void mirror(N n, Vector<T>* a) {
    loop(one, n, [&](auto i) NEURALINV_LAMBDA {
        loop(zero, i, [&](auto j) NEURALINV_LAMBDA { a[j * n + i] = a[i * n + j]; });
    });
}

// Load a tile and factor it. Returns where the factors can be used.
template <class T, class N, class Prefetch>
NEURALINV_INLINE Mask<T> load_and_factor_inline(Rows<const T> from, N n, Vector<T>* a, Pivot<T>* pivot, Prefetch& ahead) {
    Vector<T> diagonal[positive_room<N>];
    load_lower<T>(from, n, a);
    loop(zero, n, [&](auto i) NEURALINV_LAMBDA { diagonal[i] = a[i * n + i]; });
    factor_positive<T, typename BlocksFor<N>::type, false>(a, n, pivot, ahead);
    return positive_safely<T>(diagonal, pivot, n);
}

// One copy for all callers where the tile lies in memory anyway.
template <class T, class N>
__attribute__((noinline)) Mask<T> load_and_factor_shared(Rows<const T> from, N n, Vector<T>* a, Pivot<T>* pivot, Ahead& ahead) {
    return load_and_factor_inline<T>(from, n, a, pivot, ahead);
}

// What is fetched meanwhile: nothing for matrices so small that it would cost more than it saves.
template <class N>
struct PositiveAhead {
    using type = Ahead;
};
template <int n>
struct PositiveAhead<Fixed<n>> {
    using type = std::conditional_t<(n < 4), NothingAhead, Ahead>;
};

template <class T, class N>
NEURALINV_INLINE Mask<T> load_and_factor(Rows<const T> from, N n, Vector<T>* a, Pivot<T>* pivot,
                                         typename PositiveAhead<N>::type& ahead) {
    if constexpr (is_fixed<N>)
        return load_and_factor_inline<T>(from, n, a, pivot, ahead);
    else
        return load_and_factor_shared<T>(from, n, a, pivot, ahead);
}

template <class T, class N>
NEURALINV_INLINE Mask<T> load_and_factor(Rows<const T> from, N n, Vector<T>* a, Pivot<T>* pivot) {
    typename PositiveAhead<N>::type nothing{};
    return load_and_factor<T>(from, n, a, pivot, nothing);
}

// The careful counterpart. Returns LAPACK's info.
template <class T>
__attribute__((noinline, cold)) Mask<T> load_and_factor_carefully(Rows<const T> from, int n, Vector<T>* a,
                                                                  Pivot<T>* pivot) {
    NothingAhead nothing;
    load_lower<T>(from, n, a);
    factor_positive<T, Unblocked, true>(a, n, pivot, nothing);
    return first_not_positive<T>(pivot, n);
}

// ---- inverses ------------------------------------------------------------------------------------------------------

template <class T>
__attribute__((noinline, cold)) void invert_positive_carefully(Rows<const T> from, int n, Rows<T> to, Status* status) {
    NothingAhead nothing;
    Vector<T> a[largest_size * largest_size];
    Pivot<T> pivot[largest_size];
    const Mask<T> info = load_and_factor_carefully<T>(from, n, a, pivot);
    invert_factored<T, Unblocked, true>(a, n, pivot, nothing);
    mirror<T>(n, a);
    spoil<T>(Mask<T>(info != Mask<T>{}), n * n, a);
    store_entries<T>(a, n * n, to);
    store_status<T>(info, status);
}

template <class T, class N>
inline FirstFailure invert_positive_sized(N n, const MatrixBatch<T>& A, std::int64_t begin, std::int64_t end, T* X,
                                          Status* info) {
    const Block<const T> matrices = block_of(A);
    const Block<T> inverses{X, n, n, n * n, n, 1};
    return for_each_tile<T>(begin, end, info, [&](std::int64_t b, int count, Status* status) NEURALINV_LAMBDA {
        constexpr int entries = positive_room<N> * positive_room<N>;
        T in[entries * tile<T>], out[entries * tile<T>];
        Vector<T> a[entries];
        Pivot<T> pivot[positive_room<N>];
        const Rows<const T> from = source_rows<T>(matrices, b, count, in);
        const Rows<T> to = target_rows<T>(inverses, b, count, out);
        typename PositiveAhead<N>::type ahead{};
        if constexpr (std::is_same_v<decltype(ahead), Ahead>) ahead = look_ahead(A, b, tile<T>, X, 2 * block_count<N>(n));
        const bool careful = any<T>(~load_and_factor<T>(from, n, a, pivot, ahead));
        if (__builtin_expect(careful, 0)) {
            invert_positive_carefully<T>(from, n, to, status);
        } else {
            invert_factored<T, typename BlocksFor<N>::type, false>(a, n, pivot, ahead);
            mirror<T>(n, a);
            store_entries<T>(a, n * n, to);
        }
        finish_rows<T>(inverses, b, count, out);
        return careful;
    });
}

// Inverses of matrices [begin, end) of A, 1 ≤ A.n ≤ largest_size. Only lower triangles are read.
//
// X: (count, n, n), row by row without gaps. info: (count) or null; 0, or k ≥ 1 where the k-th leading minor is the
// first that is not positive: LAPACK's potrf.
template <class T>
inline FirstFailure invert_positive_range(const MatrixBatch<T>& A, std::int64_t begin, std::int64_t end, T* X,
                                          Status* info) {
    return with_size<largest_unrolled_positive>(A.n, [&](auto n) { return invert_positive_sized<T>(n, A, begin, end, X, info); });
}

// ---- solutions -----------------------------------------------------------------------------------------------------

// From factors in memory.
template <class T, bool careful>
__attribute__((noinline)) void solve_positive_panels(const Vector<T>* a, int n, const Pivot<T>* pivot, Mask<T> failed,
                                                     const RightSides<T>& B, std::int64_t begin, int count, T* X) {
    solve_panels<T, largest_size>(n, B, begin, count, X, [&](Vector<T>* b, auto width) NEURALINV_LAMBDA {
        solve_factored<T, careful, decltype(width)::value>(a, n, pivot, b);
        if (careful) spoil<T>(failed, n * width, b);
    });
}

template <class T>
__attribute__((noinline, cold)) void solve_positive_carefully(Rows<const T> from, int n, const RightSides<T>& B,
                                                              std::int64_t begin, int count, T* X, Status* status) {
    Vector<T> a[largest_size * largest_size];
    Pivot<T> pivot[largest_size];
    const Mask<T> info = load_and_factor_carefully<T>(from, n, a, pivot);
    solve_positive_panels<T, true>(a, n, pivot, Mask<T>(info != Mask<T>{}), B, begin, count, X);
    store_status<T>(info, status);
}

// unrolled: for a single right-hand side, in registers.
template <class T, bool unrolled, class N>
inline FirstFailure solve_positive_sized(N n, const MatrixBatch<T>& A, const RightSides<T>& B, std::int64_t begin,
                                         std::int64_t end, T* X, Status* info) {
    const Block<const T> matrices = block_of(A);
    return for_each_tile<T>(begin, end, info, [&](std::int64_t b, int count, Status* status) NEURALINV_LAMBDA {
        constexpr int room = positive_room<N>;
        T in[room * room * tile<T>];
        Vector<T> a[room * room];
        Pivot<T> pivot[room];
        const Rows<const T> from = source_rows<T>(matrices, b, count, in);
        const bool careful = any<T>(~load_and_factor<T>(from, n, a, pivot));
        if (__builtin_expect(careful, 0)) {
            solve_positive_carefully<T>(from, n, B, b, count, X, status);
        } else if constexpr (unrolled) {
            solve_panel<T, 1, room>(n, B, 0, b, count, X, [&](Vector<T>* x) NEURALINV_LAMBDA {
                solve_factored<T, false, 1>(a, n, pivot, x);
            });
        } else {
            solve_positive_panels<T, false>(a, n, pivot, Mask<T>{}, B, b, count, X);
        }
        return careful;
    });
}

// Solutions of A X = B for matrices [begin, end) of A. X: (count, n, k), row by row without gaps; info as above.
template <class T>
inline FirstFailure solve_positive_range(const MatrixBatch<T>& A, const RightSides<T>& B, std::int64_t begin,
                                         std::int64_t end, T* X, Status* info) {
    if (B.columns == 1 && A.n <= largest_unrolled_positive)
        return with_size<largest_unrolled_positive>(
            A.n, [&](auto n) { return solve_positive_sized<T, is_fixed<decltype(n)>>(n, A, B, begin, end, X, info); });
    return solve_positive_sized<T, false>(int(A.n), A, B, begin, end, X, info);
}

// ---- log-determinants ----------------------------------------------------------------------------------------------

template <class T, class N>
NEURALINV_INLINE Vector<T> log_product(const Pivot<T>* pivot, N n) {
    Product<T> product;
    loop(zero, n, [&](auto k) NEURALINV_LAMBDA { product.multiply(pivot[k].value); });
    return product.log_modulus();
}

template <class T>
__attribute__((noinline, cold)) Vector<T> logdet_positive_carefully(Rows<const T> from, int n, Status* status) {
    Vector<T> a[largest_size * largest_size];
    Pivot<T> pivot[largest_size];
    const Mask<T> info = load_and_factor_carefully<T>(from, n, a, pivot);
    Vector<T> result = log_product<T>(pivot, n);
    spoil<T>(Mask<T>(info != Mask<T>{}), 1, &result);
    store_status<T>(info, status);
    return result;
}

template <class T, class N>
inline FirstFailure slogdet_positive_sized(N n, const MatrixBatch<T>& A, std::int64_t begin, std::int64_t end, T* sign,
                                           T* logabsdet, Status* info) {
    const Block<const T> matrices = block_of(A);
    return for_each_tile<T>(begin, end, info, [&](std::int64_t b, int count, Status* status) NEURALINV_LAMBDA {
        constexpr int room = positive_room<N>;
        T in[room * room * tile<T>];
        Vector<T> a[room * room];
        Pivot<T> pivot[room];
        const Rows<const T> from = source_rows<T>(matrices, b, count, in);
        const bool careful = any<T>(~load_and_factor<T>(from, n, a, pivot));
        const Vector<T> result = __builtin_expect(careful, 0) ? logdet_positive_carefully<T>(from, n, status)
                                                              : log_product<T>(pivot, n);
        for (int i = 0; i < count; ++i) {
            sign[b + i] = careful && status[i] != success ? T(__builtin_nanf("")) : T(1);
            logabsdet[b + i] = result[i];
        }
        return careful;
    });
}

// sign, logabsdet: (count); sign is 1, and both are NaN where A is not positive definite.
template <class T>
inline FirstFailure slogdet_positive_range(const MatrixBatch<T>& A, std::int64_t begin, std::int64_t end, T* sign,
                                           T* logabsdet, Status* info) {
    return with_size<largest_unrolled_positive>(
        A.n, [&](auto n) { return slogdet_positive_sized<T>(n, A, begin, end, sign, logabsdet, info); });
}

}  // namespace neuralinv::NEURALINV_TARGET
