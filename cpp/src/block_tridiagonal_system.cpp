// The system M x = b and log det M of many sequences, and gradients: in lanes, one by one, or from both ends of each.
#include <atomic>
#include <memory>

#include "block_tridiagonal_work.hpp"

namespace neuralinv::block_tridiagonal {
namespace {

// A sequence has 2 steps blocks among the factors: L and C one after the other or, in a tile of lanes, as the kernel likes.
// The last block is not of them: its first entry tells whether L and C come from both ends.
std::int64_t factors_of_one(const Problem& problem) { return 2 * blocks(problem); }

template <class T>
T* ends_flag(const Problem& problem, T* factors) {
    return factors + factors_of_one(problem) - problem.n * problem.n;
}

template <class T>
std::int64_t system_scratch_entries(const Problem& problem, std::int64_t k) {
    const auto& kernel = kernels<T>();
    const std::int64_t one = kernel.system_scratch_entries(int(problem.n), k);
    if (problem.sequences < least_in_lanes<T>(problem)) return one;
    const std::int64_t several = kernel.in_lanes.system_scratch_entries(int(problem.n), problem.steps, k);
    return one > several ? one : several;
}

// Work, as of `for_each_sequence`, for which both ends of a sequence are worth two rounds of waking a thread: more if
// gradients will follow, which gain more. Measured with T = 250 on two threads: without gradients 1.2 times as fast for
// n = 20 and no faster for n = 14; with them 1.1 times for n = 10 and 1.4 for n = 20.
constexpr double work_for_ends = 1 << 18, work_for_ends_with_gradients = 1 << 15;
constexpr std::int64_t smallest_from_both_ends = 6;

template <class T>
bool from_both_ends(const Problem& problem, bool with_gradients) {
    const bool few = problem.sequences > 0 && problem.sequences < least_in_lanes<T>(problem);
    const double work = double(problem.steps) * cube(problem) / 4;
    return few && problem.threads >= 2 * problem.sequences && problem.steps >= fewest_steps_with_ends &&
           problem.n >= smallest_from_both_ends && work >= (with_gradients ? work_for_ends_with_gradients : work_for_ends);
}

// Call one(sequence, mirrored, scratch) for both ends of every sequence, in parallel. Each has `entries` of scratch memory.
template <class T, class One>
void for_each_end(const Problem& problem, std::int64_t entries, const One& one) {
    const std::int64_t ends = 2 * problem.sequences;
    Scratch<T> memory(ends, entries);
    auto run = [&](std::int64_t end) { one(end / 2, end % 2 != 0, memory.at(end)); };
    parallel_for(problem.threads, ends, run);
}

// Returns whether all is well: if not, nothing is.
template <class T>
bool solve_from_both_ends(const Problem& problem, std::int64_t k, const T* D, const T* B, const T* b, T* x, T* factors) {
    const auto& kernel = kernels<T>().twisted;
    const int n = int(problem.n);
    const std::int64_t size = blocks(problem), below = blocks_below(problem), rhs = problem.steps * problem.n * k;
    const std::int64_t entries = kernels<T>().system_scratch_entries(n, k);
    const auto system = [&](std::int64_t s) {
        T* const L = factors + s * factors_of_one(problem);
        return TwistedSystem<T>{problem.steps, k, D + s * size, B + s * below, b + s * rhs, L, L + size, x + s * rhs};
    };
    std::atomic<bool> well{true};
    for_each_end<T>(problem, entries, [&](std::int64_t s, bool mirrored, T* scratch) {
        if (kernel.factor_end(n, mirrored, system(s), scratch) != 0) well.store(false, std::memory_order_relaxed);
    });
    Scratch<T> memory(1, entries);
    for (std::int64_t s = 0; s < problem.sequences && well; ++s) {
        if (kernel.solve_middle(n, system(s), memory.at(0)) != 0) well = false;
        *ends_flag(problem, factors + s * factors_of_one(problem)) = T(1);
    }
    if (well && k > 0)
        for_each_end<T>(problem, 0, [&](std::int64_t s, bool mirrored, T*) { kernel.finish_end(n, mirrored, system(s)); });
    return well;
}

template <class T>
void solve_from_both_ends_rev(const Problem& problem, std::int64_t k, const T* factors, const T* x, const T* x_bar,
                              const T* logs_bar, T* D_bar, T* B_bar, T* b_bar) {
    const auto& kernel = kernels<T>().twisted;
    const int n = int(problem.n);
    const std::int64_t size = blocks(problem), below = blocks_below(problem), rhs = problem.steps * problem.n * k;
    const std::int64_t entries = kernels<T>().system_scratch_entries(n, k);
    const auto gradient = [&](std::int64_t s) {
        const T* const L = factors + s * factors_of_one(problem);
        return TwistedGradient<T>{problem.steps, k, L, L + size, x + s * rhs, x_bar + s * rhs,
                                  logs_bar ? logs_bar + s : nullptr, D_bar ? D_bar + s * size : nullptr,
                                  B_bar + s * below, b_bar + s * rhs};
    };
    if (k > 0) {
        for_each_end<T>(problem, 0, [&](std::int64_t s, bool mirrored, T*) { kernel.begin_rev_end(n, mirrored, gradient(s)); });
        Scratch<T> memory(1, entries);
        for (std::int64_t s = 0; s < problem.sequences; ++s) kernel.solve_middle_rev(n, gradient(s), memory.at(0));
    }
    for_each_end<T>(problem, entries, [&](std::int64_t s, bool mirrored, T* scratch) {
        kernel.finish_rev_end(n, mirrored, gradient(s), scratch);
    });
}

}  // namespace

template <class T>
std::int64_t factor_entries(const Problem& problem) {
    const std::int64_t lanes = problem.sequences < least_in_lanes<T>(problem) ? 1 : kernels<T>().in_lanes.lanes;
    return (problem.sequences + lanes - 1) / lanes * lanes * factors_of_one(problem);  // the last tile is whole in memory
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
    if (from_both_ends<T>(problem, factors != nullptr)) {
        const std::unique_ptr<Scratch<T>> own(factors ? nullptr : new Scratch<T>(1, factor_entries<T>(problem)));
        T* const L = factors ? factors : own->at(0);
        if (solve_from_both_ends(problem, k, D, B, b, x, L)) {
            for (std::int64_t s = 0; s < problem.sequences; ++s) {
                info[s] = 0;
                if (logs) logs[s] = T(2 * sum_of_logarithms(problem.steps, problem.n, L + s * factors_of_one(problem)));
            }
            return -1;
        }
        // Which pivot failed, and extreme ones, are questions for one end.
    }
    for_each_sequence<T>(
        problem, entries + (factors ? 0 : width * factors_of_one(problem)), cube(problem) / 4, least_in_lanes<T>(problem),
        [&](std::int64_t s, T* scratch) {
            T* const L = factors_at(s, scratch);
            *ends_flag(problem, L) = T(0);
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
    if (problem.sequences > 0 && problem.sequences < least_in_lanes<T>(problem) && *ends_flag(problem, factors) != T(0))
        return solve_from_both_ends_rev(problem, k, factors, x, x_bar, logs_bar, D_bar, B_bar, b_bar);
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
    template std::int64_t factor_entries<T>(const Problem&);                                                         \
    template std::int64_t solve_system<T>(const Problem&, std::int64_t, const T*, const T*, const T*, T*, T*,        \
                                          std::int64_t*, T*);                                                        \
    template void solve_system_rev<T>(const Problem&, std::int64_t, const T*, const T*, const T*, const T*, T*, T*,  \
                                      T*);

NEURALINV_INSTANTIATE(float)
NEURALINV_INSTANTIATE(double)

}  // namespace neuralinv::block_tridiagonal
