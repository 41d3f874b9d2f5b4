// Block-tridiagonal kernels: F Fᵀ is the matrix, F solves undo F, inverse blocks times the matrix are the identity, and
// reverse passes agree with differences of the forward passes; a batch gives what its sequences give alone.
#include "neuralinv/block_tridiagonal_dispatch.hpp"

#include <cmath>
#include <cstdlib>
#include <limits>
#include <memory>

#include "check.hpp"
#include "neuralinv/dispatch.hpp"

namespace bt = neuralinv::block_tridiagonal;
using neuralinv::test::uniform;

namespace {

template <class T>
using Vec = std::vector<T>;

// A positive definite matrix, and room for what is computed from it.
template <class T>
struct Example {
    bt::Problem problem;
    std::int64_t n, steps, block;
    Vec<T> D, B, L, C;
    Vec<std::int64_t> info;

    Example(std::int64_t sequences, std::int64_t steps_, std::int64_t n_, int threads)
        : problem{sequences, steps_, n_, threads}, n(n_), steps(steps_), block(n_ * n_) {
        D = uniform<T>(sequences * steps, int(n), 1);
        B = uniform<T>(sequences * (steps - 1), int(n), 2);
        for (std::int64_t m = 0; m < sequences * steps; ++m)
            for (std::int64_t i = 0; i < n; ++i) {
                for (std::int64_t j = 0; j < i; ++j) D[m * block + j * n + i] = D[m * block + i * n + j];
                D[m * block + i * n + i] += T(3 * n);
            }
        L.resize(D.size());
        C.resize(B.size());
        info.assign(std::size_t(sequences), -7);
    }

    std::int64_t factor() { return bt::factor<T>(problem, D.data(), B.data(), L.data(), C.data(), info.data()); }

    // Σ L_bar·L + C_bar·C.
    double weighted(const Vec<T>& L_bar, const Vec<T>& C_bar) {
        factor();
        double sum = 0;
        for (std::size_t e = 0; e < L.size(); ++e) sum += double(L[e]) * double(L_bar[e]);
        for (std::size_t e = 0; e < C.size(); ++e) sum += double(C[e]) * double(C_bar[e]);
        return sum;
    }
};

// The largest entry of block (t, s) of F Fᵀ − M, s ≤ t.
template <class T>
double factor_error(const Example<T>& x, std::int64_t sequence) {
    const std::int64_t n = x.n, first = sequence * x.steps, first_below = sequence * (x.steps - 1);
    double worst = 0;
    for (std::int64_t t = 0; t < x.steps; ++t)
        for (std::int64_t i = 0; i < n; ++i)
            for (std::int64_t j = 0; j < n; ++j) {
                double diagonal = -double(x.D[(first + t) * x.block + i * n + j]);
                double below = t > 0 ? -double(x.B[(first_below + t - 1) * x.block + i * n + j]) : 0;
                for (std::int64_t k = 0; k < n; ++k) {
                    const auto l = [&](std::int64_t s, std::int64_t r) { return double(x.L[(first + s) * x.block + r * n + k]); };
                    diagonal += l(t, i) * l(t, j);
                    if (t == 0) continue;
                    const auto c = [&](std::int64_t r) { return double(x.C[(first_below + t - 1) * x.block + r * n + k]); };
                    diagonal += c(i) * c(j);
                    below += c(i) * l(t - 1, j);
                }
                worst = std::fmax(worst, std::fmax(std::fabs(diagonal), std::fabs(below)));
            }
    return worst;
}

template <class T>
void check_size(std::int64_t n, std::int64_t steps, std::int64_t sequences, int threads) {
    const double tolerance = 40 * double(n) * std::numeric_limits<T>::epsilon();
    Example<T> x(sequences, steps, n, threads);
    CHECK(x.factor() == -1, "n %ld", long(n));
    for (std::int64_t s = 0; s < sequences; ++s) {
        CHECK(x.info[s] == 0, "n %ld", long(n));
        CHECK(factor_error(x, s) <= tolerance, "n %ld T %ld: %g", long(n), long(steps), factor_error(x, s));
    }
    // Fᵀ (Fᵀ)⁻¹ b = b and F F⁻¹ b = b, for one right-hand side and for several.
    for (std::int64_t k : {1, 3}) {
        const Vec<T> b = uniform<T>(sequences * steps * n * k, 1, 3);
        for (bool transposed : {false, true}) {
            Vec<T> y(b.size());
            bt::solve<T>(x.problem, k, transposed, x.L.data(), x.C.data(), b.data(), y.data());
            double worst = 0;
            for (std::int64_t s = 0; s < sequences; ++s)
                for (std::int64_t t = 0; t < steps; ++t)
                    for (std::int64_t i = 0; i < n; ++i)
                        for (std::int64_t r = 0; r < k; ++r) {
                            double sum = -double(b[((s * steps + t) * n + i) * k + r]);
                            const std::int64_t other = transposed ? t + 1 : t - 1;
                            for (std::int64_t m = 0; m < n; ++m) {
                                const std::int64_t at = transposed ? m * n + i : i * n + m;
                                sum += double(x.L[(s * steps + t) * x.block + at]) * double(y[((s * steps + t) * n + m) * k + r]);
                                if (other < 0 || other >= steps) continue;
                                sum += double(x.C[(s * (steps - 1) + (transposed ? t : t - 1)) * x.block + at]) *
                                       double(y[((s * steps + other) * n + m) * k + r]);
                            }
                            worst = std::fmax(worst, std::fabs(sum));
                        }
            CHECK(worst <= tolerance, "n %ld k %ld transposed %d: %g", long(n), long(k), transposed, worst);
        }
    }
    // Row 0 of Σ M = I: Σ₀₀ D₀ + Σ₁₀ᵀ B₀ = I.
    Vec<T> diagonal(x.D.size()), below(x.B.size()), logarithm(std::size_t(sequences), T(0));
    bt::inverse_blocks<T>(x.problem, x.L.data(), x.C.data(), diagonal.data(), below.data());
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j < n; ++j) {
            double sum = i == j ? -1 : 0;
            for (std::int64_t k = 0; k < n; ++k) {
                sum += double(diagonal[i * n + k]) * double(x.D[k * n + j]);
                if (steps > 1) sum += double(below[k * n + i]) * double(x.B[k * n + j]);
            }
            CHECK(std::fabs(sum) <= tolerance, "n %ld: %g", long(n), sum);
        }
    bt::log_diagonal<T>(x.problem, x.L.data(), logarithm.data());
    double expected = 0;
    for (std::int64_t t = 0; t < steps; ++t)
        for (std::int64_t i = 0; i < n; ++i) expected += std::log(double(x.L[t * x.block + i * n + i]));
    CHECK(std::fabs(double(logarithm[0]) - expected) <= tolerance * double(steps * n), "n %ld", long(n));
}

// A system in one pass, forwards and backwards, gives what its steps give one by one.
template <class T>
void check_system(std::int64_t n, std::int64_t steps, std::int64_t sequences, std::int64_t k) {
    Example<T> x(sequences, steps, n, 2);
    x.factor();
    const bt::Problem& p = x.problem;
    const Vec<T> b = uniform<T>(sequences * steps * n * k, 1, 8), x_bar = uniform<T>(sequences * steps * n * k, 1, 9);
    const Vec<T> logs_bar = uniform<T>(sequences, 1, 10);
    const T *L = x.L.data(), *C = x.C.data();
    Vec<T> y(b.size()), solution(b.size()), logs(std::size_t(sequences), T(0));
    bt::solve<T>(p, k, false, L, C, b.data(), y.data());
    bt::solve<T>(p, k, true, L, C, y.data(), solution.data());
    bt::log_diagonal<T>(p, L, logs.data());
    // log det M is twice the sum of logarithms.
    Vec<T> L_bar(x.D.size()), C_bar(x.B.size()), twice(logs_bar), y_bar(b.size()), b_bar(b.size());
    for (T& value : twice) value *= 2;
    for (T& value : logs) value *= 2;
    bt::log_diagonal_rev<T>(p, L, twice.data(), L_bar.data());
    for (bool transposed : {true, false}) {
        Vec<T> l(L_bar.size()), c(C_bar.size());
        bt::solve_rev<T>(p, k, transposed, L, C, transposed ? solution.data() : y.data(),
                         transposed ? x_bar.data() : y_bar.data(), l.data(), c.data(),
                         transposed ? y_bar.data() : b_bar.data());
        for (std::size_t e = 0; e < l.size(); ++e) L_bar[e] += l[e];
        for (std::size_t e = 0; e < c.size(); ++e) C_bar[e] += c[e];
    }
    Vec<T> D_bar(x.D.size()), B_bar(x.B.size());
    bt::factor_rev<T>(p, L, C, L_bar.data(), C_bar.data(), D_bar.data(), B_bar.data());

    const auto check = [&](const char* name, const Vec<T>& ours, const Vec<T>& theirs) {
        double worst = 0, largest = 0;
        for (std::size_t e = 0; e < ours.size(); ++e) {
            worst = std::fmax(worst, std::fabs(double(ours[e]) - double(theirs[e])));
            largest = std::fmax(largest, std::fabs(double(theirs[e])));
        }
        CHECK(worst <= 100 * double(n) * std::numeric_limits<T>::epsilon() * largest, "%s: n %ld T %ld of %ld, k %ld: %g of %g",
              name, long(n), long(steps), long(sequences), long(k), worst, largest);
    };
    std::unique_ptr<T, decltype(&std::free)> factors(
        static_cast<T*>(std::aligned_alloc(64, (std::size_t(bt::factor_entries<T>(p)) * sizeof(T) + 63) / 64 * 64)), &std::free);
    for (T* kept : {static_cast<T*>(nullptr), factors.get()}) {
        Vec<T> found(b.size()), found_logs(logs.size());
        CHECK(bt::solve_system<T>(p, k, x.D.data(), x.B.data(), b.data(), found.data(), found_logs.data(), x.info.data(), kept) == -1,
              "n %ld", long(n));
        check("x", found, solution);
        check("log det", found_logs, logs);
    }
    Vec<T> D_found(x.D.size()), B_found(x.B.size()), b_found(b.size());
    bt::solve_system_rev<T>(p, k, factors.get(), solution.data(), x_bar.data(), logs_bar.data(), D_found.data(), B_found.data(),
                            b_found.data());
    check("D_bar", D_found, D_bar);
    check("B_bar", B_found, B_bar);
    check("b_bar", b_found, b_bar);
}

// The reverse pass against central differences in float64.
void check_reverse(std::int64_t n, std::int64_t steps) {
    Example<double> x(1, steps, n, 1);
    const Vec<double> L_bar = uniform<double>(steps, int(n), 4), C_bar = uniform<double>(steps - 1, int(n), 5);
    x.factor();
    Vec<double> D_bar(x.D.size()), B_bar(x.B.size());
    bt::factor_rev<double>(x.problem, x.L.data(), x.C.data(), L_bar.data(), C_bar.data(), D_bar.data(), B_bar.data());
    const Vec<double> direction_D = uniform<double>(steps, int(n), 6), direction_B = uniform<double>(steps - 1, int(n), 7);
    Vec<double> lower_bar = L_bar;  // what lies above the diagonal is not read
    for (std::int64_t t = 0; t < steps; ++t)
        for (std::int64_t i = 0; i < n; ++i)
            for (std::int64_t j = i + 1; j < n; ++j) lower_bar[t * x.block + i * n + j] = 0;
    double expected = 0, values[2];
    constexpr double h = 1e-5;
    for (int side : {0, 1}) {
        Example<double> moved = x;
        const double by = side == 0 ? -h : h;
        for (std::int64_t t = 0; t < steps; ++t)
            for (std::int64_t i = 0; i < n; ++i)
                for (std::int64_t j = 0; j < n; ++j) {
                    const std::int64_t at = t * x.block + i * n + j, other = t * x.block + j * n + i;
                    const double d = 0.5 * (direction_D[at] + direction_D[other]);
                    moved.D[at] += by * d;
                    if (side == 0) expected += d * D_bar[at];
                }
        for (std::size_t e = 0; e < x.B.size(); ++e) {
            moved.B[e] += by * direction_B[e];
            if (side == 0) expected += direction_B[e] * B_bar[e];
        }
        values[side] = moved.weighted(lower_bar, C_bar);
    }
    const double difference = (values[1] - values[0]) / (2 * h);
    CHECK(std::fabs(difference - expected) <= 1e-7 * (1 + std::fabs(expected)), "n %ld T %ld: %g, expected %g", long(n),
          long(steps), expected, difference);
}

// Gradients of the blocks of the inverse against central differences, in the direction of random L and C.
void check_inverse_reverse(std::int64_t n, std::int64_t steps) {
    Example<double> x(1, steps, n, 1);
    x.factor();
    const Vec<double> diagonal_bar = uniform<double>(steps, int(n), 4), below_bar = uniform<double>(steps - 1, int(n), 5);
    Vec<double> diagonal(x.D.size()), below(x.B.size()), L_bar(x.D.size()), C_bar(x.B.size());
    bt::inverse_blocks<double>(x.problem, x.L.data(), x.C.data(), diagonal.data(), below.data());
    bt::inverse_blocks_rev<double>(x.problem, x.L.data(), x.C.data(), diagonal.data(), below.data(), diagonal_bar.data(),
                                   below_bar.data(), L_bar.data(), C_bar.data());
    Vec<double> direction_L = uniform<double>(steps, int(n), 6);
    const Vec<double> direction_C = uniform<double>(steps - 1, int(n), 7);
    for (std::int64_t t = 0; t < steps; ++t)
        for (std::int64_t i = 0; i < n; ++i)
            for (std::int64_t j = i + 1; j < n; ++j) {
                CHECK(L_bar[t * x.block + i * n + j] == 0, "n %ld", long(n));
                direction_L[t * x.block + i * n + j] = 0;
            }
    constexpr double h = 1e-5;
    double expected = 0, values[2];
    for (std::size_t e = 0; e < x.L.size(); ++e) expected += direction_L[e] * L_bar[e];
    for (std::size_t e = 0; e < x.C.size(); ++e) expected += direction_C[e] * C_bar[e];
    for (int side : {0, 1}) {
        Vec<double> L = x.L, C = x.C;
        for (std::size_t e = 0; e < L.size(); ++e) L[e] += (side == 0 ? -h : h) * direction_L[e];
        for (std::size_t e = 0; e < C.size(); ++e) C[e] += (side == 0 ? -h : h) * direction_C[e];
        bt::inverse_blocks<double>(x.problem, L.data(), C.data(), diagonal.data(), below.data());
        values[side] = 0;
        for (std::size_t e = 0; e < L.size(); ++e) values[side] += diagonal[e] * diagonal_bar[e];
        for (std::size_t e = 0; e < C.size(); ++e) values[side] += below[e] * below_bar[e];
    }
    const double difference = (values[1] - values[0]) / (2 * h);
    CHECK(std::fabs(difference - expected) <= 1e-7 * (1 + std::fabs(expected)), "n %ld T %ld: %g, expected %g", long(n),
          long(steps), expected, difference);
}

// Every sequence of a batch, full vectors of them and what is left over, gives what it gives alone.
template <class T>
void check_batches(std::int64_t n, std::int64_t steps, std::int64_t sequences, int threads) {
    Example<T> x(sequences, steps, n, threads);
    x.factor();
    const Vec<T> L_bar = uniform<T>(sequences * steps, int(n), 4), C_bar = uniform<T>(sequences * (steps - 1), int(n), 5);
    const auto run = [&](const bt::Problem& problem, std::int64_t first) {
        const std::int64_t at = first * steps * x.block, below = first * (steps - 1) * x.block;
        const std::int64_t size = problem.sequences * steps * x.block, size_below = problem.sequences * (steps - 1) * x.block;
        Vec<Vec<T>> results;
        const auto room = [&](std::int64_t entries) { return results.emplace_back(Vec<T>(std::size_t(entries))).data(); };
        results.reserve(8);
        const T *L = x.L.data() + at, *C = x.C.data() + below, *l = L_bar.data() + at, *c = C_bar.data() + below;
        Vec<std::int64_t> info(std::size_t(problem.sequences), 0);
        T *a = room(size), *b = room(size_below);
        bt::factor<T>(problem, x.D.data() + at, x.B.data() + below, a, b, info.data());
        a = room(size), b = room(size_below);
        bt::factor_rev<T>(problem, L, C, l, c, a, b);
        T *d = room(size), *e = room(size_below);
        bt::inverse_blocks<T>(problem, L, C, d, e);
        a = room(size), b = room(size_below);
        bt::inverse_blocks_rev<T>(problem, L, C, d, e, l, c, a, b);
        return results;
    };
    const Vec<Vec<T>> together = run(x.problem, 0);
    for (std::int64_t s = 0; s < sequences; ++s) {
        const Vec<Vec<T>> alone = run({1, steps, n, 1}, s);
        for (std::size_t r = 0; r < alone.size(); ++r) {
            const std::size_t begin = std::size_t(s) * alone[r].size();
            double worst = 0, largest = 0;
            for (std::size_t e = 0; e < alone[r].size(); ++e) {
                worst = std::fmax(worst, std::fabs(double(alone[r][e]) - double(together[r][begin + e])));
                largest = std::fmax(largest, std::fabs(double(alone[r][e])));
            }
            CHECK(worst <= 20 * double(n) * std::numeric_limits<T>::epsilon() * largest, "n %ld sequence %ld of %ld, result %zu: %g",
                  long(n), long(s), long(sequences), r, worst);
        }
    }
}

template <class T>
void check_failures(std::int64_t n) {
    Example<T> x(21, 4, n, 2);  // enough for lanes, and some left over
    x.D[(2 * 4 + 3) * x.block + (n - 1) * n + n - 1] = T(-1);
    x.D[(4 * 4 + 1) * x.block] = std::numeric_limits<T>::quiet_NaN();
    CHECK(x.factor() == 2, "n %ld", long(n));
    CHECK(x.info[2] == 3 * n + n && x.info[4] == n + 1 && x.info[0] == 0, "n %ld: %ld %ld", long(n), long(x.info[2]),
          long(x.info[4]));
    CHECK(std::isnan(x.L[2 * 4 * x.block]) && !std::isnan(x.L[3 * 4 * x.block]), "n %ld", long(n));
}

template <class T>
void check_all() {
    for (std::int64_t n : {1, 2, 3, 4, 5, 7, 8, 9, 10, 12, 13, 16, 17, 24, 25, 31, 32, 33, 64, 65}) {
        check_size<T>(n, 1, 1, 1);
        check_size<T>(n, 2, 1, 1);
        check_size<T>(n, 5, 9, 3);
        check_failures<T>(n);
        check_batches<T>(n, 3, 2 * 16 + 7, 2);
        check_system<T>(n, 3, 1, 1);
        check_system<T>(n, 2, 2 * 16 + 7, n == 5 ? 20 : 2);
    }
    for (std::int64_t sequences : {1, 2, 3, 4, 5, 8, 9, 16, 17}) check_batches<T>(6, 1, sequences, 1);
}

}  // namespace

int main() {
    std::printf("%s\n", neuralinv::instruction_set().c_str());
    check_all<float>();
    check_all<double>();
    for (std::int64_t n : {1, 2, 3, 5, 8, 10, 12, 13, 20, 33})
        for (std::int64_t steps : {1, 2, 4}) {
            check_reverse(n, steps);
            check_inverse_reverse(n, steps);
        }
    return neuralinv::test::report("block-tridiagonal");
}
