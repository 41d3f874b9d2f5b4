// The inverse kernels of every instruction set that this machine has, called directly.
#include <algorithm>
#include <limits>
#include <numeric>

#include "check.hpp"
#include "instruction_sets.hpp"

namespace {

using neuralinv::FirstFailure;
using neuralinv::Kernels;
using neuralinv::MatrixBatch;
using neuralinv::Status;

constexpr int sizes[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17};
constexpr int largest_exact = 8;  // up to this size, tiles and single matrices agree bit by bit

template <class T>
MatrixBatch<T> batch_of(const std::vector<T>& A, int n) {
    return {A.data(), std::int64_t(A.size()) / (n * n), n, n * n, n, 1};
}

template <class T>
struct Inverses {
    std::vector<T> X;
    std::vector<Status> info;
    FirstFailure failure;
};

template <class T>
Inverses<T> invert(const Kernels& kernels, const MatrixBatch<T>& A) {
    const std::size_t count = std::size_t(A.count), entries = std::size_t(A.n * A.n);
    const T untouched = T(1234.5);
    Inverses<T> result{std::vector<T>(count * entries + 64, untouched), std::vector<Status>(count, -1), {}};
    result.failure = kernels.general<T>().invert(A, 0, A.count, result.X.data(), result.info.data());
    for (std::size_t e = count * entries; e < result.X.size(); ++e)
        CHECK(result.X[e] == untouched, "%s wrote behind the last of %zu matrices", kernels.name, count);
    result.X.resize(count * entries);
    const auto failed = std::find_if(result.info.begin(), result.info.end(), [](Status s) { return s != 0; });
    const bool consistent = failed == result.info.end()
                                ? result.failure.index == -1 && result.failure.status == 0
                                : result.failure.index == failed - result.info.begin() && result.failure.status == *failed;
    CHECK(consistent, "%s, n = %d: first failure %ld", kernels.name, int(A.n), long(result.failure.index));
    return result;
}

// Gaussian elimination as in LAPACK's getf2, each operation rounded on its own (this file is compiled so). Returns info.
template <class T>
Status reference_info(const T* A, int n) {
    std::vector<T> a(A, A + n * n);
    for (int k = 0; k < n; ++k) {
        int row = k;
        for (int i = k + 1; i < n; ++i)
            if (std::fabs(a[i * n + k]) > std::fabs(a[row * n + k])) row = i;
        for (int j = 0; j < n; ++j) std::swap(a[k * n + j], a[row * n + j]);
        const T p = a[k * n + k];
        if (p == 0) return k + 1;
        const T reciprocal = 1 / p;
        for (int i = k + 1; i < n; ++i) {
            const T l = a[i * n + k] * reciprocal;
            for (int j = k + 1; j < n; ++j) a[i * n + j] -= l * a[k * n + j];
        }
    }
    return 0;
}

template <class T>
void check_accuracy(const Kernels& kernels, int n) {
    const std::vector<T> A = neuralinv::test::uniform<T>(500, n, unsigned(n));
    const Inverses<T> result = invert(kernels, batch_of(A, n));
    const std::size_t entries = std::size_t(n * n);
    for (std::size_t at = 0; at < A.size(); at += entries) {
        std::vector<long double> exact = neuralinv::test::inverse(&A[at], n);
        const long double size = neuralinv::test::norm(exact.data(), entries);
        const long double condition = neuralinv::test::norm(&A[at], entries) * size;
        for (std::size_t e = 0; e < entries; ++e) exact[e] -= result.X[at + e];
        const long double error = neuralinv::test::norm(exact.data(), entries) / size;
        CHECK(error <= n * std::numeric_limits<T>::epsilon() * condition, "%s, n = %d, matrix %zu: error %.1Le",
              kernels.name, n, at / entries, error);
        CHECK(result.info[at / entries] == 0, "%s, n = %d", kernels.name, n);
    }
}

// A matrix has one inverse, wherever it stands in a batch, and whatever its neighbours are.
template <class T>
void check_places(const Kernels& kernels, int n) {
    const std::int64_t lanes = kernels.vector_bytes / std::int64_t(sizeof(T)), entries = n * n;
    const std::int64_t most = 3 * lanes + 1;
    std::vector<T> A = neuralinv::test::uniform<T>(most, n, 77);
    const std::vector<T> expected = invert(kernels, batch_of(A, n)).X;
    for (std::int64_t count = 0; count <= most; ++count) {
        MatrixBatch<T> batch = batch_of(A, n);
        batch.count = count;
        const std::vector<T> X = invert(kernels, batch).X;
        CHECK(n > largest_exact || std::equal(X.begin(), X.end(), expected.begin()), "%s, n = %d, %ld matrices", kernels.name, n,
              long(count));
    }
    std::fill_n(A.begin() + (lanes + 1) * entries, entries, T(0));
    const Inverses<T> result = invert(kernels, batch_of(A, n));
    for (std::int64_t b = 0; b < most; ++b) {
        const bool zero = b == lanes + 1;
        CHECK(result.info[std::size_t(b)] == (zero ? 1 : 0), "%s, n = %d, matrix %ld", kernels.name, n, long(b));
        for (std::int64_t e = b * entries; e < (b + 1) * entries; ++e)
            CHECK(zero ? n == 1 || std::isnan(result.X[std::size_t(e)])
                       : n > largest_exact || result.X[std::size_t(e)] == expected[std::size_t(e)],
                  "%s, n = %d, matrix %ld beside a singular one", kernels.name, n, long(b));
    }
}

template <class T>
void check_strides(const Kernels& kernels, int n) {
    const std::int64_t count = 37, entries = n * n;
    const std::vector<T> A = neuralinv::test::uniform<T>(count, n, 5);
    const std::vector<T> expected = invert(kernels, batch_of(A, n)).X;
    struct Strides {
        std::int64_t batch, row, column;
    };
    const std::int64_t gap = n * (n + 3) + 1;
    for (const Strides s : {Strides{entries, 1, n}, Strides{gap, n + 3, 1}, Strides{gap, 1, n + 3}, Strides{gap, n, 1},
                            Strides{1, n * count, count}, Strides{1, count, n * count}, Strides{2 * gap, 2 * n + 1, 2},
                            Strides{-entries, n, 1}, Strides{-entries, 1, n}, Strides{-gap, -(n + 3), -1}}) {
        const std::int64_t reach = count * std::abs(s.batch) + n * std::abs(s.row) + n * std::abs(s.column);
        std::vector<T> memory(std::size_t(2 * reach + 1), std::numeric_limits<T>::quiet_NaN());
        T* const data = memory.data() + reach;
        for (std::int64_t b = 0; b < count; ++b)
            for (int i = 0; i < n; ++i)
                for (int j = 0; j < n; ++j)
                    data[b * s.batch + i * s.row + j * s.column] = A[std::size_t(b * entries + i * n + j)];
        const std::vector<T> X = invert<T>(kernels, {data, count, n, s.batch, s.row, s.column}).X;
        CHECK(n > largest_exact || X == expected, "%s, n = %d, strides %ld %ld %ld", kernels.name, n, long(s.batch), long(s.row),
              long(s.column));
    }
    for (const std::int64_t few : {1, 2, 3, 37}) {
        const std::vector<T> X = invert<T>(kernels, {A.data(), few, n, 0, n, 1}).X;
        for (std::size_t e = 0; e < X.size(); ++e)
            CHECK(n > largest_exact || X[e] == expected[e % std::size_t(entries)], "%s, n = %d, one matrix repeated", kernels.name, n);
    }
}

template <class T>
void check_permutations(const Kernels& kernels, int n) {
    std::mt19937 engine(3);
    std::vector<T> A(std::size_t(200 * n * n)), transposed(A.size());
    std::vector<int> order(static_cast<std::size_t>(n));
    std::iota(order.begin(), order.end(), 0);
    for (int b = 0; b < 200; ++b) {
        std::shuffle(order.begin(), order.end(), engine);
        for (int i = 0; i < n; ++i) {
            A[std::size_t((b * n + i) * n + order[std::size_t(i)])] = 1;
            transposed[std::size_t((b * n + order[std::size_t(i)]) * n + i)] = 1;
        }
    }
    CHECK(invert(kernels, batch_of(A, n)).X == transposed, "%s, n = %d", kernels.name, n);
}

template <class T>
void check_info(const Kernels& kernels, const std::vector<T>& A, int n) {
    const Inverses<T> result = invert(kernels, batch_of(A, n));
    const std::size_t entries = std::size_t(n * n);
    int wrong = 0;
    for (std::size_t b = 0; b < result.info.size(); ++b) {
        const Status expected = reference_info(&A[b * entries], n);
        if (result.info[b] != expected && ++wrong == 1)
            CHECK(false, "%s, n = %d, matrix %zu: info %d instead of %d", kernels.name, n, b, result.info[b], expected);
        for (std::size_t e = b * entries; result.info[b] != 0 && n > 1 && e < (b + 1) * entries; ++e)
            wrong += !std::isnan(result.X[e]);
    }
    CHECK(wrong == 0, "%s, n = %d: %d of %zu", kernels.name, n, wrong, result.info.size());
}

// Small integers, for whose determinants rounding decides between zero and nearly zero.
template <class T>
void check_singular(const Kernels& kernels) {
    std::vector<T> all;
    for (int a = -3; a <= 3; ++a)
        for (int b = -3; b <= 3; ++b)
            for (int c = -3; c <= 3; ++c)
                for (int d = -3; d <= 3; ++d)
                    for (int entry : {a, b, c, d}) all.push_back(T(entry));
    check_info(kernels, all, 2);
    check_info<T>(kernels, {3, 6, 1, 2}, 2);
    check_info<T>(kernels, {1, 2, 3, 4, 5, 6, 7, 8, 9}, 3);
    std::mt19937 engine(11);
    std::uniform_int_distribution<int> entry(-3, 3);
    for (int n = 3; n <= largest_exact; ++n) {
        std::vector<T> A(std::size_t(20'000 * n * n));
        for (std::size_t at = 0; at < A.size(); at += std::size_t(n * n)) {  // rank 1 ≤ r < n: (n, r) times (r, n)
            const int rank = 1 + int(engine() % unsigned(n - 1));
            std::vector<int> left(std::size_t(n * rank)), right(std::size_t(rank * n));
            for (int& x : left) x = entry(engine);
            for (int& x : right) x = entry(engine);
            for (int i = 0; i < n; ++i)
                for (int j = 0; j < n; ++j)
                    for (int r = 0; r < rank; ++r)
                        A[at + std::size_t(i * n + j)] += T(left[std::size_t(i * rank + r)] * right[std::size_t(r * n + j)]);
        }
        check_info(kernels, A, n);
        for (T& a : A) a = T(entry(engine));
        check_info(kernels, A, n);
    }
}

// Pivots whose reciprocals leave the range, and what is no number, are divided one by one.
template <class T>
void check_extremes(const Kernels& kernels, int n) {
    const T tiny = std::numeric_limits<T>::min(), huge = std::numeric_limits<T>::max() / 8;
    std::vector<T> A(std::size_t(40 * n * n));
    for (int b = 0; b < 40; ++b)
        for (int i = 0; i < n; ++i) A[std::size_t((b * n + i) * n + i)] = (b + i) % 2 ? huge : 2 * tiny;
    const std::vector<T> X = invert(kernels, batch_of(A, n)).X;
    for (int b = 0; b < 40; ++b)
        for (int i = 0; i < n; ++i)
            for (int j = 0; j < n; ++j) {
                const std::size_t at = std::size_t((b * n + i) * n + j);
                const T expected = i == j ? 1 / A[at] : 0;
                CHECK(X[at] == expected, "%s, n = %d: %g instead of %g", kernels.name, n, double(X[at]), double(expected));
            }
    for (const T bad : {std::numeric_limits<T>::quiet_NaN(), std::numeric_limits<T>::infinity()}) {
        std::vector<T> B = neuralinv::test::uniform<T>(40, n, 9);
        const std::vector<T> clean = invert(kernels, batch_of(B, n)).X;
        const std::size_t entries = std::size_t(n * n);
        B[17 * entries + entries / 2] = bad;
        const Inverses<T> result = invert(kernels, batch_of(B, n));
        for (std::size_t e = 0; e < B.size(); ++e)
            CHECK(e / entries == 17 || n > largest_exact || result.X[e] == clean[e], "%s, n = %d beside %g", kernels.name, n, double(bad));
        bool numbers = true;
        for (std::size_t e = 17 * entries; e < 18 * entries; ++e) numbers = numbers && !std::isnan(result.X[e]);
        CHECK(!numbers || std::isinf(bad), "%s, n = %d: %g vanished", kernels.name, n, double(bad));
    }
}

template <class T>
void check_all(const Kernels& kernels) {
    for (int n : sizes) {
        check_accuracy<T>(kernels, n);
        check_places<T>(kernels, n);
        check_strides<T>(kernels, n);
        check_permutations<T>(kernels, n);
        check_extremes<T>(kernels, n);
    }
    check_singular<T>(kernels);
}

}  // namespace

int main() {
    for (const Kernels* kernels : neuralinv::test::instruction_sets()) {
        check_all<float>(*kernels);
        check_all<double>(*kernels);
    }
    return neuralinv::test::report("inverse");
}
