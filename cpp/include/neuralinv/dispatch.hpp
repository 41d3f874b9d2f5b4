// The kernels behind one door: the instruction set is chosen once, at run time.
#pragma once

#include <string>
#include <vector>

#include "batch.hpp"
#include "status.hpp"

namespace neuralinv {

// Invert a batch of 1 ≤ n ≤ largest_size on at most `threads` threads.
//
// X: (count, n, n), row by row without gaps, not overlapping A. info: (count), or null if nobody asks. Throws
// std::runtime_error if the environment variable NEURALINV_ISA names an instruction set that is not available.
FirstFailure invert(const MatrixBatch<float>& A, float* X, Status* info, int threads);
FirstFailure invert(const MatrixBatch<double>& A, double* X, Status* info, int threads);

// The instruction set in use: the best that this machine has, or the one that NEURALINV_ISA names.
std::string instruction_set();

// Those that were compiled and that this machine has, best first.
std::vector<std::string> available_instruction_sets();

}  // namespace neuralinv
