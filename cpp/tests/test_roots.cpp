// Looks at matrices, sums of shifted inverses, corrections of roots and signs of pivots, beside slow sums in long double.
#include <algorithm>
#include <limits>

#include "check.hpp"
#include "neuralinv/root_dispatch.hpp"

using namespace neuralinv;

namespace {

using Wide = std::vector<long double>;

// Symmetric matrices (count, n, n), positive definite for shift > n.
template <class T>
std::vector<T> symmetric(std::int64_t count, int n, double shift, unsigned seed) {
    std::vector<T> A = test::uniform<T>(count, n, seed);
    for (std::int64_t b = 0; b < count; ++b)
        for (int i = 0; i < n; ++i) {
            T* const a = A.data() + b * n * n;
            for (int j = 0; j < i; ++j) a[i * n + j] = a[j * n + i];
            a[i * n + i] += T(shift);
        }
    return A;
}

Wide times(int n, const Wide& A, const Wide& B) {
    Wide C(A.size(), 0.0L);
    for (int i = 0; i < n; ++i)
        for (int k = 0; k < n; ++k)
            for (int j = 0; j < n; ++j) C[i * n + j] += A[i * n + k] * B[k * n + j];
    return C;
}

template <class T>
Wide widen(const T* A, int n) {
    return Wide(A, A + n * n);
}

template <class T>
void check_survey(int n) {
    const std::int64_t count = 3;
    std::vector<T> A = symmetric<T>(count, n, n, unsigned(n));
    if (n > 1) A[std::size_t(n * n + n)] += T(1);
    const std::vector<T> start(std::size_t(n), T(1));
    std::vector<double> sizes(std::size_t(count * surveyed));
    bool seen[count] = {};
    survey(Survey<T>{A.data(), start.data(), sizes.data(), seen, count, n}, 2);
    for (int b = 0; b < int(count); ++b) {
        CHECK(seen[b] == (b != 1 || n == 1), "n = %d, matrix %d", n, b);
        if (b == 1) continue;
        const T* const a = A.data() + b * n * n;
        const long double size = test::norm(a, std::size_t(n * n));
        long double rows = 0;
        Wide x(std::size_t(n), 1.0L);
        for (int i = 0; i < n; ++i) {
            long double sum = 0;
            for (int j = 0; j < n; ++j) sum += std::fabs(a[i * n + j]);
            rows = std::max(rows, sum);
        }
        long double largest = 0;
        for (int k = 0; k < 7; ++k) {
            Wide y(std::size_t(n), 0.0L);
            largest = 0;
            for (int i = 0; i < n; ++i) {
                for (int j = 0; j < n; ++j) y[std::size_t(i)] += a[i * n + j] * x[std::size_t(j)];
                largest += y[std::size_t(i)] * y[std::size_t(i)];
            }
            largest = std::sqrt(largest);
            for (int i = 0; i < n; ++i) x[std::size_t(i)] = y[std::size_t(i)] / largest;
        }
        const double* const found = sizes.data() + b * surveyed;
        CHECK(std::fabs(found[0] - size * size) <= 1e-12L * size * size, "n = %d: %g", n, found[0]);
        CHECK(std::fabs(found[1] - rows) <= 1e-5L * rows, "n = %d: %g", n, found[1]);
        CHECK(std::fabs(found[2] - largest) <= 1e-4L * largest, "n = %d: %g beside %Lg", n, found[2], largest);
    }
}

template <class T>
void check_sum(int n) {
    const std::int64_t count = 3;
    std::vector<T> A = symmetric<T>(count, n, n + 1, unsigned(n));
    A[std::size_t(n * n)] = T(-5) * T(n);  // the second one is not positive definite
    const double scales[count] = {3.0 * n, 1.0, 0.7e10};
    const double shifts[] = {1e-2, 0.3, 2}, weights[] = {0.25, 1, 3};
    std::vector<T> X(A.size(), T(-1));
    sum_inverses(ShiftedInverses<T>{A.data(), scales, shifts, weights, X.data(), count, n, 3}, 2);
    for (int b = 0; b < int(count); ++b) {
        const T *const a = A.data() + b * n * n, *const x = X.data() + b * n * n;
        if (b == 1) {
            for (int e = 0; e < n * n; ++e) CHECK(std::isnan(x[e]), "n = %d, entry %d: %g", n, e, double(x[e]));
            continue;
        }
        Wide sum(std::size_t(n * n), 0.0L);
        for (int j = 0; j < 3; ++j) {
            Wide shifted = widen(a, n);
            for (int i = 0; i < n; ++i) shifted[std::size_t(i * n + i)] += scales[b] * shifts[j];
            const Wide inverse = test::inverse(shifted.data(), n);
            for (std::size_t e = 0; e < sum.size(); ++e) sum[e] += weights[j] * std::sqrt(static_cast<long double>(scales[b])) * inverse[e];
        }
        const long double size = test::norm(sum.data(), sum.size());
        for (int i = 0; i < n; ++i)
            for (int j = 0; j < n; ++j) {
                CHECK(std::fabs(x[i * n + j] - sum[std::size_t(i * n + j)]) <= 100 * std::numeric_limits<T>::epsilon() * size,
                      "n = %d, matrix %d, entry %d, %d: %g", n, b, i, j, double(x[i * n + j]));
                CHECK(x[i * n + j] == x[j * n + i], "n = %d, matrix %d, entry %d, %d", n, b, i, j);
            }
    }
}

template <class T>
void check_correction(int n) {
    const std::int64_t count = 3;
    const std::vector<T> A = symmetric<T>(count, n, n + 1, unsigned(n));
    std::vector<T> X = symmetric<T>(count, n, 1, unsigned(n + 1));
    for (T& x : X) x *= T(1 / std::sqrt(n + 1.0));
    const std::vector<T> before = X;
    std::vector<double> squares(std::size_t(count * root_sums));
    correct_roots(RootResidual<T>{A.data(), X.data(), squares.data(), count, n}, 2);
    for (int b = 0; b < int(count); ++b) {
        const Wide a = widen(A.data() + b * n * n, n), x = widen(before.data() + b * n * n, n);
        Wide R = times(n, x, times(n, a, x));
        for (int e = 0; e < n * n; ++e) R[std::size_t(e)] = (e % (n + 1) == 0 ? 1 : 0) - R[std::size_t(e)];
        const Wide U = times(n, R, x);
        Wide commutator(U);
        for (int i = 0; i < n; ++i)
            for (int j = 0; j < n; ++j) commutator[std::size_t(i * n + j)] -= U[std::size_t(j * n + i)];
        const long double size = test::norm(U.data(), U.size());
        const Wide* const all[] = {&a, &x, &R, &U, &commutator};
        for (int k = 0; k < int(root_sums); ++k) {
            const long double expected = test::norm(all[k]->data(), U.size());
            const double found = std::sqrt(squares[std::size_t(b * root_sums + k)]);
            const long double off = k < 3 ? 1e-12L * expected : 100 * std::numeric_limits<T>::epsilon() * size;
            CHECK(std::fabs(found - expected) <= off, "n = %d, matrix %d, norm %d: %g beside %Lg", n, b, k, found, expected);
        }
        for (int i = 0; i < n; ++i)
            for (int j = 0; j < n; ++j) {
                const std::size_t at = std::size_t(i * n + j), opposite = std::size_t(j * n + i);
                const long double expected = x[at] + (U[at] + U[opposite]) / 4;
                const T found = X[std::size_t(b * n * n) + at];
                CHECK(std::fabs(found - expected) <= 100 * std::numeric_limits<T>::epsilon() * (size + 1),
                      "n = %d, matrix %d, entry %d, %d: %g beside %Lg", n, b, i, j, double(found), expected);
                CHECK(found == X[std::size_t(b * n * n) + opposite], "n = %d, matrix %d, entry %d, %d", n, b, i, j);
            }
    }
}

template <class T>
void check_signs(int n) {
    for (int at = 0; at < n; ++at) {
        const std::int64_t count = 3;
        std::vector<T> X = symmetric<T>(count, n, n + 1, unsigned(n));
        X[std::size_t(n * n + at * (n + 1))] = T(-0.01);
        X[std::size_t(2 * n * n + at * (n + 1))] = std::numeric_limits<T>::quiet_NaN();
        bool positive[count] = {false, true, true};
        pivot_signs(PivotSigns<T>{X.data(), positive, count, n}, 2);
        CHECK(positive[0] && !positive[1] && !positive[2], "n = %d, pivot %d: %d %d %d", n, at, positive[0], positive[1], positive[2]);
    }
}

template <class T>
void check_all(int n) {
    check_survey<T>(n);
    check_sum<T>(n);
    check_correction<T>(n);
    check_signs<T>(n);
}

}  // namespace

int main() {
    if (!test::has_instruction_set()) return 77;
    for (int n : {1, 2, 3, 7, 8, 9, 15, 16, 17, 32, 33, 40, 65, 96}) {
        check_all<float>(n);
        check_all<double>(n);
    }
    return test::report("roots");
}
