// Choice of the instruction set; the factor, solves and blocks of the inverse of many sequences.
#include "block_tridiagonal_work.hpp"
#include "targets.hpp"

namespace neuralinv {

NEURALINV_TARGETS(BlockTridiagonalTarget, block_tridiagonal)

namespace block_tridiagonal {

const BlockTridiagonalTarget& chosen_target() {
    static const BlockTridiagonalTarget* const target = target_in_use(block_tridiagonal_targets);
    return *target;
}

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

#define NEURALINV_INSTANTIATE(T)                                                                                     \
    template std::int64_t factor<T>(const Problem&, const T*, const T*, T*, T*, std::int64_t*);                      \
    template void factor_rev<T>(const Problem&, const T*, const T*, const T*, const T*, T*, T*);                     \
    template void solve<T>(const Problem&, std::int64_t, bool, const T*, const T*, const T*, T*);                    \
    template void solve_rev<T>(const Problem&, std::int64_t, bool, const T*, const T*, const T*, const T*, T*, T*,   \
                               T*);                                                                                  \
    template void inverse_blocks<T>(const Problem&, const T*, const T*, T*, T*);                                     \
    template void inverse_blocks_rev<T>(const Problem&, const T*, const T*, const T*, const T*, const T*, const T*,  \
                                        T*, T*);                                                                     \
    template void log_diagonal<T>(const Problem&, const T*, T*);                                                     \
    template void log_diagonal_rev<T>(const Problem&, const T*, const T*, T*);

NEURALINV_INSTANTIATE(float)
NEURALINV_INSTANTIATE(double)

}  // namespace block_tridiagonal
}  // namespace neuralinv
