// The kernels behind one door: the instruction set is chosen once, at run time.
#pragma once

#include <string>
#include <vector>

#include "batch.hpp"
#include "careful.hpp"
#include "right_sides.hpp"
#include "status.hpp"

namespace neuralinv {

// All run on at most `threads` threads, for T = float and double and any n ≥ 1. X, info, sign and logabsdet do not overlap
// A or B and have no gaps; info: (count), or null if nobody asks. What failed is NaN. Throws std::runtime_error if the
// environment variable NEURALINV_ISA names an instruction set that is not available.

// X: (count, n, n).
template <class T>
FirstFailure invert(const MatrixBatch<T>& A, Structure structure, T* X, Status* info, int threads);

// The same with a proof: bounds[b] ≥ ‖A⁻¹ − X‖_F / ‖A⁻¹‖_F, or ∞ (certificate.hpp says how), computed while the matrices are
// in the cache; floats that miss the tolerance are corrected. A without gaps, row by row, n ≤ largest_certified.
inline constexpr std::int64_t largest_certified = 64;
template <class T>
FirstFailure certified_invert(const MatrixBatch<T>& A, T* X, Status* info, double tolerance, double* bounds,
                              int threads);

// X: (count, n, B.columns).
template <class T>
FirstFailure solve(const MatrixBatch<T>& A, const RightSides<T>& B, Structure structure, T* X, Status* info, int threads);

// sign, logabsdet: (count). General matrices do not fail: a singular one has sign 0 and logarithm −inf.
template <class T>
FirstFailure slogdet(const MatrixBatch<T>& A, Structure structure, T* sign, T* logabsdet, int threads);

// The instruction set in use: the best that this machine has, or the one that NEURALINV_ISA names.
std::string instruction_set();

// Those that were compiled and that this machine has, best first.
std::vector<std::string> available_instruction_sets();

}  // namespace neuralinv
