// A look at symmetric matrices, each while it is in the cache: symmetry, norms, and the largest eigenvalue by powers (Golub &
// Van Loan, Matrix Computations, §7.3).
#pragma once

#include <cstddef>

#include "mirrored.hpp"
#include "roots.hpp"

namespace neuralinv::NEURALINV_TARGET {

// They approach the eigenvalue from below: this many come within some 10 % of it where eigenvalues lie close together.
inline constexpr int powers = 7;

// Scratch memory: two vectors, with zeros up to whole ones.
template <class T>
std::int64_t survey_bytes(std::int64_t n) {
    return 2 * std::int64_t(sizeof(T)) * (n + lanes<T>);
}

// target[j] = update(target[j], row[j]); `update` takes vectors and numbers.
template <class T, class Update>
NEURALINV_INLINE void accumulate(int n, const T* row, T* target, const Update& update) {
    int j = 0;
    for (; j + lanes<T> <= n; j += lanes<T>) store_vector(update(load_vector(target + j), load_vector(row + j)), target + j);
    for (; j < n; ++j) target[j] = update(target[j], row[j]);
}

// y = A x for a symmetric A: sums of rows. Returns ‖y‖₂.
template <class T>
double times_vector(int n, const T* A, const T* x, T* y) {
    constexpr int together = 4;
    for (int j = 0; j < n; ++j) y[j] = 0;
    int i = 0;
    for (; i + together <= n; i += together) {
        const T* const rows = A + std::int64_t(i) * n;
        int j = 0;
        for (; j + lanes<T> <= n; j += lanes<T>) {
            Vector<T> sum = load_vector(y + j);
            static_for<0, together>([&](auto r) NEURALINV_LAMBDA {
                sum += broadcast(x[i + decltype(r)::value]) * load_vector(rows + decltype(r)::value * std::int64_t(n) + j);
            });
            store_vector(sum, y + j);
        }
        for (; j < n; ++j)
            for (int r = 0; r < together; ++r) y[j] += x[i + r] * rows[r * std::int64_t(n) + j];
    }
    for (; i < n; ++i)
        accumulate(n, A + std::int64_t(i) * n, y, [&](auto sum, auto entry) NEURALINV_LAMBDA { return sum + x[i] * entry; });
    Vector<double> squares = {};
    for_each_vector<Half<T>>(y, n, [&](int, Half<T> entries) NEURALINV_LAMBDA {
        const Vector<double> wide = widened<T>(entries);
        squares += wide * wide;
    });
    return __builtin_sqrt(sum_of_lanes(squares));
}

template <class T>
void survey_range(const Survey<T>& survey, std::int64_t begin, std::int64_t end, std::byte* scratch) {
    const int n = int(survey.n);
    T* const x = reinterpret_cast<T*>(scratch);
    T* const y = x + n + lanes<T>;
    for (std::int64_t b = begin; b < end; ++b) {
        const T* const A = survey.A + b * n * n;
        Vector<double> squares = {};
        for (int j = 0; j < n; ++j) y[j] = 0;
        for (int i = 0; i < n; ++i) {
            const T* const row = A + std::int64_t(i) * n;
            for_each_vector<Half<T>>(row, n, [&](int, Half<T> entries) NEURALINV_LAMBDA {
                const Vector<double> wide = widened<T>(entries);
                squares += wide * wide;
            });
            accumulate(n, row, y, [&](auto sum, auto entry) NEURALINV_LAMBDA { return sum + (entry < 0 ? -entry : entry); });
        }
        T largest = 0;  // of the sums of columns, which are rows
        for (int j = 0; j < n; ++j) largest = y[j] > largest ? y[j] : largest;
        for (int j = 0; j < n; ++j) x[j] = survey.start[j];
        double size = 0;
        for (int k = 0; k < powers; ++k) {
            size = times_vector(n, A, x, y);
            const T scale = T(1 / size);
            for (int j = 0; j < n; ++j) x[j] = y[j] * scale;
        }
        double* const sizes = survey.sizes + b * surveyed;
        sizes[0] = sum_of_lanes(squares);
        sizes[1] = double(largest);
        sizes[2] = size;
        survey.symmetric[b] = is_hermitian(n, A, n);
    }
}

}  // namespace neuralinv::NEURALINV_TARGET
