// Inverses, solutions and determinants against elimination in long double, for every size and both structures.
#include "neuralinv/dispatch.hpp"

#include <limits>

#include "check.hpp"

using namespace neuralinv;

namespace {

constexpr long double allowed = 30;  // times n, the unit roundoff and the condition number

template <class T>
void judge(const char* what, int n, const T* A, const T* X, const std::vector<long double>& expected, int columns) {
    const long double unit = std::numeric_limits<T>::epsilon();
    const auto inverse = test::inverse(A, n);
    const long double condition = test::norm(A, std::size_t(n * n)) * test::norm(inverse.data(), inverse.size());
    std::vector<long double> difference(expected);
    for (std::size_t e = 0; e < expected.size(); ++e) difference[e] -= X[e];
    const long double error =
        test::norm(difference.data(), difference.size()) / test::norm(expected.data(), expected.size());
    CHECK(error <= allowed * n * unit * condition, "%s of %d×%d, %d columns, %zu bytes: error %Lg, condition %Lg", what, n,
          n, columns, sizeof(T), error, condition);
}

template <class T>
void check_size(int n, std::int64_t count, Structure structure) {
    std::vector<T> A = test::uniform<T>(count, n, unsigned(n));
    const std::size_t entries = std::size_t(n * n);
    if (structure == Structure::positive)
        for (std::int64_t b = 0; b < count; ++b) {
            const std::vector<T> half(A.begin() + b * n * n, A.begin() + (b + 1) * n * n);
            for (int i = 0; i < n; ++i)
                for (int j = 0; j < n; ++j) {
                    T sum = T(i == j);
                    for (int k = 0; k < n; ++k) sum += half[std::size_t(i * n + k)] * half[std::size_t(j * n + k)];
                    A[std::size_t(b * n * n + i * n + j)] = sum;
                }
            for (int i = 0; i < n; ++i)  // exactly symmetric, for the oracle
                for (int j = i + 1; j < n; ++j)
                    A[std::size_t(b * n * n + i * n + j)] = A[std::size_t(b * n * n + j * n + i)];
        }
    const MatrixBatch<T> rows{A.data(), count, n, std::int64_t(entries), n, 1};
    const MatrixBatch<T> columns{A.data(), count, n, std::int64_t(entries), 1, n};  // the transposes
    std::vector<T> X(A.size()), Y(A.size());
    std::vector<Status> info(std::size_t(count), -1);
    CHECK(invert(rows, structure, X.data(), info.data(), 1).index == -1, "inverse of %d×%d", n, n);
    CHECK(invert(columns, structure, Y.data(), nullptr, 2).index == -1, "inverse of the transpose of %d×%d", n, n);
    std::vector<T> sign(static_cast<std::size_t>(count)), logabsdet(static_cast<std::size_t>(count));
    CHECK(slogdet(rows, structure, sign.data(), logabsdet.data(), 2).index == -1, "determinant of %d×%d", n, n);
    for (std::int64_t b = 0; b < count; ++b) {
        CHECK(info[std::size_t(b)] == success, "info of matrix %ld", long(b));
        const T* a = A.data() + std::size_t(b) * entries;
        const auto expected = test::inverse(a, n);
        judge("inverse", n, a, X.data() + std::size_t(b) * entries, expected, n);
        std::vector<long double> transposed(entries);
        for (int i = 0; i < n; ++i)
            for (int j = 0; j < n; ++j) transposed[std::size_t(i * n + j)] = expected[std::size_t(j * n + i)];
        judge("inverse of the transpose", n, a, Y.data() + std::size_t(b) * entries, transposed, n);
    }
    for (int k : {1, 3, n, 2 * n + 1}) {
        std::vector<T> B = test::uniform<T>(count, k > n ? k : n, unsigned(n + k));
        const RightSides<T> sides{B.data(), k, n * k, k, 1};
        std::vector<T> Z(std::size_t(count * n * k));
        CHECK(solve(rows, sides, structure, Z.data(), info.data(), 1).index == -1, "solution of %d×%d", n, n);
        for (std::int64_t b = 0; b < count; ++b) {
            const std::vector<long double> right(B.begin() + b * n * k, B.begin() + (b + 1) * n * k);
            const T* a = A.data() + std::size_t(b) * entries;
            judge("solution", n, a, Z.data() + b * n * k, test::solve(a, n, right.data(), k), k);
        }
    }
    // det(A) det(A⁻¹) = 1.
    std::vector<T> inverse_sign(sign), inverse_log(logabsdet);
    const MatrixBatch<T> inverses{X.data(), count, n, std::int64_t(entries), n, 1};
    slogdet(inverses, Structure::general, inverse_sign.data(), inverse_log.data(), 1);
    for (std::size_t b = 0; b < std::size_t(count); ++b) {
        CHECK(sign[b] == inverse_sign[b], "sign of %d×%d", n, n);
        CHECK(std::fabs(logabsdet[b] + inverse_log[b]) < 2000 * n * std::numeric_limits<T>::epsilon(),
              "logabsdet of %d×%d: %g and %g", n, n, double(logabsdet[b]), double(inverse_log[b]));
    }
}

template <class T>
void check_failures(int n) {
    std::vector<T> A = test::uniform<T>(5, n, 1), X(A.size());
    const std::size_t entries = std::size_t(n * n);
    for (int i = 0; i < n; ++i) A[2 * entries + std::size_t(i * n + n / 2)] = 0;         // a column of zeros
    for (int j = 0; j < n; ++j) A[3 * entries + std::size_t(j)] = 0;                     // a row of zeros: the last to be chosen
    A[4 * entries] = std::numeric_limits<T>::quiet_NaN();
    std::vector<Status> info(5);
    const MatrixBatch<T> batch{A.data(), 5, n, std::int64_t(entries), n, 1};
    const FirstFailure first = invert(batch, Structure::general, X.data(), info.data(), 2);
    CHECK(first.index == 2 && first.status == n / 2 + 1, "%d×%d: %ld, %d", n, n, long(first.index), first.status);
    CHECK(info[0] == 0 && info[1] == 0 && info[3] == n && info[4] == 0, "%d×%d: %d %d %d %d", n, n, info[0], info[1], info[3],
          info[4]);
    CHECK(std::isnan(X[2 * entries]) && std::isnan(X[3 * entries]) && std::isnan(X[4 * entries]), "%d×%d", n, n);
    T sign[5], logabsdet[5];
    slogdet(batch, Structure::general, sign, logabsdet, 1);
    CHECK(sign[2] == 0 && logabsdet[2] == -std::numeric_limits<T>::infinity(), "%d×%d: %g %g", n, n, double(sign[2]),
          double(logabsdet[2]));
    CHECK(std::isnan(logabsdet[4]), "%d×%d: %g", n, n, double(logabsdet[4]));

    std::vector<T> P(entries, T(0));
    for (int i = 0; i < n; ++i) P[std::size_t(i * n + i)] = T(i == n / 2 ? -1 : 1);
    const MatrixBatch<T> indefinite{P.data(), 1, n, std::int64_t(entries), n, 1};
    CHECK(invert(indefinite, Structure::positive, X.data(), nullptr, 1).status == n / 2 + 1, "%d×%d", n, n);
}

template <class T>
void check_all() {
    for (int n = 1; n <= 40; ++n) {
        check_size<T>(n, 7, Structure::general);
        if (n > 16) check_size<T>(n, 3, Structure::positive);
    }
    for (int n : {64, 100}) check_size<T>(n, 2, Structure::general);
    for (int n : {8, 9, 16, 17, 33, 70}) check_failures<T>(n);
}

}  // namespace

int main() {
    if (!test::has_instruction_set()) return 77;
    check_all<float>();
    check_all<double>();
    return test::report("columns");
}
