// Whether symmetric matrices are positive definite, by their pivots.
//
// neuralinv/learned/root_certificate.py says what positive pivots prove: with the columns y of steps s, as computed, and their
// pivots d, each entry of X is Σ yᵢ yⱼ / d up to n + 2 roundings of a term.
#pragma once

#include <cstddef>

#include "roots.hpp"
#include "symmetric_pivots.hpp"

namespace neuralinv::NEURALINV_TARGET {

template <class T>
bool has_positive_pivots(const T* X, int n, int height, const Symmetric<T>& a) {
    load_symmetric(MatrixBatch<T>{X, 1, n, 0, n, 1}, 0, height, a);
    return eliminate_below(a, n, height, NothingAhead{});
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
