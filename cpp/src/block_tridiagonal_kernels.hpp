// What each instruction set offers to block_tridiagonal_dispatch.cpp and block_tridiagonal_system.cpp.
#pragma once

#include <cstdint>

#include "neuralinv/block_tridiagonal_ends.hpp"

namespace neuralinv {

// Kernels for blocks of one size, n ≥ 1. `scratch` is aligned to a vector.
template <class T>
struct BlockTridiagonalKernels {
    // For one sequence.
    std::int64_t (*scratch_entries)(int n);
    std::int64_t (*factor)(int n, std::int64_t steps, const T* D, const T* B, T* L, T* C, T* scratch);
    void (*factor_rev)(int n, std::int64_t steps, const T* L, const T* C, const T* L_bar, const T* C_bar, T* D_bar,
                       T* B_bar, T* scratch);
    void (*solve)(int n, std::int64_t steps, std::int64_t k, bool transposed, const T* L, const T* C, const T* b, T* x);
    void (*solve_rev)(int n, std::int64_t steps, std::int64_t k, const T* u, const T* v, T* L_bar, T* C_bar,
                      T* scratch);
    void (*inverse_blocks)(int n, std::int64_t steps, const T* L, const T* C, T* diagonal, T* below, T* scratch);
    std::int64_t (*system_scratch_entries)(int n, std::int64_t k);
    std::int64_t (*solve_system)(int n, std::int64_t steps, std::int64_t k, const T* D, const T* B, const T* b, T* L, T* C,
                                 T* x, T* scratch);
    void (*solve_system_rev)(int n, std::int64_t steps, std::int64_t k, const T* L, const T* C, const T* x,
                             const T* x_bar, const T* log_bar, T* D_bar, T* B_bar, T* b_bar, T* scratch);

    // For one sequence from both ends, `mirrored` for the last one; null where one end is always better. Scratch memory as
    // for the system.
    struct Twisted {
        std::int64_t (*factor_end)(int n, bool mirrored, const TwistedSystem<T>& system, T* scratch);
        std::int64_t (*solve_middle)(int n, const TwistedSystem<T>& system, T* scratch);
        void (*finish_end)(int n, bool mirrored, const TwistedSystem<T>& system);
        void (*begin_rev_end)(int n, bool mirrored, const TwistedGradient<T>& gradient);
        void (*solve_middle_rev)(int n, const TwistedGradient<T>& gradient, T* scratch);
        void (*finish_rev_end)(int n, bool mirrored, const TwistedGradient<T>& gradient, T* scratch);
    } twisted;

    // For `count` ≤ lanes sequences, one after the other in memory, each in a SIMD lane.
    struct InLanes {
        int lanes;
        std::int64_t (*scratch_entries)(int n);
        void (*factor)(int n, std::int64_t steps, int count, const T* D, const T* B, T* L, T* C, std::int64_t* info,
                       T* scratch);
        void (*factor_rev)(int n, std::int64_t steps, int count, const T* L, const T* C, const T* L_bar, const T* C_bar,
                           T* D_bar, T* B_bar, T* scratch);
        void (*inverse_blocks)(int n, std::int64_t steps, int count, const T* L, const T* C, T* diagonal, T* below,
                               T* scratch);
        void (*inverse_blocks_rev)(int n, std::int64_t steps, int count, const T* L, const T* C, const T* diagonal,
                                   const T* below, const T* diagonal_bar, const T* below_bar, T* L_bar, T* C_bar,
                                   T* scratch);
        std::int64_t (*system_scratch_entries)(int n, std::int64_t steps, std::int64_t k);
        void (*solve_system)(int n, std::int64_t steps, std::int64_t k, int count, const T* D, const T* B, const T* b,
                             T* x, T* logs, std::int64_t* info, T* factors, T* scratch);
        void (*solve_system_rev)(int n, std::int64_t steps, std::int64_t k, int count, const T* factors, const T* x,
                                 const T* x_bar, const T* log_bar, T* D_bar, T* B_bar, T* b_bar, T* scratch);
    } in_lanes;
};

struct BlockTridiagonalTarget {
    const char* name;
    BlockTridiagonalKernels<float> f32;
    BlockTridiagonalKernels<double> f64;
};

}  // namespace neuralinv
