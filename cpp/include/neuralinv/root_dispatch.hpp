// What inverse square roots are made of behind one door: the instruction set is chosen at run time.
#pragma once

#include "roots.hpp"

namespace neuralinv {

// For T = float and double, 1 ≤ n ≤ largest_root, each matrix by one of at most `threads` threads. Throw std::bad_alloc, and
// what instruction_set() does.
template <class T>
void survey(const Survey<T>& survey, int threads);

template <class T>
void sum_inverses(ShiftedInverses<T> sum, int threads);

template <class T>
void correct_roots(const RootResidual<T>& residual, int threads);

template <class T>
void pivot_signs(const PivotSigns<T>& signs, int threads);

}  // namespace neuralinv
