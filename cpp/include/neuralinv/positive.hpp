// Batches of symmetric positive definite matrices: inverses, solutions and log-determinants by cholesky.hpp.
//
// Where a pivot is extreme or not certainly positive, the tile is computed again in careful arithmetic, which alone
// knows failure.
#pragma once

#include "careful.hpp"
#include "logarithm.hpp"
#include "panels.hpp"
#include "positive_tiles.hpp"
#include "prefetch.hpp"
#include "report.hpp"

#include <type_traits>

namespace neuralinv::NEURALINV_TARGET {

// Sizes up to this one are unrolled completely.
inline constexpr int largest_unrolled_positive = unrolls_factors ? 6 : 0;

// The largest n of a matrix in each lane, one tile in the second-level cache.
inline constexpr int largest_positive_tile = 96;

// Larger ones are not fetched ahead: the hardware sees what comes next in a row.
inline constexpr int largest_fetched_ahead = 32;

// Blocks of columns of a tile.
template <class N>
NEURALINV_INLINE int block_count(N n) {
    constexpr int columns = BlocksFor<N>::type::columns;
    return n / columns + n % columns;
}

// In bytes: of smaller matrices, too many lines of the cache are shared.
inline constexpr std::int64_t smallest_streamed = 512;

// Load a tile and factor it. Returns where the factors can be used.
template <class T, class N, class Tile, class Prefetch>
NEURALINV_INLINE Mask<T> load_and_factor_inline(Rows<const T> from, N n, Tile& tile, Prefetch& ahead) {
    const auto pitch = tile_pitch(n);
    load_lower<T>(from, n, tile.a);
    loop(zero, n, [&](auto i) NEURALINV_LAMBDA { tile.diagonal[i] = tile.a[i * pitch + i]; });
    factor_positive<T, typename BlocksFor<N>::type, false>(tile.a, n, pitch, tile.pivot, ahead);
    return positive_safely<T>(tile.diagonal, tile.pivot, n);
}

// One copy for all callers where the tile lies in memory anyway.
template <class T, class Tile>
__attribute__((noinline)) Mask<T> load_and_factor_shared(Rows<const T> from, int n, Tile& tile, Ahead& ahead) {
    return load_and_factor_inline<T>(from, n, tile, ahead);
}

template <class T, class N, class Tile>
NEURALINV_INLINE Mask<T> load_and_factor(Rows<const T> from, N n, Tile& tile, Ahead& ahead) {
    if constexpr (is_fixed<N>)
        return load_and_factor_inline<T>(from, n, tile, ahead);
    else
        return load_and_factor_shared<T>(from, n, tile, ahead);
}

// Buffers of a tile that a range needs: its source's, and its target's where it has one.
template <class T>
NEURALINV_INLINE int buffers_for(const Block<const T>& matrices, std::int64_t count, int most) {
    return matrices.row_by_row() && count % tile<T> == 0 ? 0 : most;
}

// The careful counterpart. Returns LAPACK's info.
template <class T>
__attribute__((noinline, cold)) Mask<T> load_and_factor_carefully(Rows<const T> from, int n, Vector<T>* a,
                                                                  Pivot<T>* pivot) {
    NothingAhead nothing;
    load_lower<T>(from, n, a);
    factor_positive<T, Unblocked, true>(a, n, tile_pitch(n), pivot, nothing);
    return first_not_positive<T>(pivot, n);
}

// body(a, pivot) with memory for n at run time: that of the tile, or other where the tile lives in registers.
template <class T, class N, class Tile, class Body>
NEURALINV_INLINE void with_memory([[maybe_unused]] Tile& tile, const Body& body) {
    if constexpr (is_fixed<N>) {
        Vector<T> a[N::value * (N::value + 1)];
        Pivot<T> pivot[N::value];
        body(a, pivot);
    } else {
        body(tile.a, tile.pivot);
    }
}

// Matrices [begin, end), one by one, where there was no memory for tiles. run(b) returns what became of one.
template <class Run>
__attribute__((noinline, cold)) FirstFailure one_by_one(std::int64_t begin, std::int64_t end, Status* info, const Run& run) {
    Report report{{-1, success}, info};
    for (std::int64_t b = begin; b < end; ++b) report(b, run(b));
    return report.first;
}

// ---- inverses ------------------------------------------------------------------------------------------------------

template <class T>
__attribute__((noinline, cold)) void invert_positive_carefully(Rows<const T> from, int n, Vector<T>* a, Pivot<T>* pivot, Rows<T> to,
                                                               Status* status) {
    NothingAhead nothing;
    const Mask<T> info = load_and_factor_carefully<T>(from, n, a, pivot);
    invert_factored<T, Unblocked, true>(a, n, tile_pitch(n), pivot, nothing);
    mirror<T>(n, a);
    spoil<T>(Mask<T>(info != Mask<T>{}), n * tile_pitch(n), a);
    store_matrices<T>(a, n, to);
    store_status<T>(info, status);
}

template <class T, class N>
inline FirstFailure invert_positive_sized(N n, const MatrixBatch<T>& A, std::int64_t begin, std::int64_t end, T* X,
                                          Status* info) {
    const Block<const T> matrices = block_of(A);
    const Block<T> inverses{X, n, n, n * n, n, 1};
    using Memory = PositiveMemory<T, N>;
    const Memory memory(n, buffers_for<T>(matrices, end - begin, 2));
    if (!memory.available) return one_by_one(begin, end, info, [&](std::int64_t b) { return invert_carefully(A, b, Structure::positive, X + b * n * n); });
    const std::int64_t matrix = A.n * A.n * std::int64_t(sizeof(T));
    const bool streaming = matrix >= smallest_streamed && streams(A.count * matrix);
    const FirstFailure failure = for_each_tile<T>(begin, end, info, [&](std::int64_t b, int count, Status* status) NEURALINV_LAMBDA {
        typename Memory::Tile tile(memory);
        const Rows<const T> from = source_rows<T>(matrices, b, count, tile.in);
        const Rows<T> to = target_rows<T>(inverses, b, count, tile.out);
        const int calls = 2 * block_count<N>(n);
        Ahead ahead = n > largest_fetched_ahead ? Ahead{} : streaming ? look_ahead(A, b, lanes<T>, calls) : look_ahead(A, b, lanes<T>, X, calls);
        const bool careful = any<T>(~load_and_factor<T>(from, n, tile, ahead));
        if (__builtin_expect(careful, 0)) {
            with_memory<T, N>(tile, [&](Vector<T>* a, Pivot<T>* pivot) { invert_positive_carefully<T>(from, n, a, pivot, to, status); });
        } else {
            invert_factored<T, typename BlocksFor<N>::type, false>(tile.a, n, tile_pitch(n), tile.pivot, ahead);
            mirror<T>(n, tile.a);
            store_matrices<T>(tile.a, n, to, streaming && count == lanes<T>);
        }
        finish_rows<T>(inverses, b, count, tile.out);
        return careful;
    });
    if (streaming) finish_streaming();
    return failure;
}

// Inverses of matrices [begin, end) of A, 1 ≤ A.n ≤ largest_positive_tile. Only lower triangles have an effect.
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
    solve_panels<T, largest_positive_tile>(n, B, begin, count, X, [&](Vector<T>* b, auto width) NEURALINV_LAMBDA {
        solve_factored<T, std::conditional_t<careful, Unblocked, Blocked>, careful, decltype(width)::value>(a, n, tile_pitch(n), pivot, b);
        if (careful) spoil<T>(failed, n * width, b);
    });
}

template <class T>
__attribute__((noinline, cold)) void solve_positive_carefully(Rows<const T> from, int n, Vector<T>* a, Pivot<T>* pivot, const RightSides<T>& B,
                                                              std::int64_t begin, int count, T* X, Status* status) {
    const Mask<T> info = load_and_factor_carefully<T>(from, n, a, pivot);
    solve_positive_panels<T, true>(a, n, pivot, Mask<T>(info != Mask<T>{}), B, begin, count, X);
    store_status<T>(info, status);
}

// n known to the compiler: a single right-hand side, in registers.
template <class T, class N>
inline FirstFailure solve_positive_sized(N n, const MatrixBatch<T>& A, const RightSides<T>& B, std::int64_t begin,
                                         std::int64_t end, T* X, Status* info) {
    const Block<const T> matrices = block_of(A);
    using Memory = PositiveMemory<T, N>;
    const Memory memory(n, buffers_for<T>(matrices, end - begin, 1));
    if (!memory.available) return one_by_one(begin, end, info, [&](std::int64_t b) { return solve_carefully(A, B, b, Structure::positive, X + b * n * B.columns); });
    return for_each_tile<T>(begin, end, info, [&](std::int64_t b, int count, Status* status) NEURALINV_LAMBDA {
        typename Memory::Tile tile(memory);
        const Rows<const T> from = source_rows<T>(matrices, b, count, tile.in);
        Ahead ahead = n <= largest_fetched_ahead ? look_ahead(A, B, b, lanes<T>, block_count<N>(n)) : Ahead{};
        const bool careful = any<T>(~load_and_factor<T>(from, n, tile, ahead));
        if (__builtin_expect(careful, 0)) {
            with_memory<T, N>(tile, [&](Vector<T>* a, Pivot<T>* pivot) {
                solve_positive_carefully<T>(from, n, a, pivot, B, b, count, X, status);
            });
        } else if constexpr (is_fixed<N>) {
            solve_panel<T, 1, N::value>(n, B, 0, b, count, X, [&](Vector<T>* x) NEURALINV_LAMBDA {
                solve_factored<T, Unblocked, false, 1>(tile.a, n, n, tile.pivot, x);
            });
        } else {
            solve_positive_panels<T, false>(tile.a, n, tile.pivot, Mask<T>{}, B, b, count, X);
        }
        return careful;
    });
}

// Solutions of A X = B for matrices [begin, end) of A. X: (count, n, k), row by row without gaps; info as above.
template <class T>
inline FirstFailure solve_positive_range(const MatrixBatch<T>& A, const RightSides<T>& B, std::int64_t begin,
                                         std::int64_t end, T* X, Status* info) {
    if (B.columns == 1)
        return with_size<largest_unrolled_positive>(A.n, [&](auto n) { return solve_positive_sized<T>(n, A, B, begin, end, X, info); });
    return solve_positive_sized<T>(int(A.n), A, B, begin, end, X, info);
}

// ---- log-determinants ----------------------------------------------------------------------------------------------

template <class T, class N>
NEURALINV_INLINE Vector<T> log_product(const Pivot<T>* pivot, N n) {
    Product<T> product;
    loop(zero, n, [&](auto k) NEURALINV_LAMBDA { product.multiply(pivot[k].value); });
    return product.log_modulus();
}

template <class T>
__attribute__((noinline, cold)) void logdet_positive_carefully(Rows<const T> from, int n, Vector<T>* a, Pivot<T>* pivot, Vector<T>& result,
                                                               Status* status) {
    const Mask<T> info = load_and_factor_carefully<T>(from, n, a, pivot);
    result = log_product<T>(pivot, n);
    spoil<T>(Mask<T>(info != Mask<T>{}), 1, &result);
    store_status<T>(info, status);
}

template <class T, class N>
inline FirstFailure slogdet_positive_sized(N n, const MatrixBatch<T>& A, std::int64_t begin, std::int64_t end, T* sign,
                                           T* logabsdet, Status* info) {
    const Block<const T> matrices = block_of(A);
    using Memory = PositiveMemory<T, N>;
    const Memory memory(n, buffers_for<T>(matrices, end - begin, 1));
    if (!memory.available) return one_by_one(begin, end, info, [&](std::int64_t b) { return slogdet_carefully(A, b, Structure::positive, sign + b, logabsdet + b); });
    return for_each_tile<T>(begin, end, info, [&](std::int64_t b, int count, Status* status) NEURALINV_LAMBDA {
        typename Memory::Tile tile(memory);
        const Rows<const T> from = source_rows<T>(matrices, b, count, tile.in);
        Ahead ahead = n <= largest_fetched_ahead ? look_ahead(A, b, lanes<T>, block_count<N>(n)) : Ahead{};
        const bool careful = any<T>(~load_and_factor<T>(from, n, tile, ahead));
        Vector<T> result;
        if (__builtin_expect(careful, 0))
            with_memory<T, N>(tile, [&](Vector<T>* a, Pivot<T>* pivot) {
                Vector<T> found;
                logdet_positive_carefully<T>(from, n, a, pivot, found, status);
                result = found;
            });
        else
            result = log_product<T>(tile.pivot, n);
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
