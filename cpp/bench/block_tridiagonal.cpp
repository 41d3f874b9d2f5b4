// Times of the block-tridiagonal kernels on one thread: `bench_block_tridiagonal [sequences [steps n]]`.
#include <time.h>

#include <cstdio>
#include <cstdlib>
#include <memory>

#include "check.hpp"
#include "neuralinv/block_tridiagonal_dispatch.hpp"
#include "neuralinv/dispatch.hpp"

namespace bt = neuralinv::block_tridiagonal;
using neuralinv::test::uniform;

namespace {

// Of this thread's own time, that of others on the same core does not count.
double now() {
    timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return double(t.tv_sec) * 1e6 + double(t.tv_nsec) * 1e-3;
}

// The least of many, in microseconds.
template <class F>
double least(const F& body) {
    double best = 1e30;
    const double begin = now();
    for (int round = 0; round < 5 || now() - begin < 2e5; ++round) {
        const double start = now();
        body();
        const double took = now() - start;
        if (took < best) best = took;
    }
    return best;
}

template <class T>
void measure(std::int64_t sequences, std::int64_t steps, std::int64_t n) {
    const bt::Problem p{sequences, steps, n, 1};
    std::vector<T> D = uniform<T>(sequences * steps, int(n), 1), B = uniform<T>(sequences * (steps - 1), int(n), 2);
    for (std::size_t m = 0; m < std::size_t(sequences * steps); ++m)
        for (std::int64_t i = 0; i < n; ++i) D[m * n * n + i * n + i] += T(3 * n);
    const std::vector<T> b = uniform<T>(sequences * steps * n, 1, 3);
    std::vector<T> L(D.size()), C(B.size()), D2(D.size()), B2(B.size()), x(b.size()), y(b.size());
    std::vector<std::int64_t> info(std::size_t(sequences), 0);
    const double per = 1 / double(sequences);
    std::printf("%s %4ld x T %5ld n %3ld, us per sequence:", sizeof(T) == 4 ? "f32" : "f64", long(sequences), long(steps), long(n));
    std::printf(" factor %8.2f", per * least([&] { bt::factor<T>(p, D.data(), B.data(), L.data(), C.data(), info.data()); }));
    for (bool transposed : {false, true})
        std::printf(" solve %7.2f", per * least([&] {
                        bt::solve<T>(p, 1, transposed, L.data(), C.data(), b.data(), x.data());
                    }));
    std::printf(" factor_rev %8.2f", per * least([&] {
                    bt::factor_rev<T>(p, L.data(), C.data(), D.data(), B.data(), D2.data(), B2.data());
                }));
    std::printf(" solve_rev %8.2f", per * least([&] {
                    bt::solve_rev<T>(p, 1, false, L.data(), C.data(), x.data(), b.data(), D2.data(), B2.data(), y.data());
                }));
    std::printf(" inverse_blocks %8.2f", per * least([&] {
                    bt::inverse_blocks<T>(p, L.data(), C.data(), D2.data(), B2.data());
                }));
    std::unique_ptr<T, decltype(&std::free)> factors(
        static_cast<T*>(std::aligned_alloc(64, (std::size_t(bt::factor_entries<T>(p)) * sizeof(T) + 63) / 64 * 64)), &std::free);
    std::vector<T> logs(std::size_t(sequences), T(1));
    std::printf(" system %8.2f", per * least([&] {
                    bt::solve_system<T>(p, 1, D.data(), B.data(), b.data(), x.data(), logs.data(), info.data(), factors.get());
                }));
    std::printf(" system_rev %8.2f\n", per * least([&] {
                    bt::solve_system_rev<T>(p, 1, factors.get(), x.data(), b.data(), logs.data(), D2.data(), B2.data(), y.data());
                }));
}

}  // namespace

int main(int count, char** arguments) {
    std::printf("%s\n", neuralinv::instruction_set().c_str());
    const auto argument = [&](int i) { return std::int64_t(std::atoll(arguments[i])); };
    if (count == 4) {
        measure<float>(argument(1), argument(2), argument(3));
        measure<double>(argument(1), argument(2), argument(3));
        return 0;
    }
    const std::int64_t sequences = count > 1 ? argument(1) : 1;
    const std::int64_t sizes[][2] = {{250, 3}, {250, 10}, {250, 20}, {1000, 10}};
    for (const auto& size : sizes) measure<float>(sequences, size[0], size[1]);
    for (const auto& size : sizes) measure<double>(sequences, size[0], size[1]);
}
