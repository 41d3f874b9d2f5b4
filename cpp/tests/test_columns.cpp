// Inverses, solutions and determinants against elimination in long double, for every size and both structures.
#include "neuralinv/dispatch.hpp"

#include <limits>

#include "check.hpp"

using namespace neuralinv;

namespace {

constexpr long double allowed = 30;  // times n, the unit roundoff and the condition number

template <class T>
void judge(const char* what, int n, long double condition, const T* X, const std::vector<long double>& expected, int columns) {
    const long double unit = std::numeric_limits<T>::epsilon();
    std::vector<long double> difference(expected);
    for (std::size_t e = 0; e < expected.size(); ++e) difference[e] -= X[e];
    const long double error =
        test::norm(difference.data(), difference.size()) / test::norm(expected.data(), expected.size());
    CHECK(error <= allowed * n * unit * condition, "%s of %d×%d, %d columns, %zu bytes: error %Lg, condition %Lg", what, n,
          n, columns, sizeof(T), error, condition);
}

template <class T>
long double condition_of(int n, const T* A, const std::vector<long double>& inverse) {
    return test::norm(A, std::size_t(n * n)) * test::norm(inverse.data(), inverse.size());
}

template <class T>
std::vector<T> matrices(std::int64_t count, int n, Structure structure) {
    std::vector<T> A = test::uniform<T>(count, n, unsigned(n));
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
    return A;
}

template <class T>
void check_size(int n, std::int64_t count, Structure structure) {
    const std::vector<T> A = matrices<T>(count, n, structure);
    const std::size_t entries = std::size_t(n * n);
    const MatrixBatch<T> rows{A.data(), count, n, std::int64_t(entries), n, 1};
    const MatrixBatch<T> columns{A.data(), count, n, std::int64_t(entries), 1, n};  // the transposes
    std::vector<T> X(A.size()), Y(A.size());
    std::vector<Status> info(std::size_t(count), -1);
    CHECK(invert(rows, structure, X.data(), info.data(), 1).index == -1, "inverse of %d×%d", n, n);
    CHECK(invert(columns, structure, Y.data(), nullptr, 2).index == -1, "inverse of the transpose of %d×%d", n, n);
    std::vector<T> sign(static_cast<std::size_t>(count)), logabsdet(static_cast<std::size_t>(count));
    CHECK(slogdet(rows, structure, sign.data(), logabsdet.data(), 2).index == -1, "determinant of %d×%d", n, n);
    std::vector<long double> conditions;
    for (std::int64_t b = 0; b < count; ++b) {
        CHECK(info[std::size_t(b)] == success, "info of matrix %ld", long(b));
        const T* a = A.data() + std::size_t(b) * entries;
        const auto expected = test::inverse(a, n);
        conditions.push_back(condition_of(n, a, expected));
        judge("inverse", n, conditions.back(), X.data() + std::size_t(b) * entries, expected, n);
        std::vector<long double> transposed(entries);
        for (int i = 0; i < n; ++i)
            for (int j = 0; j < n; ++j) transposed[std::size_t(i * n + j)] = expected[std::size_t(j * n + i)];
        judge("inverse of the transpose", n, conditions.back(), Y.data() + std::size_t(b) * entries, transposed, n);
    }
    for (int k : {1, 3, n, 2 * n + 1}) {
        std::vector<T> B = test::uniform<T>(count, k > n ? k : n, unsigned(n + k));
        const RightSides<T> sides{B.data(), k, n * k, k, 1};
        std::vector<T> Z(std::size_t(count * n * k));
        CHECK(solve(rows, sides, structure, Z.data(), info.data(), 1).index == -1, "solution of %d×%d", n, n);
        for (std::int64_t b = 0; b < count; ++b) {
            const std::vector<long double> right(B.begin() + b * n * k, B.begin() + (b + 1) * n * k);
            const T* a = A.data() + std::size_t(b) * entries;
            judge("solution", n, conditions[std::size_t(b)], Z.data() + b * n * k, test::solve(a, n, right.data(), k), k);
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

// One matrix by several threads, as many as the machine has and more, against one thread. Rounding may differ.
template <class T>
void check_teams(int n, Structure structure) {
    const std::vector<T> A = matrices<T>(1, n, structure), B = test::uniform<T>(1, n, 1);
    const std::size_t entries = std::size_t(n * n);
    const auto expected = test::inverse(A.data(), n);
    const long double condition = condition_of(n, A.data(), expected);
    std::vector<long double> transposed(entries);
    for (int i = 0; i < n; ++i)
        for (int j = 0; j < n; ++j) transposed[std::size_t(i * n + j)] = expected[std::size_t(j * n + i)];
    std::vector<T> padded(std::size_t(n * (n + 3)));
    for (int i = 0; i < n; ++i)
        for (int j = 0; j < n; ++j) padded[std::size_t(i * (n + 3) + j)] = A[std::size_t(i * n + j)];
    const MatrixBatch<T> rows{A.data(), 1, n, n * n, n, 1}, columns{A.data(), 1, n, n * n, 1, n}, apart{padded.data(), 1, n, 0, n + 3, 1};
    T sign, logabsdet, sign_of_team, log_of_team;
    slogdet(rows, structure, &sign, &logabsdet, 1);
    for (int threads : {2, 3, 5}) {
        std::vector<T> X(entries);
        CHECK(invert(rows, structure, X.data(), nullptr, threads).index == -1, "%d×%d, %d threads", n, n, threads);
        judge("inverse", n, condition, X.data(), expected, n);
        CHECK(invert(apart, structure, X.data(), nullptr, threads).index == -1, "%d×%d, %d threads", n, n, threads);
        judge("inverse of rows that lie apart", n, condition, X.data(), expected, n);
        CHECK(invert(columns, structure, X.data(), nullptr, threads).index == -1, "%d×%d, %d threads", n, n, threads);
        judge("inverse of the transpose", n, condition, X.data(), transposed, n);
        for (int k : {1, 9, n / 8}) {
            const RightSides<T> sides{B.data(), k, 0, k, 1};
            std::vector<T> x(std::size_t(n * k));
            CHECK(solve(rows, sides, structure, x.data(), nullptr, threads).index == -1, "%d×%d, %d threads", n, n, threads);
            std::vector<long double> true_x(x.size());
            for (int i = 0; i < n; ++i)
                for (int l = 0; l < n; ++l)
                    for (int c = 0; c < k; ++c) true_x[std::size_t(i * k + c)] += expected[std::size_t(i * n + l)] * B[std::size_t(l * k + c)];
            judge("solution", n, condition, x.data(), true_x, k);
        }
        slogdet(rows, structure, &sign_of_team, &log_of_team, threads);
        CHECK(sign == sign_of_team, "%d×%d, %d threads: sign %g", n, n, threads, double(sign_of_team));
        CHECK(std::fabs(logabsdet - log_of_team) < 2000 * n * std::numeric_limits<T>::epsilon(), "%d×%d, %d threads: %g and %g", n, n, threads,
              double(logabsdet), double(log_of_team));
    }
}

// Three matrices for two threads: the third is the work of both, and the one that fails.
template <class T>
void check_failures_of_teams(int n) {
    std::vector<T> A = test::uniform<T>(3, n, 1), X(A.size());
    const std::size_t entries = std::size_t(n * n);
    for (int i = 0; i < n; ++i) A[2 * entries + std::size_t(i * n + n / 2)] = 0;
    std::vector<Status> info(3, -1);
    const MatrixBatch<T> batch{A.data(), 3, n, std::int64_t(entries), n, 1};
    FirstFailure first = invert(batch, Structure::general, X.data(), info.data(), 2);
    CHECK(first.index == 2 && first.status == n / 2 + 1, "%d×%d: %ld, %d", n, n, long(first.index), first.status);
    CHECK(info[0] == 0 && info[1] == 0 && info[2] == n / 2 + 1 && std::isnan(X[2 * entries]), "%d×%d: %d %d %d", n, n, info[0], info[1], info[2]);
    for (int i = 0; i < n; ++i) A[std::size_t(i * n)] = 0;  // the first, by one thread, and the third: the first is named
    first = invert(batch, Structure::general, X.data(), info.data(), 2);
    CHECK(first.index == 0 && info[2] == n / 2 + 1, "%d×%d: %ld, %d", n, n, long(first.index), info[2]);

    std::vector<T> P(entries, T(0));
    for (int i = 0; i < n; ++i) P[std::size_t(i * n + i)] = T(i == n / 2 ? -1 : 1);
    const MatrixBatch<T> indefinite{P.data(), 1, n, 0, n, 1};
    const RightSides<T> sides{A.data() + entries, 2, 0, 2, 1};
    CHECK(invert(indefinite, Structure::positive, X.data(), nullptr, 2).status == n / 2 + 1, "%d×%d", n, n);
    CHECK(solve(indefinite, sides, Structure::positive, X.data(), nullptr, 2).status == n / 2 + 1, "%d×%d", n, n);
    T sign, logabsdet;
    CHECK(slogdet(indefinite, Structure::positive, &sign, &logabsdet, 2).status == n / 2 + 1, "%d×%d", n, n);
}

template <class T>
void check_all() {
    for (int n = 1; n <= 40; ++n) {
        check_size<T>(n, 7, Structure::general);
        if (n > 16) check_size<T>(n, 3, Structure::positive);
    }
    for (int n : {64, 100}) check_size<T>(n, 2, Structure::general);
    for (int n : {8, 9, 16, 17, 33, 70}) check_failures<T>(n);
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
    if (sizeof(T) == 8) return;  // what follows would take minutes, most of them for the oracle
#endif
    for (int n : {385, 531}) check_teams<T>(n, Structure::general);
    check_teams<T>(769, Structure::positive);
    check_failures_of_teams<T>(770);
}

}  // namespace

int main() {
    if (!test::has_instruction_set()) return 77;
    check_all<float>();
    check_all<double>();
    return test::report("columns");
}
