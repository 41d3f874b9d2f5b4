// Nanoseconds of processor time per inverse, one thread: for each instruction set, type and size.
//
// usage: bench_kernels [largest n, 8] [matrices, 10000] [repetitions, 60] [name of one instruction set]
//
// The least of many repetitions is what the machine can do; a mean would measure its other guests. The error beside is
// the largest of the first 200 matrices, ‖X − A⁻¹‖ / ‖A⁻¹‖ in units of eps · cond(A).
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <limits>

#include "check.hpp"
#include "instruction_sets.hpp"

namespace {

using neuralinv::MatrixBatch;

double processor_seconds() {
    timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return double(now.tv_sec) + 1e-9 * double(now.tv_nsec);
}

template <class T>
double largest_error(const std::vector<T>& A, const std::vector<T>& X, int n) {
    const std::size_t entries = std::size_t(n * n);
    long double largest = 0;
    for (std::size_t at = 0; at < std::min(A.size(), 200 * entries); at += entries) {
        const std::vector<long double> exact = neuralinv::test::inverse(&A[at], n);
        std::vector<long double> difference(entries);
        for (std::size_t e = 0; e < entries; ++e) difference[e] = X[at + e] - exact[e];
        const long double condition =
            neuralinv::test::norm(&A[at], entries) * neuralinv::test::norm(exact.data(), entries);
        const long double error = neuralinv::test::norm(difference.data(), entries) /
                                  neuralinv::test::norm(exact.data(), entries);
        largest = std::max(largest, error / condition / std::numeric_limits<T>::epsilon());
    }
    return double(largest);
}

template <class T>
void measure(const neuralinv::Kernels& kernels, int n, std::int64_t count, int repetitions) {
    const std::vector<T> A = neuralinv::test::uniform<T>(count, n, unsigned(n));
    std::vector<T> X(A.size());
    const auto nanoseconds = [&](std::int64_t matrices, bool transposed) {
        const MatrixBatch<T> batch{A.data(), matrices, n, n * n, transposed ? 1 : n, transposed ? n : 1};
        const int calls = matrices < 100 ? 100 : 1;
        double best = 1;
        for (int repetition = 0; repetition < repetitions; ++repetition) {
            const double start = processor_seconds();
            for (int call = 0; call < calls; ++call) kernels.general<T>().invert(batch, 0, matrices, X.data(), nullptr);
            best = std::min(best, processor_seconds() - start);
        }
        return best * 1e9 / double(matrices) / calls;
    };
    const double one = nanoseconds(1, false), transposed = nanoseconds(count, true), plain = nanoseconds(count, false);
    std::printf("%-9s float%-3d %2d %9.2f %9.2f %9.1f %8.3f\n", kernels.name, int(8 * sizeof(T)), n, plain, transposed,
                one, largest_error(A, X, n));
}

}  // namespace

int main(int argc, char** argv) {
    const int largest = argc > 1 ? std::atoi(argv[1]) : 8;
    const std::int64_t count = argc > 2 ? std::atoll(argv[2]) : 10'000;
    const int repetitions = argc > 3 ? std::atoi(argv[3]) : 60;
    std::printf("%-9s %-8s %2s %9s %9s %9s %8s\n", "set", "type", "n", "ns", "ns of Aᵀ", "ns of one", "error");
    for (const neuralinv::Kernels* kernels : neuralinv::test::instruction_sets()) {
        if (argc > 4 && std::string(argv[4]) != kernels->name) continue;
        for (int n = 1; n <= largest; ++n) measure<float>(*kernels, n, count, repetitions);
        for (int n = 1; n <= largest; ++n) measure<double>(*kernels, n, count, repetitions);
    }
}
