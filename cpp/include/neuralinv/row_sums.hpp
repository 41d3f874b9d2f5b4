// Norms that are read off: the largest sum of magnitudes of a row and of a column, or a little more for complex matrices.
#pragma once

#include "guesses.hpp"
#include "product.hpp"

namespace neuralinv::NEURALINV_TARGET {

template <class S>
std::int64_t row_sums_bytes(std::int64_t n) {
    return (n + lanes<RealOf<S>>)*std::int64_t(sizeof(RealOf<S>));
}

template <class T>
NEURALINV_INLINE Vector<T> magnitude(Vector<T> x) {
    return x < Vector<T>{} ? -x : x;
}

// body(i, magnitudes) for the entries i.. of a row, as many as a vector has; zeros beyond it. Of complex ones, bounds that are
// larger by 8 % at most: |x + iy| ≤ max(|x|, |y|) + (√2 − 1) min(|x|, |y|).
template <class S, class Body>
NEURALINV_INLINE void for_each_magnitude(const S* row, int n, const Body& body) {
    using T = RealOf<S>;
    const T* const source = reinterpret_cast<const T*>(row);
    if constexpr (part_count<S> == 1)
        for_each_vector<Vector<T>>(source, n, [&](int i, Vector<T> x) NEURALINV_LAMBDA { body(i, magnitude<T>(x)); });
    else
        for_each_pair<Vector<T>>(source, n, [&](int i, Vector<T> re, Vector<T> im) NEURALINV_LAMBDA {
            const Vector<T> x = magnitude<T>(re), y = magnitude<T>(im);
            // Where one is not a number, so is the sum.
            body(i, x < y ? y + T(0.4142136) * x : x + T(0.4142136) * y);
        });
}

// Matrices begin..end-1 of (count, n, n), in any order of summation.
template <class S>
void row_sums_range(const RowSums<S>& norms, std::int64_t begin, std::int64_t end, std::byte* scratch) {
    using T = RealOf<S>;
    const int n = int(norms.n);
    T* const columns = reinterpret_cast<T*>(scratch);
    // Not a number stays.
    const auto raise = [](T& largest, T sum) NEURALINV_LAMBDA {
        if (!(sum <= largest) && largest == largest) largest = sum;
    };
    for (std::int64_t b = begin; b < end; ++b) {
        for (int j = 0; j < n + lanes<T>; ++j) columns[j] = 0;
        T largest_row = 0, largest_column = 0;
        for (int i = 0; i < n; ++i) {
            Vector<T> sums = {};
            for_each_magnitude(norms.X + (b * n + i) * n, n, [&](int j, Vector<T> x) NEURALINV_LAMBDA {
                sums += x;
                store_vector(load_vector(columns + j) + x, columns + j);
            });
            T sum = 0;
            for (int lane = 0; lane < lanes<T>; ++lane) sum += sums[lane];
            raise(largest_row, sum);
        }
        for (int j = 0; j < n; ++j) raise(largest_column, columns[j]);
        norms.rows[b] = largest_row;
        norms.columns[b] = largest_column;
    }
}

}  // namespace neuralinv::NEURALINV_TARGET
