// Which kernel for which size: measured, see docs/kernels.md.
#pragma once

#include "columns_range.hpp"
#include "certificate.hpp"
#include "tiles.hpp"

namespace neuralinv::NEURALINV_TARGET {

template <class T>
FirstFailure invert(const MatrixBatch<T>& A, Structure structure, std::int64_t begin, std::int64_t end, T* X, Status* info) {
    if (A.n <= (sizeof(T) == 4 ? 16 : 12)) return invert_range(A, begin, end, X, info);
    return invert_columns(A, structure, begin, end, X, info);
}

template <class T>
FirstFailure solve(const MatrixBatch<T>& A, const RightSides<T>& B, Structure structure, std::int64_t begin,
                   std::int64_t end, T* X, Status* info) {
    if (A.n < 8) {
        Report report{{-1, success}, info};
        for (std::int64_t b = begin; b < end; ++b) report(b, solve_carefully(A, B, b, structure, X + b * A.n * B.columns));
        return report.first;
    }
    return solve_columns(A, B, structure, begin, end, X, info);
}

template <class T>
FirstFailure slogdet(const MatrixBatch<T>& A, Structure structure, std::int64_t begin, std::int64_t end, T* sign,
                     T* logabsdet) {
    if (A.n < 8) {
        Report report{{-1, success}, nullptr};
        for (std::int64_t b = begin; b < end; ++b)
            report(b, slogdet_carefully(A, b, structure, sign + b, logabsdet + b));
        return report.first;
    }
    return slogdet_columns(A, structure, begin, end, sign, logabsdet);
}

}  // namespace neuralinv::NEURALINV_TARGET
