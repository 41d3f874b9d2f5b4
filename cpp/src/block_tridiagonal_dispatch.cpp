// Choice of the instruction set and of the kernels, threads over sequences, scratch memory.
#include "neuralinv/block_tridiagonal_dispatch.hpp"

#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>

#include "block_tridiagonal_kernels.hpp"
#include "neuralinv/dispatch.hpp"
#include "scratch.hpp"
#include "thread_pool.hpp"

namespace neuralinv {

#if defined(__x86_64__)
extern const BlockTridiagonalTarget block_tridiagonal_baseline, block_tridiagonal_avx2, block_tridiagonal_avx512;
#elif defined(__aarch64__)
extern const BlockTridiagonalTarget block_tridiagonal_neon;
#else
extern const BlockTridiagonalTarget block_tridiagonal_baseline;
#endif

namespace block_tridiagonal {
namespace {

const BlockTridiagonalTarget* choose() {
    const BlockTridiagonalTarget* const targets[] = {
#if defined(__x86_64__)
        &block_tridiagonal_avx512, &block_tridiagonal_avx2, &block_tridiagonal_baseline,
#elif defined(__aarch64__)
        &block_tridiagonal_neon,
#else
        &block_tridiagonal_baseline,
#endif
    };
    const std::string name = instruction_set();  // which NEURALINV_ISA can force
    for (const BlockTridiagonalTarget* target : targets)
        if (name == target->name) return target;
    throw std::runtime_error("no block-tridiagonal kernels were compiled for " + name);
}

template <class T>
const BlockTridiagonalKernels<T>& kernels() {
    static const BlockTridiagonalTarget* const chosen = choose();  // an exception leaves it unset
    if constexpr (sizeof(T) == sizeof(float))
        return chosen->f32;
    else
        return chosen->f64;
}

// Waking a thread costs some microseconds: below this many multiplications one thread does the work.
constexpr double work_for_threads = 1 << 16;

// The fewest sequences for which a vector with one in each lane is faster than one sequence after another. Measured with
// AVX-512 and T = 250: the break-even lies at 5 to 9 of 16 sequences for n = 3, 10 and 20; with a full vector of them lanes
// are 1.7 to 3 times faster. Beyond n = 32 the blocks of a vector of sequences leave the second-level cache.
int least_in_lanes(std::int64_t n, int lanes) {
    constexpr std::int64_t largest_in_lanes = 32;
    return n > largest_in_lanes ? std::numeric_limits<int>::max() : lanes / 2 + 1;
}

// Call one(sequence, scratch) for every sequence, or several(first, count, scratch) for every vector of them. Each piece
// of the work has `entries` of scratch memory to itself while it runs.
template <class T, class One, class Several>
void for_each_sequence(const Problem& problem, std::int64_t entries, double work_per_step, int least, const One& one,
                       const Several& several) {
    const auto& kernel = kernels<T>().in_lanes;
    const bool in_lanes = problem.sequences >= least;
    const std::int64_t width = in_lanes ? kernel.lanes : 1, tiles = (problem.sequences + width - 1) / width;
    const double work = double(problem.sequences) * double(problem.steps) * work_per_step;
    const int threads = work < work_for_threads ? 1 : problem.threads;
    // Several pieces for each thread, so that an interrupted one holds up nobody.
    const std::int64_t most = threads <= 1 ? 1 : std::int64_t(threads) * 8;
    const std::int64_t pieces = tiles < most ? tiles : most;
    if (pieces == 0) return;
    Scratch<T> memory(pieces < threads ? pieces : threads < 1 ? 1 : threads, entries);
    auto run_piece = [&](std::int64_t piece) {
        const std::int64_t begin = tiles * piece / pieces, end = tiles * (piece + 1) / pieces;
        const std::int64_t slot = memory.take();
        T* const scratch = memory.at(slot);
        for (std::int64_t tile = begin; tile < end; ++tile) {
            const std::int64_t first = tile * width, left = problem.sequences - first;
            const std::int64_t count = left < width ? left : width;
            if (count >= least)
                several(first, int(count), scratch);
            else
                for (std::int64_t s = first; s < first + count; ++s) one(s, scratch);
        }
        memory.give_back(slot);
    };
    parallel_for(threads, pieces, run_piece);
}

// The same where lanes do not pay: solves read a block for n² multiplications, which its way into lanes outweighs.
template <class T, class One>
void for_each_sequence(const Problem& problem, std::int64_t entries, double work_per_step, const One& one) {
    for_each_sequence<T>(problem, entries, work_per_step, std::numeric_limits<int>::max(), one,
                         [](std::int64_t, int, T*) {});
}

template <class T>
std::int64_t scratch_entries(const Problem& problem) {
    const auto& kernel = kernels<T>();
    const std::int64_t one = kernel.scratch_entries(int(problem.n));
    const std::int64_t several = kernel.in_lanes.scratch_entries(int(problem.n));
    return one > several ? one : several;
}

template <class T>
int least_in_lanes(const Problem& problem) {
    return least_in_lanes(problem.n, kernels<T>().in_lanes.lanes);
}

std::int64_t blocks(const Problem& problem) { return problem.steps * problem.n * problem.n; }

std::int64_t blocks_below(const Problem& problem) { return (problem.steps - 1) * problem.n * problem.n; }

// Of the diagonals of L (steps, n, n). Logarithms are dear: multiply the mantissas, count the exponents apart, and take one
// logarithm in a while.
template <class T>
double sum_of_logarithms(std::int64_t steps, std::int64_t n, const T* L) {
    double logarithms = 0, product = 1;
    std::int64_t exponents = 0;
    for (std::int64_t t = 0; t < steps; ++t)
        for (std::int64_t i = 0; i < n; ++i) {
            const double value = double(L[(t * n + i) * n + i]);
            std::uint64_t bits;
            std::memcpy(&bits, &value, sizeof(bits));
            const std::uint64_t exponent = bits >> 52;
            if (exponent - 1 >= 0x7fe) {  // zero, subnormal, infinite, negative, not a number
                logarithms += std::log(value);
                continue;
            }
            exponents += std::int64_t(exponent) - 1023;
            bits = (bits & 0x000fffffffffffff) | 0x3ff0000000000000;  // from 1 to 2
            double mantissa;
            std::memcpy(&mantissa, &bits, sizeof(mantissa));
            product *= mantissa;
            if (product > 0x1p900) {
                logarithms += std::log(product);
                product = 1;
            }
        }
    return logarithms + std::log(product) + double(exponents) * 0.69314718055994530942;
}

std::int64_t first_failure(const Problem& problem, const std::int64_t* info) {
    for (std::int64_t s = 0; s < problem.sequences; ++s)
        if (info[s] != 0) return s;
    return -1;
}

double cube(const Problem& problem) { return double(problem.n) * double(problem.n) * double(problem.n); }

double square(const Problem& problem) { return double(problem.n) * double(problem.n); }

}  // namespace

template <class T>
std::int64_t factor(const Problem& problem, const T* D, const T* B, T* L, T* C, std::int64_t* info) {
    const auto& kernel = kernels<T>();
    const int n = int(problem.n);
    const std::int64_t size = blocks(problem), below = blocks_below(problem);
    prefer_large_pages(L, problem.sequences * size);
    prefer_large_pages(C, problem.sequences * below);
    const auto spoil_failed = [&](std::int64_t s) {
        if (info[s] == 0) return;
        for (std::int64_t e = 0; e < size; ++e) L[s * size + e] = std::numeric_limits<T>::quiet_NaN();
        for (std::int64_t e = 0; e < below; ++e) C[s * below + e] = std::numeric_limits<T>::quiet_NaN();
    };
    for_each_sequence<T>(
        problem, scratch_entries<T>(problem), cube(problem) / 4, least_in_lanes<T>(problem),
        [&](std::int64_t s, T* scratch) {
            info[s] = kernel.factor(n, problem.steps, D + s * size, B + s * below, L + s * size, C + s * below, scratch);
            spoil_failed(s);
        },
        [&](std::int64_t s, int count, T* scratch) {
            kernel.in_lanes.factor(n, problem.steps, count, D + s * size, B + s * below, L + s * size, C + s * below,
                                   info + s, scratch);
            for (int i = 0; i < count; ++i) spoil_failed(s + i);
        });
    return first_failure(problem, info);
}

template <class T>
void factor_rev(const Problem& problem, const T* L, const T* C, const T* L_bar, const T* C_bar, T* D_bar, T* B_bar) {
    const auto& kernel = kernels<T>();
    const int n = int(problem.n);
    const std::int64_t size = blocks(problem), below = blocks_below(problem);
    for_each_sequence<T>(
        problem, scratch_entries<T>(problem), cube(problem), least_in_lanes<T>(problem),
        [&](std::int64_t s, T* scratch) {
            kernel.factor_rev(n, problem.steps, L + s * size, C + s * below, L_bar + s * size, C_bar + s * below,
                              D_bar + s * size, B_bar + s * below, scratch);
        },
        [&](std::int64_t s, int count, T* scratch) {
            kernel.in_lanes.factor_rev(n, problem.steps, count, L + s * size, C + s * below, L_bar + s * size,
                                       C_bar + s * below, D_bar + s * size, B_bar + s * below, scratch);
        });
}

template <class T>
void solve(const Problem& problem, std::int64_t k, bool transposed, const T* L, const T* C, const T* b, T* x) {
    const auto& kernel = kernels<T>();
    const std::int64_t size = blocks(problem), below = blocks_below(problem), rhs = problem.steps * problem.n * k;
    for_each_sequence<T>(problem, 0, square(problem) * double(k) / 2, [&](std::int64_t s, T*) {
        kernel.solve(int(problem.n), problem.steps, k, transposed, L + s * size, C + s * below, b + s * rhs, x + s * rhs);
    });
}

template <class T>
void solve_rev(const Problem& problem, std::int64_t k, bool transposed, const T* L, const T* C, const T* x,
               const T* x_bar, T* L_bar, T* C_bar, T* b_bar) {
    const auto& kernel = kernels<T>();
    const int n = int(problem.n);
    const std::int64_t size = blocks(problem), below = blocks_below(problem), rhs = problem.steps * n * k;
    for_each_sequence<T>(problem, n * k, square(problem) * double(k), [&](std::int64_t s, T* scratch) {
        const T* const solution = x + s * rhs;
        T* const adjoint = b_bar + s * rhs;
        kernel.solve(n, problem.steps, k, !transposed, L + s * size, C + s * below, x_bar + s * rhs, adjoint);
        kernel.solve_rev(n, problem.steps, k, transposed ? solution : adjoint, transposed ? adjoint : solution,
                         L_bar + s * size, C_bar + s * below, scratch);
    });
}

template <class T>
void inverse_blocks(const Problem& problem, const T* L, const T* C, T* diagonal, T* below) {
    const auto& kernel = kernels<T>();
    const int n = int(problem.n);
    const std::int64_t size = blocks(problem), size_below = blocks_below(problem);
    for_each_sequence<T>(
        problem, scratch_entries<T>(problem), cube(problem), least_in_lanes<T>(problem),
        [&](std::int64_t s, T* scratch) {
            kernel.inverse_blocks(n, problem.steps, L + s * size, C + s * size_below, diagonal + s * size,
                                  below + s * size_below, scratch);
        },
        [&](std::int64_t s, int count, T* scratch) {
            kernel.in_lanes.inverse_blocks(n, problem.steps, count, L + s * size, C + s * size_below,
                                           diagonal + s * size, below + s * size_below, scratch);
        });
}

template <class T>
void inverse_blocks_rev(const Problem& problem, const T* L, const T* C, const T* diagonal, const T* below,
                        const T* diagonal_bar, const T* below_bar, T* L_bar, T* C_bar) {
    const auto& kernel = kernels<T>();
    const std::int64_t size = blocks(problem), size_below = blocks_below(problem);
    for_each_sequence<T>(
        problem, scratch_entries<T>(problem), cube(problem), 1, [](std::int64_t, T*) {},
        [&](std::int64_t s, int count, T* scratch) {
            const std::int64_t at = s * size, at_below = s * size_below;
            kernel.in_lanes.inverse_blocks_rev(int(problem.n), problem.steps, count, L + at, C + at_below, diagonal + at,
                                               below + at_below, diagonal_bar + at, below_bar + at_below, L_bar + at,
                                               C_bar + at_below, scratch);
        });
}

template <class T>
void log_diagonal(const Problem& problem, const T* L, T* result) {
    const std::int64_t size = blocks(problem);
    for_each_sequence<T>(problem, 0, double(problem.n), [&](std::int64_t s, T*) {
        result[s] = T(sum_of_logarithms(problem.steps, problem.n, L + s * size));
    });
}

template <class T>
void log_diagonal_rev(const Problem& problem, const T* L, const T* result_bar, T* L_bar) {
    const std::int64_t n = problem.n, size = blocks(problem);
    for_each_sequence<T>(problem, 0, square(problem) / 8, [&](std::int64_t s, T*) {
        for (std::int64_t e = s * size; e < (s + 1) * size; ++e) L_bar[e] = T(0);
        for (std::int64_t t = 0; t < problem.steps; ++t)
            for (std::int64_t i = 0; i < n; ++i) {
                const std::int64_t at = s * size + (t * n + i) * n + i;
                L_bar[at] = result_bar[s] / L[at];
            }
    });
}

// A sequence has 2 steps blocks among the factors: L and C one after the other or, in a tile of lanes, as the kernel likes.
std::int64_t factors_of_one(const Problem& problem) { return 2 * blocks(problem); }

template <class T>
std::int64_t factor_entries(const Problem& problem) {
    const std::int64_t lanes = problem.sequences < least_in_lanes<T>(problem) ? 1 : kernels<T>().in_lanes.lanes;
    return (problem.sequences + lanes - 1) / lanes * lanes * factors_of_one(problem);  // the last tile is whole in memory
}

template <class T>
std::int64_t system_scratch_entries(const Problem& problem, std::int64_t k) {
    const auto& kernel = kernels<T>();
    const std::int64_t one = kernel.system_scratch_entries(int(problem.n), k);
    if (problem.sequences < least_in_lanes<T>(problem)) return one;
    const std::int64_t several = kernel.in_lanes.system_scratch_entries(int(problem.n), problem.steps, k);
    return one > several ? one : several;
}

template <class T>
std::int64_t solve_system(const Problem& problem, std::int64_t k, const T* D, const T* B, const T* b, T* x, T* logs,
                          std::int64_t* info, T* factors) {
    const auto& kernel = kernels<T>();
    const int n = int(problem.n);
    const std::int64_t size = blocks(problem), below = blocks_below(problem), rhs = problem.steps * problem.n * k;
    // Factors that nobody will ask for lie behind the scratch memory.
    const std::int64_t entries = (system_scratch_entries<T>(problem, k) + 15) / 16 * 16;
    const std::int64_t width = problem.sequences < least_in_lanes<T>(problem) ? 1 : kernel.in_lanes.lanes;
    if (factors) prefer_large_pages(factors, factor_entries<T>(problem));
    const auto factors_at = [&](std::int64_t s, T* scratch) {
        return factors ? factors + s * factors_of_one(problem) : scratch + entries;
    };
    for_each_sequence<T>(
        problem, entries + (factors ? 0 : width * factors_of_one(problem)), cube(problem) / 4, least_in_lanes<T>(problem),
        [&](std::int64_t s, T* scratch) {
            T* const L = factors_at(s, scratch);
            info[s] = kernel.solve_system(n, problem.steps, k, D + s * size, B + s * below, b + s * rhs, L, L + size,
                                          x + s * rhs, scratch);
            if (logs && info[s] == 0) logs[s] = T(2 * sum_of_logarithms(problem.steps, problem.n, L));
        },
        [&](std::int64_t s, int count, T* scratch) {
            kernel.in_lanes.solve_system(n, problem.steps, k, count, D + s * size, B + s * below, b + s * rhs,
                                         x + s * rhs, logs ? logs + s : nullptr, info + s,
                                         factors_at(s, scratch), scratch);
        });
    return first_failure(problem, info);
}

template <class T>
void solve_system_rev(const Problem& problem, std::int64_t k, const T* factors, const T* x, const T* x_bar,
                      const T* logs_bar, T* D_bar, T* B_bar, T* b_bar) {
    const auto& kernel = kernels<T>();
    const int n = int(problem.n);
    const std::int64_t size = blocks(problem), below = blocks_below(problem), rhs = problem.steps * problem.n * k;
    if (D_bar) {
        prefer_large_pages(D_bar, problem.sequences * size);
        prefer_large_pages(B_bar, problem.sequences * below);
    }
    const auto gradient = [&](std::int64_t s) { return logs_bar ? logs_bar + s : nullptr; };
    const auto diagonal = [&](std::int64_t s) { return D_bar ? D_bar + s * size : nullptr; };
    for_each_sequence<T>(
        problem, system_scratch_entries<T>(problem, k), cube(problem), least_in_lanes<T>(problem),
        [&](std::int64_t s, T* scratch) {
            const T* const L = factors + s * factors_of_one(problem);
            kernel.solve_system_rev(n, problem.steps, k, L, L + size, x + s * rhs, x_bar + s * rhs, gradient(s),
                                    diagonal(s), B_bar + s * below, b_bar + s * rhs, scratch);
        },
        [&](std::int64_t s, int count, T* scratch) {
            kernel.in_lanes.solve_system_rev(n, problem.steps, k, count, factors + s * factors_of_one(problem),
                                             x + s * rhs, x_bar + s * rhs, gradient(s), diagonal(s), B_bar + s * below,
                                             b_bar + s * rhs, scratch);
        });
}

#define NEURALINV_INSTANTIATE(T)                                                                                     \
    template std::int64_t factor<T>(const Problem&, const T*, const T*, T*, T*, std::int64_t*);                      \
    template void factor_rev<T>(const Problem&, const T*, const T*, const T*, const T*, T*, T*);                     \
    template void solve<T>(const Problem&, std::int64_t, bool, const T*, const T*, const T*, T*);                    \
    template void solve_rev<T>(const Problem&, std::int64_t, bool, const T*, const T*, const T*, const T*, T*, T*,   \
                               T*);                                                                                  \
    template void inverse_blocks<T>(const Problem&, const T*, const T*, T*, T*);                                     \
    template void inverse_blocks_rev<T>(const Problem&, const T*, const T*, const T*, const T*, const T*, const T*,  \
                                        T*, T*);                                                                     \
    template std::int64_t factor_entries<T>(const Problem&);                                                         \
    template std::int64_t solve_system<T>(const Problem&, std::int64_t, const T*, const T*, const T*, T*, T*,        \
                                          std::int64_t*, T*);                                                        \
    template void solve_system_rev<T>(const Problem&, std::int64_t, const T*, const T*, const T*, const T*, T*, T*,  \
                                      T*);                                                                           \
    template void log_diagonal<T>(const Problem&, const T*, T*);                                                     \
    template void log_diagonal_rev<T>(const Problem&, const T*, const T*, T*);

NEURALINV_INSTANTIATE(float)
NEURALINV_INSTANTIATE(double)

}  // namespace block_tridiagonal
}  // namespace neuralinv
