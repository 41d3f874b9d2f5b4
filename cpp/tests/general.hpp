// What test_solve.cpp asks of real matrices and test_complex.cpp of complex ones.
#pragma once

#include "oracle.hpp"

namespace neuralinv::test {

inline constexpr int largest_lu = 16;

// Inverses by the kernels are compared too where `inverses` is true.
template <class S>
void compare_general(const Kernels& kernels, int n, int count, int k, RealOf<S> scale, bool inverses) {
    using T = RealOf<S>;
    std::vector<S> A = random_matrices<S>(count, n, n, unsigned(100 * n + count));
    T* parts = reinterpret_cast<T*>(A.data());
    for (std::size_t e = 0; e < A.size() * sizeof(S) / sizeof(T); ++e) parts[e] *= scale;
    const std::vector<S> B = random_matrices<S>(count, n, k, 5);
    const MatrixBatch<S> batch{A.data(), count, n, n * n, n, 1};
    const RightSides<S> sides{B.data(), k, n * k, k, 1};
    std::vector<S> X(A.size()), Y(B.size()), sign(count);
    std::vector<T> logabsdet(count);
    std::vector<Status> info(count, -1);
    const GeneralKernels<S>& kernel = kernels.general<S>();
    CHECK(kernel.invert(batch, 0, count, X.data(), nullptr).index == -1, "%s n %d", kernels.name, n);
    CHECK(kernel.solve(batch, sides, 0, count, Y.data(), info.data()).index == -1, "%s n %d", kernels.name, n);
    kernel.slogdet(batch, 0, count, sign.data(), logabsdet.data());
    for (int b = 0; b < count; ++b) {
        const Truth<S> truth(A.data() + b * n * n, n);
        if (inverses) {
            const long double error = truth.error(X.data() + b * n * n, nullptr, n);
            CHECK(error < 2 * n + 4, "%s n %d count %d matrix %d: error %Lg", kernels.name, n, count, b, error);
        }
        const long double error = truth.error(Y.data() + b * n * k, B.data() + b * n * k, k);
        CHECK(error < 2 * n + 4, "%s n %d k %d matrix %d: error %Lg", kernels.name, n, k, b, error);
        const long double allowed = epsilon<T>() * (2 * truth.condition * n + 4 * std::fabs(truth.inverse.logabsdet));
        CHECK(std::fabs(logabsdet[b] - truth.inverse.logabsdet) <= allowed, "%s n %d matrix %d: %.17g, not %.17Lg",
              kernels.name, n, b, double(logabsdet[b]), truth.inverse.logabsdet);
        CHECK(std::abs(widen(sign[b]) - truth.inverse.sign) <= allowed, "%s n %d matrix %d: sign", kernels.name, n, b);
        CHECK(info[b] == success, "%s n %d matrix %d", kernels.name, n, b);
    }
}

template <class S>
bool same(const std::vector<S>& a, const std::vector<S>& b) {
    return widen(a.data(), a.size()) == widen(b.data(), b.size());
}

// The same numbers through strides as without.
template <class S>
void compare_general_layouts(const Kernels& kernels, int n) {
    using T = RealOf<S>;
    const int count = 21, k = 6;
    const std::vector<S> A = random_matrices<S>(count, n, n, 3), B = random_matrices<S>(count, n, k, 4);
    // Transposed and in reverse order; every other entry of right-hand sides, each column in one piece.
    std::vector<S> reversed(A.size()), apart(2 * B.size());
    for (int b = 0; b < count; ++b) {
        for (int i = 0; i < n; ++i)
            for (int j = 0; j < n; ++j) reversed[((count - 1 - b) * n + j) * n + i] = A[(b * n + i) * n + j];
        for (int i = 0; i < n; ++i)
            for (int c = 0; c < k; ++c) apart[((b * k + c) * n + i) * 2] = B[(b * n + i) * k + c];
    }
    const MatrixBatch<S> plain{A.data(), count, n, n * n, n, 1};
    const MatrixBatch<S> strided{reversed.data() + (count - 1) * n * n, count, n, -n * n, 1, n};
    const GeneralKernels<S>& kernel = kernels.general<S>();
    for (int columns : {1, k}) {
        const RightSides<S> plain_sides{B.data(), columns, n * k, k, 1};
        const RightSides<S> apart_sides{apart.data(), columns, 2 * k * n, 2, 2 * n};
        std::vector<S> Y(std::size_t(count * n * columns)), Y2(Y.size());
        kernel.solve(plain, plain_sides, 0, count, Y.data(), nullptr);
        kernel.solve(strided, apart_sides, 0, count, Y2.data(), nullptr);
        CHECK(same(Y, Y2), "%s n %d: strides change the solution", kernels.name, n);
    }
    std::vector<S> X(A.size()), X2(A.size()), sign(count), sign2(count);
    std::vector<T> logabsdet(count), logabsdet2(count);
    kernel.invert(plain, 0, count, X.data(), nullptr);
    kernel.invert(strided, 0, count, X2.data(), nullptr);
    // Real ones beyond 8×8 seek their pivots along what lies in memory without gaps.
    const bool along_memory = sizeof(S) == sizeof(RealOf<S>) && n > 8;
    CHECK(along_memory || same(X, X2), "%s n %d: strides change the inverse", kernels.name, n);
    kernel.slogdet(plain, 0, count, sign.data(), logabsdet.data());
    kernel.slogdet(strided, 0, count, sign2.data(), logabsdet2.data());
    CHECK(same(sign, sign2) && logabsdet == logabsdet2, "%s n %d: strides change the determinant", kernels.name, n);
}

// A matrix of a batch whose pivot number `order` is zero: diagonal but for that.
template <class S>
void reject_singular(const Kernels& kernels, int n, int order) {
    using T = RealOf<S>;
    const int count = 19, bad = 17;
    std::vector<S> A(std::size_t(count * n * n)), b(std::size_t(count * n), narrow<S>(1));
    for (int m = 0; m < count; ++m)
        for (int i = 0; i < n; ++i)
            A[(m * n + i) * n + i] = narrow<S>(m == bad && i == order - 1 ? 0 : i + 1);
    const MatrixBatch<S> batch{A.data(), count, n, n * n, n, 1};
    std::vector<S> X(A.size()), x(b.size()), sign(count);
    std::vector<T> logabsdet(count);
    std::vector<Status> info(count, -1), inverse_info(count, -1);
    const GeneralKernels<S>& kernel = kernels.general<S>();
    for (const FirstFailure& failure : {kernel.solve(batch, {b.data(), 1, n, 1, 1}, 0, count, x.data(), info.data()),
                                        kernel.invert(batch, 0, count, X.data(), inverse_info.data())})
        CHECK(failure.index == bad && failure.status == order, "%s n %d pivot %d: matrix %ld, status %d", kernels.name, n,
              order, long(failure.index), failure.status);
    kernel.slogdet(batch, 0, count, sign.data(), logabsdet.data());
    for (int m = 0; m < count; ++m) {
        CHECK(info[m] == (m == bad ? order : success), "%s n %d matrix %d", kernels.name, n, m);
        CHECK(inverse_info[m] == info[m], "%s n %d matrix %d", kernels.name, n, m);
        CHECK(std::isnan(std::abs(widen(x[m * n]))) == (m == bad), "%s n %d matrix %d", kernels.name, n, m);
        CHECK((std::abs(widen(sign[m])) == 0) == (m == bad), "%s n %d matrix %d: sign", kernels.name, n, m);
        CHECK((logabsdet[m] == -std::numeric_limits<T>::infinity()) == (m == bad), "n %d matrix %d", n, m);
    }
}

// A rank-one matrix whose elimination goes through a third, NaN, and pivots whose reciprocals are not finite.
template <class S>
void compare_extremes(const Kernels& kernels) {
    using T = RealOf<S>;
    const GeneralKernels<S>& kernel = kernels.general<S>();
    const auto s = [](long double x) { return narrow<S>(x); };
    const T tiny = std::numeric_limits<T>::denorm_min() * 3, nan = std::numeric_limits<T>::quiet_NaN();
    S x[2], sign;
    T logabsdet;
    Status info = -1;
    const S one_b[2] = {s(1), s(2)};

    const S singular[4] = {s(3), s(6), s(1), s(2)};
    kernel.solve({singular, 1, 2, 4, 2, 1}, {one_b, 1, 2, 1, 1}, 0, 1, x, &info);
    CHECK(info == 2 && std::isnan(std::abs(widen(x[0]))), "%s: status %d of a singular matrix", kernels.name, info);
    kernel.slogdet({singular, 1, 2, 4, 2, 1}, 0, 1, &sign, &logabsdet);
    CHECK(std::abs(widen(sign)) == 0 && std::isinf(logabsdet) && logabsdet < 0, "%s: log %g", kernels.name,
          double(logabsdet));

    const S small[4] = {s(1), s(0), s(0), s(tiny)}, b[2] = {s(1), s(tiny)};
    kernel.solve({small, 1, 2, 4, 2, 1}, {b, 1, 2, 1, 1}, 0, 1, x, &info);
    CHECK(info == 0 && widen(x[0]) == widen(s(1)) && widen(x[1]) == widen(s(1)), "%s: status %d", kernels.name, info);
    kernel.slogdet({small, 1, 2, 4, 2, 1}, 0, 1, &sign, &logabsdet);
    const long double expected = std::log(static_cast<long double>(tiny));
    CHECK(std::fabs(logabsdet - expected) < 4 * epsilon<T>() * std::fabs(expected), "%s: %g", kernels.name,
          double(logabsdet));
    CHECK(widen(sign) == widen(s(1)), "%s: sign of a tiny determinant", kernels.name);

    const S spoilt[4] = {s(1), s(nan), s(0), s(1)};
    kernel.slogdet({spoilt, 1, 2, 4, 2, 1}, 0, 1, &sign, &logabsdet);
    CHECK(!std::isinf(logabsdet), "%s: log %g", kernels.name, double(logabsdet));
    const S lost[1] = {s(nan)};
    kernel.slogdet({lost, 1, 1, 1, 1, 1}, 0, 1, &sign, &logabsdet);
    CHECK(std::isnan(logabsdet) && std::isnan(std::abs(widen(sign))), "%s: log %g", kernels.name, double(logabsdet));
    kernel.solve({lost, 1, 1, 1, 1, 1}, {one_b, 1, 1, 1, 1}, 0, 1, x, &info);
    CHECK(info == 0 && std::isnan(std::abs(widen(x[0]))), "%s: status %d of NaN", kernels.name, info);
}

template <class S>
void test_general(const Kernels& kernels, bool inverses) {
    for (int n = 1; n <= largest_lu; ++n) {
        for (int count : {1, 2, 16, 37}) compare_general<S>(kernels, n, count, count % 7 + 1, 1, inverses);
        compare_general<S>(kernels, n, 5, 1, RealOf<S>(1e30), inverses);
        compare_general<S>(kernels, n, 5, 1, RealOf<S>(1e-30), inverses);
        compare_general_layouts<S>(kernels, n);
        for (int order = 1; order <= n; ++order) reject_singular<S>(kernels, n, order);
    }
    compare_extremes<S>(kernels);
}

}  // namespace neuralinv::test
