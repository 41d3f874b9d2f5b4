// A sequence that is worked on from both ends: block_tridiagonal_twisted.hpp. What all instruction sets share.
#pragma once

#include <cstdint>

namespace neuralinv {

// Steps from which there is an end on either side of a middle.
inline constexpr std::int64_t fewest_steps_with_ends = 3;

// Where both ends meet.
constexpr std::int64_t middle_step(std::int64_t steps) { return steps / 2; }

// The arguments of `solve_system_sequence`. L and C are of the twisted factorisation.
template <class T>
struct TwistedSystem {
    std::int64_t steps, k;
    const T *D, *B, *b;
    T *L, *C, *x;
};

// The arguments of `solve_system_sequence_rev`.
template <class T>
struct TwistedGradient {
    std::int64_t steps, k;
    const T *L, *C, *x, *x_bar, *log_bar;
    T *D_bar, *B_bar, *b_bar;
};

}  // namespace neuralinv
