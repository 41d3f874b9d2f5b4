// The pivots of symmetric matrices A = L D Lᵀ: elimination as in symmetric_columns.hpp, of what is below the pivots alone. A third
// of the work of an inverse.
#pragma once

#include "symmetric_range.hpp"

namespace neuralinv::NEURALINV_TARGET {

// Y and Z of the four steps from k on, in the rows that columns behind them have. keep: Z, which is L, takes the place of C.
template <bool keep, class T>
NEURALINV_INLINE void form_columns(const Symmetric<T>& a, int height, int k, const PivotBlock<T>& block) {
    for (int v = first_vector<T>(k); v < height; ++v) {
        Vector<T> y[steps_together];
        static_for<0, steps_together>([&](auto s_) NEURALINV_LAMBDA {
            constexpr int s = decltype(s_)::value;
            y[s] = a.columns[(k + s) * height + v];
            static_for<0, s>([&](auto q) NEURALINV_LAMBDA { y[s] -= broadcast(block.l[s][decltype(q)::value]) * y[decltype(q)::value]; });
            const Vector<T> z = y[s] * block.reciprocal[s];
            a.y[s * height + v] = y[s];
            a.z(height)[s * height + v] = z;
            if constexpr (keep) a.columns[(k + s) * height + v] = z;
        });
    }
}

// Columns from j on lose Z Yᵀ.
template <class T, class Prefetch>
NEURALINV_INLINE void update_behind(const Symmetric<T>& a, int height, int n, int j, Prefetch& ahead) {
    for (; j < n; j = (j / column_group<T> + 1) * column_group<T>) update_group<T, 0>(a, height, n, j, first_vector<T>(j), ahead);
}

// D to a.pivots, as far as it is positive, and with `keep` L below the diagonal of the columns. Returns whether all of D is.
template <bool keep = false, class T, class Prefetch>
NEURALINV_INLINE bool eliminate_below(const Symmetric<T>& a, int n, int height, Prefetch&& ahead) {
    bool positive = true;
    for (int k = 0; k < n && positive; k += steps_together) {
        const PivotBlock<T> block = factor_pivots(a, height, k);
        for (int s = 0; s < steps_together; ++s) positive &= a.pivots[k + s] > 0;
        form_columns<keep>(a, height, k, block);
        update_behind(a, height, n, k + steps_together, ahead);
    }
    return positive;
}

// Whether the pivots can be trusted, and divided by.
template <class T>
NEURALINV_INLINE bool has_usable_pivots(const Symmetric<T>& a, int n) {
    Elimination<T> pivots{};
    pivots.pivots = a.pivots;
    return usable<T, Rounding::fused>(pivots, Structure::positive, a.sizes, n);
}

// Factor matrices [begin, end) of A, n ≥ 8, of which only lower triangles have an effect, and call use(b, factors, height) for each, or
// otherwise(b), which returns a status, for those with an extreme pivot. keep: L, too. info: (count) or null.
template <bool keep, class T, class Use, class Otherwise>
NEURALINV_INLINE FirstFailure for_each_factored(const MatrixBatch<T>& A, std::int64_t begin, std::int64_t end, Status* info, const Use& use,
                                                const Otherwise& otherwise) {
    Report report{{-1, success}, info};
    const int n = int(A.n), height = symmetric_height<T>(n);
    const SymmetricWorkspace<T, 1> workspace(height);
    const Symmetric<T>& a = workspace.matrices[0];
    for (std::int64_t b = begin; b < end; ++b) {
        bool done = workspace.available;
        if (done) {
            load_symmetric(A, b, height, a);
            done = eliminate_below<keep>(a, n, height, look_ahead(A, b, 1, n * n / (2 * steps_together * columns_together))) && has_usable_pivots(a, n);
        }
        if (done) use(b, a, height);
        report(b, done ? success : otherwise(b));
    }
    return report.first;
}

// Signs and logarithms of the determinants of positive definite matrices [begin, end) of A, n ≥ 8. Only lower triangles have an
// effect. sign, logabsdet: (count), info: (count) or null, as for slogdet_columns, which takes what has an extreme pivot.
template <class T>
FirstFailure slogdet_symmetric(const MatrixBatch<T>& A, std::int64_t begin, std::int64_t end, T* sign, T* logabsdet, Status* info) {
    return for_each_factored<false>(
        A, begin, end, info,
        [&](std::int64_t b, const Symmetric<T>& a, int) { slogdet_of_pivots(a.pivots, int(A.n), false, sign + b, logabsdet + b); },
        [&](std::int64_t b) { return slogdet_columns(A, Structure::positive, b, b + 1, sign, logabsdet, nullptr).status; });
}

}  // namespace neuralinv::NEURALINV_TARGET
