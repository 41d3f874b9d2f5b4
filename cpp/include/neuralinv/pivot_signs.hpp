// Whether symmetric matrices are positive definite: elimination as in symmetric_columns.hpp, of what is below the pivots alone.
// A third of the work of an inverse.
//
// neuralinv/learned/root_certificate.py says what positive pivots prove: with the columns y of steps s, as computed, and their
// pivots d, each entry of X is Σ yᵢ yⱼ / d up to n + 2 roundings of a term.
#pragma once

#include <cstddef>

#include "roots.hpp"
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

template <class T>
bool has_positive_pivots(const T* X, int n, int height, const Symmetric<T>& a) {
    load_symmetric(MatrixBatch<T>{X, 1, n, 0, n, 1}, 0, height, a);
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

template <class T>
void pivot_signs_range(const PivotSigns<T>& signs, std::int64_t begin, std::int64_t end) {
    const int n = int(signs.n), height = symmetric_height<T>(n);
    const SymmetricWorkspace<T, 1> workspace(height);
    // Nothing is proved where there is no memory.
    for (std::int64_t b = begin; b < end; ++b)
        signs.positive[b] = workspace.available && has_positive_pivots(signs.X + b * n * n, n, height, workspace.matrices[0]);
}

}  // namespace neuralinv::NEURALINV_TARGET
