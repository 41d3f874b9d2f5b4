// Symmetric positive definite matrices: inverses, solutions and log-determinants against the oracle, in every layout, and
// the statuses of matrices that are not positive definite.
#include <numeric>

#include "oracle.hpp"

namespace {

using namespace neuralinv;
using namespace neuralinv::test;


template <class T>
T nan_of() {
    return std::numeric_limits<T>::quiet_NaN();
}

// Against the oracle. `scale` multiplies the matrices; upper triangles hold NaN, which nobody may read.
template <class T>
void compare(const Kernels& kernels, int n, int count, int k, T scale) {
    std::vector<T> A = random_positive<T>(count, n, unsigned(100 * n + count));
    for (T& a : A) a *= scale;
    const std::vector<T> whole = A, B = random_matrices<T>(count, n, k, 5);
    for (int b = 0; b < count; ++b)
        for (int i = 0; i < n; ++i)
            for (int j = i + 1; j < n; ++j) A[(b * n + i) * n + j] = nan_of<T>();
    const MatrixBatch<T> batch{A.data(), count, n, n * n, n, 1};
    const RightSides<T> sides{B.data(), k, n * k, k, 1};
    std::vector<T> X(A.size()), Y(B.size()), sign(count), logabsdet(count);
    std::vector<Status> info(count, -1);
    const PositiveKernels<T>& kernel = kernels.positive<T>();
    CHECK(kernel.invert(batch, 0, count, X.data(), info.data()).index == -1, "%s n %d", kernels.name, n);
    CHECK(kernel.solve(batch, sides, 0, count, Y.data(), nullptr).index == -1, "%s n %d", kernels.name, n);
    CHECK(kernel.slogdet(batch, 0, count, sign.data(), logabsdet.data(), nullptr).index == -1, "n %d", n);
    for (int b = 0; b < count; ++b) {
        const Truth<T> truth(whole.data() + b * n * n, n);
        const T* x = X.data() + b * n * n;
        CHECK(truth.error(x, nullptr, n) < n + 1, "%s n %d count %d matrix %d: error %Lg", kernels.name, n, count, b,
              truth.error(x, nullptr, n));
        const long double error = truth.error(Y.data() + b * n * k, B.data() + b * n * k, k);
        CHECK(error < n + 1, "%s n %d k %d matrix %d: error %Lg", kernels.name, n, k, b, error);
        for (int i = 0; i < n; ++i)
            for (int j = 0; j < i; ++j) CHECK(x[i * n + j] == x[j * n + i], "not symmetric: n %d", n);
        const long double allowed = epsilon<T>() * (truth.condition * n + 4 * std::fabs(truth.inverse.logabsdet));
        CHECK(std::fabs(logabsdet[b] - truth.inverse.logabsdet) <= allowed, "%s n %d matrix %d: %.17g, not %.17Lg",
              kernels.name, n, b, double(logabsdet[b]), truth.inverse.logabsdet);
        CHECK(sign[b] == 1 && info[b] == success, "%s n %d matrix %d", kernels.name, n, b);
    }
}

// The same numbers through strides as without.
template <class T>
void compare_layouts(const Kernels& kernels, int n) {
    const int count = 21, k = 3;
    const std::vector<T> A = random_positive<T>(count, n, 3), B = random_matrices<T>(count, n, k, 4);
    // Transposed and in reverse order; every other column of right-hand sides, each column in one piece.
    std::vector<T> reversed(A.size() + 1), apart(2 * B.size());
    for (int b = 0; b < count; ++b) {
        for (int i = 0; i < n; ++i)
            for (int j = 0; j < n; ++j) reversed[((count - 1 - b) * n + j) * n + i] = A[(b * n + i) * n + j];
        for (int i = 0; i < n; ++i)
            for (int c = 0; c < k; ++c) apart[((b * k + c) * n + i) * 2] = B[(b * n + i) * k + c];
    }
    const MatrixBatch<T> plain{A.data(), count, n, n * n, n, 1};
    const MatrixBatch<T> strided{reversed.data() + (count - 1) * n * n, count, n, -n * n, 1, n};
    const RightSides<T> plain_sides{B.data(), k, n * k, k, 1}, apart_sides{apart.data(), k, 2 * k * n, 2, 2 * n};
    std::vector<T> X(A.size()), Y(B.size()), X2(A.size()), Y2(B.size());
    const PositiveKernels<T>& kernel = kernels.positive<T>();
    kernel.invert(plain, 0, count, X.data(), nullptr);
    kernel.invert(strided, 0, count, X2.data(), nullptr);
    CHECK(X == X2, "%s n %d: strides change the inverse", kernels.name, n);
    kernel.solve(plain, plain_sides, 0, count, Y.data(), nullptr);
    kernel.solve(strided, apart_sides, 0, count, Y2.data(), nullptr);
    CHECK(Y == Y2, "%s n %d: strides change the solution", kernels.name, n);
}

// Matrix `bad` of a batch has a leading minor of order `order` that is not positive.
template <class T>
void reject(const Kernels& kernels, int n, int order, T pivot) {
    const int count = 19, bad = 17;
    std::vector<T> A(std::size_t(count * n * n)), b(std::size_t(count * n), T(1));
    for (int m = 0; m < count; ++m)
        for (int i = 0; i < n; ++i) A[(m * n + i) * n + i] = m == bad && i == order - 1 ? pivot : T(i + 1);
    const MatrixBatch<T> batch{A.data(), count, n, n * n, n, 1};
    const RightSides<T> sides{b.data(), 1, n, 1, 1};
    std::vector<T> X(A.size()), x(b.size()), sign(count), logabsdet(count);
    std::vector<Status> info(count, -1), solve_info(count, -1), logdet_info(count, -1);
    const PositiveKernels<T>& kernel = kernels.positive<T>();
    for (const FirstFailure& failure :
         {kernel.invert(batch, 0, count, X.data(), info.data()),
          kernel.solve(batch, sides, 0, count, x.data(), solve_info.data()),
          kernel.slogdet(batch, 0, count, sign.data(), logabsdet.data(), logdet_info.data())})
        CHECK(failure.index == bad && failure.status == order, "%s n %d pivot %d: matrix %ld, status %d", kernels.name, n,
              order, long(failure.index), failure.status);
    for (int m = 0; m < count; ++m) {
        const Status expected = m == bad ? order : success;
        CHECK(info[m] == expected && solve_info[m] == expected && logdet_info[m] == expected, "%s n %d matrix %d",
              kernels.name, n, m);
        CHECK(std::isnan(x[m * n]) == (m == bad) && std::isnan(sign[m]) == (m == bad), "n %d matrix %d", n, m);
        CHECK(std::isnan(logabsdet[m]) == (m == bad), "n %d matrix %d", n, m);
        for (int e = 0; e < n * n; ++e) CHECK(std::isnan(X[m * n * n + e]) == (m == bad), "n %d matrix %d", n, m);
    }
}

// Exactly singular although rounded thirds are on the way, and pivots whose reciprocals are not finite.
template <class T>
void extremes(const Kernels& kernels) {
    const PositiveKernels<T>& kernel = kernels.positive<T>();
    const T singular[4] = {9, 3, 3, 1}, tiny = std::numeric_limits<T>::denorm_min() * 3;
    T X[4];
    Status info = -1;
    kernel.invert({singular, 1, 2, 4, 2, 1}, 0, 1, X, &info);
    CHECK(info == 2, "%s: status %d of a singular matrix", kernels.name, info);
    const T small[4] = {1, 0, 0, tiny}, b[2] = {1, tiny};
    T x[2], sign, logabsdet;
    kernel.solve({small, 1, 2, 4, 2, 1}, {b, 1, 2, 1, 1}, 0, 1, x, &info);
    CHECK(info == 0 && x[0] == 1 && x[1] == 1, "%s: status %d, x = %g %g", kernels.name, info, double(x[0]),
          double(x[1]));
    kernel.slogdet({small, 1, 2, 4, 2, 1}, 0, 1, &sign, &logabsdet, &info);
    const long double expected = std::log(static_cast<long double>(tiny));
    CHECK(info == 0 && std::fabs(logabsdet - expected) < 4 * epsilon<T>() * std::fabs(expected), "%s: %g", kernels.name,
          double(logabsdet));
}

template <class T>
void test_positive(const Kernels& kernels) {
    // Lanes up to 96, but few matrices in columns, as larger ones: whole and ragged vectors, groups and passes.
    std::vector<int> sizes(36);
    std::iota(sizes.begin(), sizes.end(), 1);
    sizes.insert(sizes.end(), {40, 47, 48, 49, 63, 64, 65, 66, 95, 96, 97, 130});
    for (int n : sizes) {
        for (int count : {1, 2, 16, 37}) compare<T>(kernels, n, count, count % 7 + 1, T(1));
        compare<T>(kernels, n, 3, 5, T(1));  // four right-hand sides at once, and one
        compare<T>(kernels, n, 5, 1, T(1e30));
        compare<T>(kernels, n, 5, 2, T(1e-30));
        compare_layouts<T>(kernels, n);
        for (int order : {1, n / 2 + 1, n})
            for (T pivot : {T(0), T(-1), nan_of<T>()}) reject<T>(kernels, n, order, pivot);
    }
    extremes<T>(kernels);
}

}  // namespace

int main() {
    for (const Kernels* kernels : instruction_sets()) {
        test_positive<float>(*kernels);
        test_positive<double>(*kernels);
    }
    return report("positive definite matrices");
}
