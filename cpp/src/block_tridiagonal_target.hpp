// The body of every file that compiles the block-tridiagonal kernels for one instruction set.
#pragma once

#include "block_tridiagonal_kernels.hpp"
#include "neuralinv/block_tridiagonal.hpp"
#include "neuralinv/block_tridiagonal_lanes.hpp"
#include "neuralinv/block_tridiagonal_rev.hpp"
#include "neuralinv/block_tridiagonal_solve.hpp"
#include "neuralinv/block_tridiagonal_system.hpp"
#include "neuralinv/block_tridiagonal_system_lanes.hpp"
#include "neuralinv/block_tridiagonal_twisted.hpp"

namespace neuralinv::NEURALINV_TARGET {

// Sizes from 1 to this one are known to the compiler; for larger ones only the vectors in a column are.
inline constexpr int largest_fixed_block = 3;
inline constexpr int most_vectors = 4;

// Call `body` with the size n, as far as there is a kernel for it.
template <class T, int vectors = most_vectors, class Body>
inline auto with_vectors(int n, const Body& body) {
    const int needed = (n + lanes<T> - 1) / lanes<T>;
    // The most vectors that pad no more than fewer would: one chunk up to `most_vectors`.
    if constexpr (vectors == 1)
        return body(BlockSize<T, 0, 1>{n});
    else
        return needed % vectors == 0 || (needed > most_vectors && vectors == 2)
                   ? body(BlockSize<T, 0, vectors>{n})
                   : with_vectors<T, vectors - 1>(n, body);
}

template <class T, int fixed_n = 1, class Body>
inline auto with_size(int n, const Body& body) {
    if constexpr (fixed_n > largest_fixed_block) {
        return with_vectors<T>(n, body);
    } else {
        constexpr int needed = (fixed_n + lanes<T> - 1) / lanes<T>, chunks = (needed + most_vectors - 1) / most_vectors;
        constexpr int vectors = (needed + chunks - 1) / chunks;
        return n == fixed_n ? body(BlockSize<T, fixed_n, vectors>{n}) : with_size<T, fixed_n + 1>(n, body);
    }
}

// Kernels that work on both ends of a sequence: for blocks larger than those that stay in registers.
template <class T>
constexpr typename BlockTridiagonalKernels<T>::Twisted twisted_kernels() {
    return {
        [](int n, bool mirrored, const TwistedSystem<T>& system, T* scratch) {
            return with_vectors<T>(n, [&](auto size) { return twisted::factor_end(size, mirrored, system, scratch); });
        },
        [](int n, const TwistedSystem<T>& system, T* scratch) {
            return with_vectors<T>(n, [&](auto size) { return twisted::solve_middle(size, system, scratch); });
        },
        [](int n, bool mirrored, const TwistedSystem<T>& system) {
            with_vectors<T>(n, [&](auto size) { twisted::finish_end(size, mirrored, system); });
        },
        [](int n, bool mirrored, const TwistedGradient<T>& gradient) {
            with_vectors<T>(n, [&](auto size) { twisted::begin_rev_end(size, mirrored, gradient); });
        },
        [](int n, const TwistedGradient<T>& gradient, T* scratch) {
            with_vectors<T>(n, [&](auto size) { twisted::solve_middle_rev(size, gradient, scratch); });
        },
        [](int n, bool mirrored, const TwistedGradient<T>& gradient, T* scratch) {
            with_vectors<T>(n, [&](auto size) { twisted::finish_rev_end(size, mirrored, gradient, scratch); });
        },
    };
}

template <class T>
constexpr BlockTridiagonalKernels<T> block_tridiagonal_kernels() {
    return {
        [](int n) { return with_size<T>(n, [](auto size) { return scratch_entries(size); }); },
        [](int n, std::int64_t steps, const T* D, const T* B, T* L, T* C, T* scratch) {
            return with_size<T>(n, [=](auto size) { return factor_sequence(size, steps, D, B, L, C, scratch); });
        },
        [](int n, std::int64_t steps, const T* L, const T* C, const T* L_bar, const T* C_bar, T* D_bar, T* B_bar,
           T* scratch) {
            with_size<T>(n, [=](auto size) {
                factor_sequence_rev(size, steps, L, C, L_bar, C_bar, D_bar, B_bar, scratch);
            });
        },
        [](int n, std::int64_t steps, std::int64_t k, bool transposed, const T* L, const T* C, const T* b, T* x) {
            with_size<T>(n, [=](auto size) { solve_sequence(size, steps, k, transposed, L, C, b, x); });
        },
        [](int n, std::int64_t steps, std::int64_t k, const T* u, const T* v, T* L_bar, T* C_bar, T* scratch) {
            with_size<T>(n, [=](auto size) { solve_sequence_rev(size, steps, k, u, v, L_bar, C_bar, scratch); });
        },
        [](int n, std::int64_t steps, const T* L, const T* C, T* diagonal, T* below, T* scratch) {
            with_size<T>(n, [=](auto size) {
                inverse_blocks_sequence(size, steps, L, C, diagonal, below, scratch);
            });
        },
        [](int n, std::int64_t k) { return with_size<T>(n, [=](auto size) { return system_scratch_entries(size, k); }); },
        [](int n, std::int64_t steps, std::int64_t k, const T* D, const T* B, const T* b, T* L, T* C, T* x, T* scratch) {
            return with_size<T>(n, [=](auto size) { return solve_system_sequence(size, steps, k, D, B, b, L, C, x, scratch); });
        },
        [](int n, std::int64_t steps, std::int64_t k, const T* L, const T* C, const T* x, const T* x_bar,
           const T* log_bar, T* D_bar, T* B_bar, T* b_bar, T* scratch) {
            with_size<T>(n, [=](auto size) {
                solve_system_sequence_rev(size, steps, k, L, C, x, x_bar, log_bar, D_bar, B_bar, b_bar, scratch);
            });
        },
        twisted_kernels<T>(),
        {lanes<T>, [](int n) { return in_lanes::workspace_vectors(n) * lanes<T>; }, in_lanes::factor<T>,
         in_lanes::factor_rev<T>, in_lanes::inverse_blocks<T>, in_lanes::inverse_blocks_rev<T>,
         [](int n, std::int64_t steps, std::int64_t k) { return in_lanes::system_vectors(n, steps, k) * lanes<T>; },
         in_lanes::solve_system<T>, in_lanes::solve_system_rev<T>},
    };
}

}  // namespace neuralinv::NEURALINV_TARGET

#define NEURALINV_DEFINE_BLOCK_TRIDIAGONAL(name, target)                                             \
    namespace neuralinv {                                                                            \
    extern const BlockTridiagonalTarget block_tridiagonal_##target;                                  \
    const BlockTridiagonalTarget block_tridiagonal_##target = {                                      \
        name, target::block_tridiagonal_kernels<float>(), target::block_tridiagonal_kernels<double>()}; \
    }
