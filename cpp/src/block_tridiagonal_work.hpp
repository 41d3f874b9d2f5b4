// How the block-tridiagonal kernels are put to work: threads over sequences, scratch memory. Shared by
// block_tridiagonal_dispatch.cpp and block_tridiagonal_system.cpp.
#pragma once

#include <cmath>
#include <cstring>
#include <limits>

#include "block_tridiagonal_kernels.hpp"
#include "neuralinv/block_tridiagonal_dispatch.hpp"
#include "scratch.hpp"
#include "thread_pool.hpp"

namespace neuralinv::block_tridiagonal {

// That of the instruction set in use.
const BlockTridiagonalTarget& chosen_target();

template <class T>
const BlockTridiagonalKernels<T>& kernels() {
    if constexpr (sizeof(T) == sizeof(float))
        return chosen_target().f32;
    else
        return chosen_target().f64;
}

// Waking a thread costs some microseconds: below this many multiplications one thread does the work.
inline constexpr double work_for_threads = 1 << 16;

// The fewest sequences for which a vector with one in each lane is faster than one sequence after another. Measured with
// AVX-512 and T = 250: the break-even lies at 5 to 9 of 16 sequences for n = 3, 10 and 20; with a full vector of them lanes
// are 1.7 to 3 times faster. Beyond n = 32 the blocks of a vector of sequences leave the second-level cache.
inline int least_in_lanes(std::int64_t n, int lanes) {
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

inline std::int64_t blocks(const Problem& problem) { return problem.steps * problem.n * problem.n; }

inline std::int64_t blocks_below(const Problem& problem) { return (problem.steps - 1) * problem.n * problem.n; }

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

inline std::int64_t first_failure(const Problem& problem, const std::int64_t* info) {
    for (std::int64_t s = 0; s < problem.sequences; ++s)
        if (info[s] != 0) return s;
    return -1;
}

inline double cube(const Problem& problem) { return double(problem.n) * double(problem.n) * double(problem.n); }

inline double square(const Problem& problem) { return double(problem.n) * double(problem.n); }

}  // namespace neuralinv::block_tridiagonal
