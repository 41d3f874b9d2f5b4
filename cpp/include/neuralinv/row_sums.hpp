// Norms that are read off: the largest sum of magnitudes of a row and of a column.
#pragma once

#include "guesses.hpp"
#include "product.hpp"

namespace neuralinv::NEURALINV_TARGET {

// Matrices begin..end-1 of (count, n, n), in T, in any order of summation; columns: memory for n of T.
template <class T>
void row_sums_range(const RowSums<T>& norms, std::int64_t begin, std::int64_t end, T* columns) {
    const std::int64_t n = norms.n;
    const auto magnitude = [](Vector<T> x) NEURALINV_LAMBDA { return x < Vector<T>{} ? -x : x; };
    for (std::int64_t b = begin; b < end; ++b) {
        for (std::int64_t j = 0; j < n; ++j) columns[j] = 0;
        T largest_row = 0, largest_column = 0;
        for (std::int64_t i = 0; i < n; ++i) {
            const T* const row = norms.X + (b * n + i) * n;
            Vector<T> sums = {};
            std::int64_t j = 0;
            for (; j + lanes<T> <= n; j += lanes<T>) {
                const Vector<T> x = magnitude(load_vector(row + j));
                sums += x;
                store_vector(load_vector(columns + j) + x, columns + j);
            }
            T sum = 0;
            for (int lane = 0; lane < lanes<T>; ++lane) sum += sums[lane];
            for (; j < n; ++j) {
                const T x = row[j] < 0 ? -row[j] : row[j];
                sum += x;
                columns[j] += x;
            }
            if (!(sum <= largest_row) && largest_row == largest_row) largest_row = sum;  // not a number stays
        }
        for (std::int64_t j = 0; j < n; ++j)
            if (!(columns[j] <= largest_column) && largest_column == largest_column) largest_column = columns[j];
        norms.rows[b] = largest_row;
        norms.columns[b] = largest_column;
    }
}

}  // namespace neuralinv::NEURALINV_TARGET
