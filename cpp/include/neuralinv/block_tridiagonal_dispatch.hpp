// The block-tridiagonal kernels behind one door: any size, many sequences, the instruction set chosen at run time.
#pragma once

#include <cstdint>

namespace neuralinv::block_tridiagonal {

// `sequences` independent matrices of `steps` ≥ 1 blocks of n × n, n ≥ 1. Arrays hold them one after the other without
// gaps, of the shapes that block_tridiagonal.hpp and block_tridiagonal_rev.hpp give for one. All functions work on at
// most `threads` threads. Of many sequences each has a SIMD lane; few are worked on one after another.
struct Problem {
    std::int64_t sequences;
    std::int64_t steps;
    std::int64_t n;
    int threads;
};

// info: (sequences), 0 or the order of the first leading minor that is not positive; such a sequence's L and C become
// NaN. Returns the index of the first sequence that failed, or -1.
template <class T>
std::int64_t factor(const Problem& problem, const T* D, const T* B, T* L, T* C, std::int64_t* info);

template <class T>
void factor_rev(const Problem& problem, const T* L, const T* C, const T* L_bar, const T* C_bar, T* D_bar, T* B_bar);

// b, x: (sequences, steps, n, k).
template <class T>
void solve(const Problem& problem, std::int64_t k, bool transposed, const T* L, const T* C, const T* b, T* x);

// From x and x_bar to L_bar, C_bar and b_bar.
template <class T>
void solve_rev(const Problem& problem, std::int64_t k, bool transposed, const T* L, const T* C, const T* x,
               const T* x_bar, T* L_bar, T* C_bar, T* b_bar);

template <class T>
void inverse_blocks(const Problem& problem, const T* L, const T* C, T* diagonal, T* below);

// From the blocks of the inverse and their gradients to L_bar and C_bar.
template <class T>
void inverse_blocks_rev(const Problem& problem, const T* L, const T* C, const T* diagonal, const T* below,
                        const T* diagonal_bar, const T* below_bar, T* L_bar, T* C_bar);

// Entries that `solve_system` wants for the factors.
template <class T>
std::int64_t factor_entries(const Problem& problem);

// M x = b and log det M in one pass. b, x: (sequences, steps, n, k), not the same; k may be 0. logs: (sequences), null if
// not wanted. info: as of `factor`; of a sequence that failed, x and log mean nothing. factors: aligned to 64 bytes, for
// `solve_system_rev`, in a form of the kernels' own; null if nobody will ask. Returns what `factor` does.
template <class T>
std::int64_t solve_system(const Problem& problem, std::int64_t k, const T* D, const T* B, const T* b, T* x, T* logs,
                          std::int64_t* info, T* factors);

// From gradients of x (k = 0: none) and of the logarithms (null: none) to those of D, B and b; D_bar may be null, and B_bar
// is not touched then.
template <class T>
void solve_system_rev(const Problem& problem, std::int64_t k, const T* factors, const T* x, const T* x_bar,
                      const T* logs_bar, T* D_bar, T* B_bar, T* b_bar);

// result: (sequences), the sum of the logarithms of the diagonals of all L_t: half the log-determinant of M.
template <class T>
void log_diagonal(const Problem& problem, const T* L, T* result);

template <class T>
void log_diagonal_rev(const Problem& problem, const T* L, const T* result_bar, T* L_bar);

}  // namespace neuralinv::block_tridiagonal
