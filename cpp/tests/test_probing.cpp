// Residuals of random vectors, distances from combinations, and sums of magnitudes, against sums in long double.
#include <limits>

#include "check.hpp"
#include "neuralinv/correction_dispatch.hpp"

using namespace neuralinv;

namespace {

// `complex`: n/2 rows of n/2 complex entries, as n real ones.
template <class T>
void check_probing(int n, int width, bool complex) {
    const std::int64_t count = 5;
    const int rows = complex ? n / 2 : n, half = width / 2, pitch = n + 3;
    std::vector<T> A(std::size_t(count * rows * pitch)), X(std::size_t(count * rows * n));
    const std::vector<T> random = test::uniform<T>(2 * count, pitch, unsigned(n + width));
    for (std::size_t e = 0; e < A.size(); ++e) A[e] = random[e];
    for (std::size_t e = 0; e < X.size(); ++e) X[e] = random[random.size() - 1 - e];
    std::vector<double> omega(std::size_t(rows * width)), squares(std::size_t(count * 2 * width), -1), norms(std::size_t(2 * count));
    for (std::size_t e = 0; e < omega.size(); ++e) omega[e] = double(random[e * 7 % random.size()]);
    probe(Probing<T>{A.data(), rows * pitch, pitch, X.data(), omega.data(), squares.data(), norms.data(), count, n, width, complex}, 3);

    // M v for vectors (rows, width), of which the latter half of the columns are imaginary parts for complex.
    const auto times = [&](const T* M, int step, const std::vector<long double>& v) {
        std::vector<long double> out(v.size(), 0.0L);
        for (int i = 0; i < rows; ++i)
            for (int k = 0; k < rows; ++k)
                for (int j = 0; j < (complex ? half : width); ++j) {
                    if (!complex) {
                        out[std::size_t(i * width + j)] += M[i * step + k] * v[std::size_t(k * width + j)];
                        continue;
                    }
                    const long double re = M[i * step + 2 * k], im = M[i * step + 2 * k + 1];
                    const long double x = v[std::size_t(k * width + j)], y = v[std::size_t(k * width + half + j)];
                    out[std::size_t(i * width + j)] += re * x - im * y;
                    out[std::size_t(i * width + half + j)] += re * y + im * x;
                }
        return out;
    };
    for (std::int64_t b = 0; b < count; ++b) {
        const T* const a = A.data() + b * rows * pitch;
        const T* const x = X.data() + b * rows * n;
        std::vector<long double> D = times(a, pitch, times(x, n, {omega.begin(), omega.end()}));
        for (std::size_t e = 0; e < D.size(); ++e) D[e] -= omega[e];
        const std::vector<long double> XD = times(x, n, D);
        for (int j = 0; j < width; ++j)
            for (int second = 0; second < 2; ++second) {
                long double sum = 0;
                for (int i = 0; i < rows; ++i) sum += std::pow((second ? XD : D)[std::size_t(i * width + j)], 2.0L);
                const double found = squares[std::size_t((2 * b + second) * width + j)];
                const long double off = second && sizeof(T) == sizeof(float) ? 1e-3L : 1e-12L;
                CHECK(std::fabs(found - sum) <= off * sum, "n = %d, width %d, matrix %d, column %d: %g", n, width, int(b), j, found);
            }
        long double square_A = 0;
        for (int i = 0; i < rows; ++i) square_A += std::pow(test::norm(a + i * pitch, std::size_t(n)), 2.0L);
        CHECK(std::fabs(norms[std::size_t(2 * b)] - square_A) <= 1e-12L * square_A, "n = %d, matrix %d", n, int(b));
        const long double square_X = std::pow(test::norm(x, std::size_t(rows * n)), 2.0L);
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

template <class T>
void check_row_sums(int n) {
    const std::int64_t count = 4;
    std::vector<T> X = test::uniform<T>(count, n, unsigned(n));
    X.back() = std::numeric_limits<T>::quiet_NaN();
    std::vector<T> rows(std::size_t(count), T(-1)), columns(rows);
    row_sums(RowSums<T>{X.data(), rows.data(), columns.data(), count, n}, 2);
    for (int b = 0; b < int(count); ++b) {
        long double row = 0, column = 0;
        for (int i = 0; i < n; ++i) {
            long double across = 0, down = 0;
            for (int j = 0; j < n; ++j) {
                across += std::fabs(static_cast<long double>(X[std::size_t((b * n + i) * n + j)]));
                down += std::fabs(static_cast<long double>(X[std::size_t((b * n + j) * n + i)]));
            }
            row = std::fmax(row, across), column = std::fmax(column, down);
        }
        if (b + 1 == count)
            CHECK(std::isnan(rows[std::size_t(b)]) && std::isnan(columns[std::size_t(b)]), "n = %d", n);
        else
            CHECK(std::fabs(rows[std::size_t(b)] - row) + std::fabs(columns[std::size_t(b)] - column) <= 1e-5L * row, "n = %d, matrix %d", n, b);
    }
}

}  // namespace

int main() {
    if (!test::has_instruction_set()) return 77;
    for (int n : {1, 2, 5, 8, 13, 16, 33, 40})
        for (int width : {1, 2, 7, 8, 16, 20, 33, 64}) {
            check_probing<float>(n, width, false);
            check_probing<double>(n, width, false);
            if (n % 2 == 0 && width % 2 == 0) {
                check_probing<float>(n, width, true);
                check_probing<double>(n, width, true);
            }
        }
    for (int terms : {1, 3, 17})
        for (int length : {1, 5, 32, 33}) {
            check_deviation<float>(20, terms, length);
            check_deviation<double>(7, terms, length);
        }
    for (int n : {1, 3, 16, 35}) {
        check_row_sums<float>(n);
        check_row_sums<double>(n);
    }
    return test::report("probing");
}
