// Nanoseconds for each matrix and the largest error, by size, type and instruction set, on one thread.
//
// bench_factorisations [n…]: CPU time of the calling thread, the least of several rounds over 10,000 matrices. Errors are
// the largest of 50 matrices' ‖X − A⁻¹‖ / (‖A⁻¹‖ · condition · ε), in Frobenius norms.
#include <ctime>

#include <cstdlib>

#include "oracle.hpp"

namespace {

using namespace neuralinv;
using namespace neuralinv::test;

constexpr std::int64_t matrices = 10000;
constexpr int rounds = 50;

double now() {
    timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return 1e9 * double(time.tv_sec) + double(time.tv_nsec);
}

template <class Run>
double nanoseconds(const Run& run) {
    double best = 1e300;
    for (int round = 0; round < rounds; ++round) {
        const double start = now();
        run();
        best = std::min(best, now() - start);
    }
    return best / double(matrices);
}

template <class S>
double worst_error(const std::vector<S>& A, const std::vector<S>& X, int n) {
    long double worst = 0;
    for (int b = 0; b < 50; ++b)
        worst = std::max(worst, Truth<S>(A.data() + b * n * n, n).error(X.data() + b * n * n, nullptr, n));
    return double(worst);
}

template <class S>
void general(const Kernels& kernels, const char* type, int n) {
    const GeneralKernels<S>& kernel = kernels.general<S>();
    const std::vector<S> A = random_matrices<S>(matrices, n, n, 7), b = random_matrices<S>(matrices, n, 8, 8);
    const MatrixBatch<S> batch{A.data(), matrices, n, n * n, n, 1};
    std::vector<S> X(A.size()), x(b.size()), sign(matrices);
    std::vector<RealOf<S>> logabsdet(matrices);
    const double inverse = nanoseconds([&] { kernel.invert(batch, 0, matrices, X.data(), nullptr); });
    std::printf("%-8s %-10s general  n %2d: inverse %8.2f ns (error %.2f)", kernels.name, type, n, inverse,
                worst_error(A, X, n));
    if (n <= 16) {
        for (int k : {1, 8}) {
            const RightSides<S> sides{b.data(), k, n * k, k, 1};
            std::printf(", solve %d %8.2f ns", k, nanoseconds([&] {
                            kernel.solve(batch, sides, 0, matrices, x.data(), nullptr);
                        }));
        }
        std::printf(", slogdet %8.2f ns", nanoseconds([&] {
                        kernel.slogdet(batch, 0, matrices, sign.data(), logabsdet.data());
                    }));
    }
    std::printf("\n");
}

template <class T>
void positive(const Kernels& kernels, const char* type, int n) {
    const PositiveKernels<T>& kernel = kernels.positive<T>();
    const std::vector<T> A = random_positive<T>(matrices, n, 7), b = random_matrices<T>(matrices, n, 8, 8);
    const MatrixBatch<T> batch{A.data(), matrices, n, n * n, n, 1};
    std::vector<T> X(A.size()), x(b.size()), sign(matrices), logabsdet(matrices);
    const double reference = nanoseconds([&] { kernels.general<T>().invert(batch, 0, matrices, X.data(), nullptr); });
    const double reference_error = worst_error(A, X, n);
    const double inverse = nanoseconds([&] { kernel.invert(batch, 0, matrices, X.data(), nullptr); });
    std::printf("%-8s %-10s positive n %2d: inverse %8.2f ns (error %.2f), by the general kernel %8.2f ns (error %.2f)",
                kernels.name, type, n, inverse, worst_error(A, X, n), reference, reference_error);
    for (int k : {1, 8}) {
        const RightSides<T> sides{b.data(), k, n * k, k, 1};
        std::printf(", solve %d %8.2f ns", k, nanoseconds([&] {
                        kernel.solve(batch, sides, 0, matrices, x.data(), nullptr);
                    }));
    }
    std::printf(", slogdet %8.2f ns\n", nanoseconds([&] {
                    kernel.slogdet(batch, 0, matrices, sign.data(), logabsdet.data(), nullptr);
                }));
}

}  // namespace

int main(int count, char** arguments) {
    std::vector<int> sizes;
    for (int i = 1; i < count; ++i) sizes.push_back(std::atoi(arguments[i]));
    if (sizes.empty()) sizes = {1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32};
    for (const Kernels* kernels : instruction_sets())
        for (int n : sizes) {
            positive<float>(*kernels, "float32", n);
            positive<double>(*kernels, "float64", n);
            general<float>(*kernels, "float32", n);
            general<double>(*kernels, "float64", n);
            if (n > 16) continue;
            general<Complex<float>>(*kernels, "complex64", n);
            general<Complex<double>>(*kernels, "complex128", n);
        }
    return 0;
}
