// The correction of approximate inverses for Python: checks sizes, releases the GIL, nothing else.
// neuralinv/dense/native.py calls it, with addresses of tensors.
#include <nanobind/nanobind.h>

#include "neuralinv/correction_dispatch.hpp"

namespace nb = nanobind;

namespace {

using Address = std::uintptr_t;
using Size = std::int64_t;

// A: (count, n, n), of any strides in elements. past: up to three of (count, n, n), the second and third perhaps null. X:
// (count, n, n), bounds: doubles, orders: bytes.
template <class S>
void correct(Address A, Size count, Size n, Size batch_stride, Size row_stride, Size column_stride, Address latest,
             Address second, Address third, double tolerance, int highest, Address X, Address bounds, Address orders,
             int threads) {
    if (count < 0 || n < 1 || n > neuralinv::largest_corrected) throw nb::value_error("n is out of range");
    if (highest < 1 || highest > neuralinv::highest_order) throw nb::value_error("the order is out of range");
    const auto entries = [](Address address) { return reinterpret_cast<const S*>(address); };
    const neuralinv::Guesses<S> guesses{{entries(A), count, n, batch_stride, row_stride, column_stride},
                                        {entries(latest), entries(second), entries(third)},
                                        second == 0 ? 1 : third == 0 ? 2 : 3};
    nb::gil_scoped_release release;
    neuralinv::correct(guesses, tolerance, highest,
                       neuralinv::Corrected<S>{reinterpret_cast<S*>(X), reinterpret_cast<double*>(bounds),
                                               reinterpret_cast<std::int8_t*>(orders)},
                       threads);
}

// X = C B: C (count, terms), B (terms, length), X (count, length).
template <class T>
void combine(Address C, Address B, Address X, Size count, Size terms, Size length, int threads) {
    if (count < 0 || length < 0 || terms < 1 || terms > neuralinv::most_terms)
        throw nb::value_error("the number of terms is out of range");
    const neuralinv::Combination<T> combination{reinterpret_cast<const T*>(C), reinterpret_cast<const T*>(B),
                                                reinterpret_cast<T*>(X), count, terms, length};
    nb::gil_scoped_release release;
    neuralinv::combine(combination, threads);
}

}  // namespace

void bind_correction(nb::module_& m) {
    m.def("correct_f32", &correct<float>);
    m.def("correct_f64", &correct<double>);
    m.def("correct_c64", &correct<neuralinv::Complex<float>>);
    m.def("correct_c128", &correct<neuralinv::Complex<double>>);
    m.def("combine_f32", &combine<float>);
    m.def("combine_f64", &combine<double>);
    m.attr("MOST_TERMS") = neuralinv::most_terms;
    m.attr("LARGEST_CORRECTED") = neuralinv::largest_corrected;
}
