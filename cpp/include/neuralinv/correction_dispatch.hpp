// The correction of approximate inverses behind one door: the instruction set is chosen at run time.
#pragma once

#include "complex.hpp"
#include "guesses.hpp"

namespace neuralinv {

// For S = float, double, Complex<float> and Complex<double>, 1 ≤ n ≤ largest_corrected: correct the guesses with the lowest
// order from 1 to `highest`, at most highest_order, whose bound of the relative error reaches the tolerance, on at most
// `threads` threads. Where none does, X is the guess itself; its bound is infinite where nothing is proved. Throws
// std::bad_alloc, and what instruction_set() does.
template <class S>
void correct(Guesses<S> guesses, double tolerance, int highest, const Corrected<S>& result, int threads);

// For T = float and double: X = C B, each entry of X by one thread.
template <class T>
void combine(const Combination<T>& combination, int threads);

// For T = float and double: how far matrices are from combinations.
template <class T>
void deviate(const Deviation<T>& deviation, int threads);

// For S = float, double and complex numbers of them: the largest sums of magnitudes; not a number where an entry is none.
template <class S>
void row_sums(const RowSums<S>& norms, int threads);

// For S = float, double and complex numbers of them: what random vectors say of candidates.
template <class S>
void probe(const Probing<S>& probing, int threads);

}  // namespace neuralinv
