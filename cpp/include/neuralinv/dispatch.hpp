// The kernels behind one door: the instruction set is chosen once, at run time.
#pragma once

#include <string>
#include <vector>

#include "batch.hpp"
#include "careful.hpp"
#include "complex.hpp"
#include "right_sides.hpp"
#include "status.hpp"

namespace neuralinv {

// All run on at most `threads` threads, for S = float, double, Complex<float> and Complex<double>, n ≥ 1; complex matrices
// general and up to largest_complex. X, info, sign and logabsdet do not overlap A or B and have no gaps; info: (count), or
// null if nobody asks. What failed is NaN. Throws std::runtime_error if the environment variable NEURALINV_ISA names an
// instruction set that is not available.
inline constexpr std::int64_t largest_complex = 16;

// Real matrices take several threads each from these sizes on, where they are so few that some threads would have none: even if
// a line of the cache takes 50 ns from core to core. Inverses of general matrices, solutions and determinants, positive definite ones.
inline constexpr std::int64_t smallest_inverse_for_teams = 384, smallest_for_teams = 512, smallest_positive_for_teams = 768;

// X: (count, n, n).
template <class S>
FirstFailure invert(const MatrixBatch<S>& A, Structure structure, S* X, Status* info, int threads);

// X: (count, n, B.columns).
template <class S>
FirstFailure solve(const MatrixBatch<S>& A, const RightSides<S>& B, Structure structure, S* X, Status* info, int threads);

// sign, logabsdet: (count). General matrices do not fail: a singular one has sign 0 and logarithm −∞. Named is the first whose logarithm
// is NaN or +∞.
template <class S>
FirstFailure slogdet(const MatrixBatch<S>& A, Structure structure, S* sign, RealOf<S>* logabsdet, int threads);

// An inverse with a proof, real matrices only: bounds[b] ≥ ‖A⁻¹ − X‖_F / ‖A⁻¹‖_F, or ∞ (certificate.hpp says how), computed
// while the matrices are in the cache; floats that miss the tolerance are corrected. A without gaps, row by row.
inline constexpr std::int64_t largest_certified = 64;

struct Certified {
    FirstFailure first;
    bool all;  // every bound is at most the tolerance
};

// labels: (2, count) bytes in two pieces, or null, that become zero: what they count is the same for all matrices here, and
// clearing them takes a thread that is there anyway less time than another library, which starts its own for that.
struct Labels {
    std::int8_t* status = nullptr;
    std::int8_t* source = nullptr;
};

template <class T>
Certified certified_invert(const MatrixBatch<T>& A, T* X, Status* info, double tolerance, double* bounds, int threads,
                           Labels labels = {});

// The instruction set in use: the best that this machine has, or the one that NEURALINV_ISA names.
std::string instruction_set();

// Those that were compiled and that this machine has, best first.
std::vector<std::string> available_instruction_sets();

}  // namespace neuralinv
