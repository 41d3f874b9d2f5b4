// The pivots of symmetric matrices A = L D Lᵀ: elimination as in symmetric_columns.hpp, of what is below the pivots alone. A third
// of the work of an inverse.
#pragma once

#include "symmetric_range.hpp"

namespace neuralinv::NEURALINV_TARGET {

// Y and Z of the four steps from k on, in the rows that columns behind them have.
template <class T>
NEURALINV_INLINE void form_columns(const Symmetric<T>& a, int height, int k, const PivotBlock<T>& block) {
    for (int v = first_vector<T>(k); v < height; ++v) {
        Vector<T> y[steps_together];
        static_for<0, steps_together>([&](auto s_) NEURALINV_LAMBDA {
            constexpr int s = decltype(s_)::value;
            y[s] = a.columns[(k + s) * height + v];
            static_for<0, s>([&](auto q) NEURALINV_LAMBDA { y[s] -= broadcast(block.l[s][decltype(q)::value]) * y[decltype(q)::value]; });
            a.y[s * height + v] = y[s];
            a.z(height)[s * height + v] = y[s] * block.reciprocal[s];
        });
    }
}

// D to a.pivots, as far as it is positive. Returns whether all of it is.
template <class T>
NEURALINV_INLINE bool eliminate_below(const Symmetric<T>& a, int n, int height) {
    bool positive = true;
    for (int k = 0; k < n && positive; k += steps_together) {
        const PivotBlock<T> block = factor_pivots(a, height, k);
        for (int s = 0; s < steps_together; ++s) positive &= a.pivots[k + s] > 0;
        form_columns(a, height, k, block);
        for (int j = first_vector<T>(k + steps_together) * lanes<T>; j < n; j += column_group<T>)
            update_group<T, 0>(a, height, n, j, first_vector<T>(j));
    }
    return positive;
}

// Signs and logarithms of the determinants of positive definite matrices [begin, end) of A, n ≥ 8. Only lower triangles have an
// effect. sign, logabsdet: (count), info: (count) or null, as for slogdet_columns, which takes what has an extreme pivot.
template <class T>
FirstFailure slogdet_symmetric(const MatrixBatch<T>& A, std::int64_t begin, std::int64_t end, T* sign, T* logabsdet, Status* info) {
    Report report{{-1, success}, info};
    const int n = int(A.n), height = symmetric_height<T>(n);
    const SymmetricWorkspace<T, 1> workspace(height);
    const Symmetric<T>& a = workspace.matrices[0];
    Elimination<T> pivots{};
    for (std::int64_t b = begin; b < end; ++b) {
        bool done = workspace.available;
        if (done) {
            pivots.pivots = a.pivots;
            load_symmetric(A, b, height, a);
            done = eliminate_below(a, n, height) && usable<T, Rounding::fused>(pivots, Structure::positive, a.sizes, n);
        }
        if (done)
            slogdet_of_pivots(a.pivots, n, false, sign + b, logabsdet + b);
        report(b, done ? success : slogdet_columns(A, Structure::positive, b, b + 1, sign, logabsdet, nullptr).status);
    }
    return report.first;
}

}  // namespace neuralinv::NEURALINV_TARGET
