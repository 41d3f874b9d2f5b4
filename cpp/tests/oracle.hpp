// A slow oracle in long double, real and complex, and how far from it results may be.
#pragma once

#include <algorithm>
#include <complex>
#include <limits>
#include <type_traits>

#include "check.hpp"
#include "instruction_sets.hpp"

namespace neuralinv::test {

template <class S>
inline constexpr bool is_complex = !std::is_same_v<S, RealOf<S>>;

template <class S>
using Wide = std::conditional_t<is_complex<S>, std::complex<long double>, long double>;

template <class S>
Wide<S> widen(S x) {
    if constexpr (is_complex<S>)
        return {x.re, x.im};
    else
        return x;
}

template <class S>
S narrow(Wide<S> x) {
    using T = RealOf<S>;
    if constexpr (is_complex<S>)
        return {T(x.real()), T(x.imag())};
    else
        return S(x);
}

template <class S>
std::vector<Wide<S>> widen(const S* A, std::size_t entries) {
    std::vector<Wide<S>> wide(entries);
    for (std::size_t e = 0; e < entries; ++e) wide[e] = widen(A[e]);
    return wide;
}

// (count, rows, columns) of entries, real and imaginary parts too, in [−1, 1].
template <class S>
std::vector<S> random_matrices(std::int64_t count, int rows, int columns, unsigned seed) {
    using T = RealOf<S>;
    std::mt19937 engine(seed);
    std::uniform_real_distribution<double> entry(-1.0, 1.0);
    std::vector<S> A(std::size_t(count * rows * columns));
    T* parts = reinterpret_cast<T*>(A.data());
    for (std::size_t e = 0; e < A.size() * sizeof(S) / sizeof(T); ++e) parts[e] = T(entry(engine));
    return A;
}

// (count, n, n) G Gᵀ / n with G: (n, n + 2), whose condition numbers reach from modest to some thousands.
template <class T>
std::vector<T> random_positive(std::int64_t count, int n, unsigned seed) {
    const int inner = n + 2;
    const std::vector<double> G = random_matrices<double>(count, n, inner, seed);
    std::vector<T> A(std::size_t(count * n * n));
    for (std::int64_t b = 0; b < count; ++b)
        for (int i = 0; i < n; ++i)
            for (int j = 0; j < n; ++j) {
                double sum = 0;
                for (int m = 0; m < inner; ++m) sum += G[(b * n + i) * inner + m] * G[(b * n + j) * inner + m];
                A[(b * n + i) * n + j] = T(sum / n);
            }
    return A;
}

template <class W>
struct Elimination {
    std::vector<W> x;  // (n, k)
    W sign = 1;
    long double logabsdet = 0;
};

// Solve A X = B by elimination with partial pivoting. a: (n, n), x: (n, k) B, both row by row.
template <class W>
Elimination<W> eliminate(std::vector<W> a, int n, std::vector<W> x, int k) {
    Elimination<W> result;
    for (int p = 0; p < n; ++p) {
        int best = p;
        for (int i = p + 1; i < n; ++i)
            if (std::abs(a[i * n + p]) > std::abs(a[best * n + p])) best = i;
        for (int j = 0; j < n; ++j) std::swap(a[p * n + j], a[best * n + j]);
        for (int j = 0; j < k; ++j) std::swap(x[p * k + j], x[best * k + j]);
        const W pivot = a[p * n + p];
        if (best != p) result.sign = -result.sign;
        result.sign *= pivot / std::abs(pivot);
        result.logabsdet += std::log(std::abs(pivot));
        for (int i = 0; i < n; ++i) {
            if (i == p) continue;
            const W l = a[i * n + p] / pivot;
            for (int j = p; j < n; ++j) a[i * n + j] -= l * a[p * n + j];
            for (int j = 0; j < k; ++j) x[i * k + j] -= l * x[p * k + j];
        }
    }
    for (int p = 0; p < n; ++p)
        for (int j = 0; j < k; ++j) x[p * k + j] /= a[p * n + p];
    result.x = x;
    return result;
}

template <class W>
long double frobenius(const std::vector<W>& A) {
    long double sum = 0;
    for (const W& a : A) sum += std::norm(a);
    return std::sqrt(sum);
}

template <class T>
constexpr long double epsilon() {
    return sizeof(T) == 4 ? 0x1p-23L : 0x1p-52L;
}

// A matrix with all that its results are measured by.
template <class S>
struct Truth {
    int n;
    Elimination<Wide<S>> inverse;
    long double condition;

    Truth(const S* A, int size) : n(size) {
        const std::vector<Wide<S>> wide = widen(A, std::size_t(n * n));
        std::vector<Wide<S>> identity(std::size_t(n * n));
        for (int i = 0; i < n; ++i) identity[i * n + i] = 1;
        inverse = eliminate(wide, n, identity, n);
        condition = frobenius(wide) * frobenius(inverse.x);
    }

    // ‖X − A⁻¹B‖ / (‖A⁻¹B‖ · condition · ε). B: (n, k), X: (n, k) with `step` between rows. Without B: of the inverse.
    long double error(const S* X, const S* B, int k) const {
        std::vector<Wide<S>> difference(std::size_t(n * k)), exact(std::size_t(n * k));
        for (int i = 0; i < n; ++i)
            for (int c = 0; c < k; ++c) {
                Wide<S>& e = exact[i * k + c];
                if (B == nullptr)
                    e = inverse.x[i * n + c];
                else
                    for (int m = 0; m < n; ++m) e += inverse.x[i * n + m] * widen(B[m * k + c]);
                difference[i * k + c] = widen(X[i * k + c]) - e;
            }
        const long double error = frobenius(difference) / (frobenius(exact) * condition * epsilon<RealOf<S>>());
        return std::isnan(error) ? std::numeric_limits<long double>::infinity() : error;
    }
};

}  // namespace neuralinv::test
