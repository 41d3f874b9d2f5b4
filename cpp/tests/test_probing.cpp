// Residuals of random vectors, distances from combinations, and sums of magnitudes, against sums in long double.
#include <limits>

#include "check.hpp"
#include "neuralinv/correction_dispatch.hpp"

using namespace neuralinv;

namespace {

template <class S>
void check_probing(int n, int vectors, bool roots = false) {
    using T = RealOf<S>;
    constexpr int parts = part_count<S>;
    const std::int64_t count = 5;
    const int width = parts * vectors, step = parts * n, pitch = n + 3;
    const std::vector<T> random = test::uniform<T>(4 * count, pitch, unsigned(n + width));
    std::vector<T> A(std::size_t(count * n * pitch * parts)), X(std::size_t(count * n * step));
    for (std::size_t e = 0; e < A.size(); ++e) A[e] = random[e];
    for (std::size_t e = 0; e < X.size(); ++e) X[e] = random[random.size() - 1 - e];
    std::vector<double> omega(std::size_t(n * width)), squares(std::size_t(count * 2 * width), -1), norms(std::size_t(2 * count));
    for (std::size_t e = 0; e < omega.size(); ++e) omega[e] = double(random[e * 7 % random.size()]);
    const MatrixBatch<S> batch{reinterpret_cast<const S*>(A.data()), count, n, n * pitch, pitch, 1};
    probe(Probing<S>{batch, reinterpret_cast<const S*>(X.data()), omega.data(), squares.data(), norms.data(), width, roots}, 3);

    const auto times = [&](const T* M, int row, const std::vector<long double>& v) {
        std::vector<long double> out(v.size(), 0.0L);
        for (int i = 0; i < n; ++i)
            for (int k = 0; k < n; ++k)
                for (int j = 0; j < width; j += parts) {
                    const T* const entry = M + i * row + k * parts;
                    const long double* const x = v.data() + k * width + j;
                    long double* const target = out.data() + i * width + j;
                    if (parts == 1) {
                        target[0] += entry[0] * x[0];
                    } else {
                        target[0] += entry[0] * x[0] - entry[parts - 1] * x[parts - 1];
                        target[parts - 1] += entry[0] * x[parts - 1] + entry[parts - 1] * x[0];
                    }
                }
        return out;
    };
    for (std::int64_t b = 0; b < count; ++b) {
        const T* const a = A.data() + b * n * pitch * parts;
        const T* const x = X.data() + b * n * step;
        std::vector<long double> D = times(a, pitch * parts, times(x, step, {omega.begin(), omega.end()}));
        if (roots) D = times(x, step, D);
        for (std::size_t e = 0; e < D.size(); ++e) D[e] -= omega[e];
        const std::vector<long double> XD = times(x, step, D);
        for (int j = 0; j < width; ++j)
            for (int second = 0; second < 2; ++second) {
                long double sum = 0;
                for (int i = 0; i < n; ++i) sum += std::pow((second ? XD : D)[std::size_t(i * width + j)], 2.0L);
                const double found = squares[std::size_t((2 * b + second) * width + j)];
                const long double off = second && sizeof(T) == sizeof(float) ? 1e-3L : 1e-12L;
                CHECK(std::fabs(found - sum) <= off * sum, "n = %d, %d vectors, matrix %d, column %d: %g", n, vectors, int(b),
                      j, found);
            }
        long double square_A = 0;
        for (int i = 0; i < n; ++i) square_A += std::pow(test::norm(a + i * pitch * parts, std::size_t(step)), 2.0L);
        CHECK(std::fabs(norms[std::size_t(2 * b)] - square_A) <= 1e-12L * square_A, "n = %d, matrix %d", n, int(b));
        const long double square_X = std::pow(test::norm(x, std::size_t(n * step)), 2.0L);
        CHECK(std::fabs(norms[std::size_t(2 * b + 1)] - square_X) <= 1e-12L * square_X, "n = %d, matrix %d", n, int(b));
    }
}

template <class T>
void check_deviation(int count, int terms, int length) {
    const int side = 40;
    std::vector<T> A = test::uniform<T>(side, side, 1);
    const std::vector<double> C = test::uniform<double>(side, side, 2), B = test::uniform<double>(side, side, 3);
    std::vector<double> squares(std::size_t(count), -1);
    deviate(Deviation<T>{A.data(), C.data(), B.data(), squares.data(), count, terms, length}, 3);
    for (int b = 0; b < count; ++b) {
        long double sum = 0;
        for (int j = 0; j < length; ++j) {
            long double entry = A[std::size_t(b * length + j)];
            for (int r = 0; r < terms; ++r) entry -= static_cast<long double>(C[std::size_t(b * terms + r)]) * B[std::size_t(r * length + j)];
            sum += entry * entry;
        }
        CHECK(std::fabs(squares[std::size_t(b)] - sum) <= 1e-12L * sum, "%d of %d terms, row %d", length, terms, b);
    }
}

template <class S>
void check_row_sums(int n) {
    using T = RealOf<S>;
    constexpr int parts = part_count<S>;
    const std::int64_t count = 4;
    std::vector<T> X = test::uniform<T>(count * parts, n, unsigned(n));
    X.back() = std::numeric_limits<T>::quiet_NaN();
    std::vector<T> rows(std::size_t(count), T(-1)), columns(rows);
    row_sums(RowSums<S>{reinterpret_cast<const S*>(X.data()), rows.data(), columns.data(), count, n}, 2);
    const auto size = [&](std::int64_t at) {
        return std::hypot(static_cast<long double>(X[std::size_t(at * parts)]), parts == 2 ? static_cast<long double>(X[std::size_t(at * parts + parts - 1)]) : 0.0L);
    };
    for (std::int64_t b = 0; b < count; ++b) {
        long double row = 0, column = 0;
        for (int i = 0; i < n; ++i) {
            long double across = 0, down = 0;
            for (int j = 0; j < n; ++j) across += size((b * n + i) * n + j), down += size((b * n + j) * n + i);
            row = std::fmax(row, across), column = std::fmax(column, down);
        }
        const std::size_t at = std::size_t(b);
        const long double most = parts == 2 ? 1.09L : 1 + 1e-5L;
        if (b + 1 == count) {
            CHECK(std::isnan(rows[at]) && std::isnan(columns[at]), "n = %d", n);
        } else {
            CHECK(rows[at] >= row * (1 - 1e-5L) && rows[at] <= row * most, "n = %d, matrix %zu", n, at);
            CHECK(columns[at] >= column * (1 - 1e-5L) && columns[at] <= column * most, "n = %d, matrix %zu", n, at);
        }
    }
}

}  // namespace

int main() {
    if (!test::has_instruction_set()) return 77;
    for (int n : {1, 2, 5, 8, 13, 16, 33, 40})
        for (int vectors : {1, 2, 7, 8, 16, 20, 32}) {
            check_probing<float>(n, vectors);
            check_probing<double>(n, 2 * vectors);
            check_probing<float>(n, vectors, true);
            check_probing<double>(n, 2 * vectors, true);
            check_probing<Complex<float>>(n, vectors);
            check_probing<Complex<double>>(n, vectors);
        }
    for (int terms : {1, 3, 17})
        for (int length : {1, 5, 32, 33}) {
            check_deviation<float>(20, terms, length);
            check_deviation<double>(7, terms, length);
        }
    for (int n : {1, 3, 16, 35}) {
        check_row_sums<float>(n);
        check_row_sums<double>(n);
        check_row_sums<Complex<float>>(n);
        check_row_sums<Complex<double>>(n);
    }
    return test::report("probing");
}
