// The bound of the relative error is never below the error, nor far above it, and nothing is proved of what has no inverse.
#include <cmath>
#include <limits>

#include "check.hpp"

using namespace neuralinv;

namespace {

// ‖A⁻¹ − X‖_F / ‖A⁻¹‖_F, from long doubles.
template <class T>
long double relative_error(const T* a, const T* x, int n) {
    const std::size_t entries = std::size_t(n * n);
    const auto inverse = test::inverse(a, n);
    std::vector<long double> difference(inverse);
    for (std::size_t e = 0; e < entries; ++e) difference[e] -= x[e];
    return test::norm(difference.data(), entries) / test::norm(inverse.data(), entries);
}

template <class T>
void check_size(int n, double tolerance) {
    const std::int64_t count = 37;
    std::vector<T> A = test::uniform<T>(count, n, unsigned(n)), X(A.size());
    const std::size_t entries = std::size_t(n * n);
    for (std::size_t e = 0; e < entries; ++e) A[5 * entries + e] = 0;
    A[7 * entries] = std::numeric_limits<T>::quiet_NaN();
    const bool out_of_range = sizeof(T) == 8;
    for (std::size_t e = 0; e < entries; ++e) A[9 * entries + e] *= T(out_of_range ? 1e-160 : 1e-30);
    std::vector<double> bounds(std::size_t(count), -1);
    std::vector<Status> info(std::size_t(count), -1);
    const MatrixBatch<T> batch{A.data(), count, n, std::int64_t(entries), n, 1};
    const auto [first, all] = certified_invert(batch, X.data(), info.data(), tolerance, bounds.data(), 2);
    CHECK(!all, "n = %d: singular, and certified", n);
    CHECK(first.index == 5 && info[5] == 1, "n = %d: failed at %ld", n, long(first.index));
    for (std::size_t b = 0; b < std::size_t(count); ++b) {
        if (b == 5 || b == 7 || (b == 9 && out_of_range)) {
            CHECK(std::isinf(bounds[b]), "n = %d, matrix %zu: bound %g", n, b, bounds[b]);
            continue;
        }
        const auto inverse = test::inverse(A.data() + b * entries, n);
        const long double error = relative_error(A.data() + b * entries, X.data() + b * entries, n);
        const long double condition = test::norm(inverse.data(), entries) * test::norm(A.data() + b * entries, entries);
        // The oracle is itself off by some units in its last place.
        CHECK(bounds[b] >= error * (1 - 1e-3L) - 1e-18L * condition, "n = %d, matrix %zu: bound %g, error %Lg", n, b,
              bounds[b], error);
        const long double unit = std::numeric_limits<T>::epsilon();
        CHECK(bounds[b] <= tolerance || bounds[b] <= 100 * n * n * unit * condition, "n = %d, matrix %zu: bound %g, condition %Lg", n,
              b, bounds[b], condition);
        // What missed the tolerance was corrected once, in twice the precision: wrong by its last rounding alone.
        if (tolerance == 0 && condition < 1e4 && b != 9)  // whose inverse flushed denormals might harm
            CHECK(bounds[b] <= unit, "n = %d, matrix %zu: bound %g, condition %Lg", n, b, bounds[b], condition);
    }
}

// With a tolerance that everything meets at once, the bound is one of ‖I − A X‖_F, also where the residual as computed says
// nothing for rounding: nearly dependent rows, columns and rows of all sizes. The smallest have bounds of the error itself,
// floats hardly more than their last rounding.
template <class T>
void check_residuals(int n) {
    const std::int64_t count = 333;
    const double tolerance = 0.9;
    std::vector<T> A = test::uniform<T>(count, n, unsigned(100 + n)), X(A.size());
    const std::size_t entries = std::size_t(n * n), last = entries - std::size_t(n);
    for (std::size_t b = 0; b < std::size_t(count); ++b) {
        T* a = A.data() + b * entries;
        const T apart = std::ldexp(T(1), -int(b % 5) * (sizeof(T) == 4 ? 3 : 8));
        for (std::size_t j = 0; j < std::size_t(n); ++j) a[last + j] = a[j] + apart * a[last + j];
        for (std::size_t e = 0; e < entries && b % 3 == 0; ++e) {
            const int row = int(e) / n, column = int(e) % n;
            a[e] = std::ldexp(a[e], int(b % 7) * (column % 3 - 1) + (row % 3 - 1) * 2);
        }
    }
    std::vector<double> bounds(std::size_t(count), -1);
    const MatrixBatch<T> batch{A.data(), count, n, std::int64_t(entries), n, 1};
    const bool all = certified_invert(batch, X.data(), nullptr, tolerance, bounds.data(), 1).all;
    CHECK(all, "n = %d: a bound above %g", n, tolerance);
    int looked_at = 0;
    for (std::size_t b = 0; b < std::size_t(count); ++b) {
        const T *a = A.data() + b * entries, *x = X.data() + b * entries;
        const long double size = test::norm(a, entries) * test::norm(x, entries);
        if (n * std::numeric_limits<T>::epsilon() * size > 0.1L) continue;  // perhaps corrected, and the bound another one
        ++looked_at;
        if (n <= (sizeof(T) == 4 ? 5 : 2)) {
            const long double error = relative_error(a, x, n);
            CHECK(bounds[b] >= error - 1e-18L * size, "n = %d, matrix %zu: bound %g, error %Lg", n, b, bounds[b], error);
            CHECK(sizeof(T) == 8 || n >= 4 || bounds[b] <= 0x1p-24 + 1e-15 * double(n - 1 + size), "n = %d, matrix %zu: bound %g", n, b, bounds[b]);
            continue;
        }
        std::vector<long double> R(entries);
        for (std::size_t i = 0; i < std::size_t(n); ++i)
            for (std::size_t j = 0; j < std::size_t(n); ++j) {
                R[i * n + j] = i == j;
                for (std::size_t k = 0; k < std::size_t(n); ++k) R[i * n + j] -= (long double)(a[i * n + k]) * x[k * n + j];
            }
        const long double residual = test::norm(R.data(), entries);
        CHECK(bounds[b] >= residual * (1 - 1e-3L) - 1e-18L * size, "n = %d, matrix %zu: bound %g, residual %Lg", n, b, bounds[b],
              residual);
    }
    CHECK(looked_at > count / 2, "n = %d: looked at %d", n, looked_at);
}

// A residual that is not below 1 proves nothing, whatever the tolerance.
void check_limit(int n) {
    const std::int64_t count = 4000;
    std::vector<float> A = test::uniform<float>(count, n, unsigned(200 + n)), X(A.size());
    const std::size_t entries = std::size_t(n * n), last = entries - std::size_t(n);
    for (std::size_t b = 0; b < std::size_t(count); ++b)
        for (std::size_t e = last; e < entries; ++e)
            A[b * entries + e] = A[b * entries + e - last] + std::ldexp(A[b * entries + e], -int(14 + b % 10));
    std::vector<double> bounds(std::size_t(count), -1);
    const MatrixBatch<float> batch{A.data(), count, n, std::int64_t(entries), n, 1};
    certified_invert(batch, X.data(), nullptr, 2.0, bounds.data(), 1);
    for (std::size_t b = 0; b < std::size_t(count); ++b)
        CHECK(bounds[b] < 1 || std::isinf(bounds[b]), "n = %d, matrix %zu: bound %g", n, b, bounds[b]);
}

}  // namespace

int main() {
    if (!test::has_instruction_set()) return 77;
    for (int n = 1; n <= 40; ++n)
        for (double tolerance : {0.0, 1e-5}) {
            check_size<float>(n, tolerance);
            check_size<double>(n, tolerance);
        }
    check_size<double>(64, 1e-10);
    for (int n = 2; n <= 17; ++n) {
        check_limit(n);
        check_residuals<float>(n);
        check_residuals<double>(n);
    }
    return test::report("certificate");
}
