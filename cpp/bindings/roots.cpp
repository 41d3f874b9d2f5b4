// Inverse square roots for Python: checks sizes, releases the GIL, nothing else. neuralinv/dense/native_roots.py calls it, with
// addresses of tensors: A and X are (count, n, n) without gaps.
#include <nanobind/nanobind.h>

#include "neuralinv/root_dispatch.hpp"

namespace nb = nanobind;

namespace {

using Address = std::uintptr_t;
using Size = std::int64_t;

void check(Size count, Size n) {
    if (count < 0 || n < 1 || n > neuralinv::largest_root) throw nb::value_error("the number or size of the matrices is out of range");
}

// start: (n); sizes: (count, 3) doubles; symmetric: (count) bytes.
template <class T>
void survey(Address A, Size count, Size n, Address start, Address sizes, Address symmetric, int threads) {
    check(count, n);
    nb::gil_scoped_release release;
    neuralinv::survey(neuralinv::Survey<T>{reinterpret_cast<const T*>(A), reinterpret_cast<const T*>(start),
                                           reinterpret_cast<double*>(sizes), reinterpret_cast<bool*>(symmetric), count, n},
                      threads);
}

// scales: (count) doubles; shifts, weights: (terms) doubles.
template <class T>
void sum_inverses(Address A, Size count, Size n, Address scales, Address shifts, Address weights, Size terms, Address X, int threads) {
    check(count, n);
    if (terms < 1) throw nb::value_error("there are no terms");
    nb::gil_scoped_release release;
    neuralinv::sum_inverses(
        neuralinv::ShiftedInverses<T>{reinterpret_cast<const T*>(A), reinterpret_cast<const double*>(scales),
                                      reinterpret_cast<const double*>(shifts), reinterpret_cast<const double*>(weights),
                                      reinterpret_cast<T*>(X), count, n, terms},
        threads);
}

// squares: (count, 5) doubles.
template <class T>
void correct_roots(Address A, Size count, Size n, Address X, Address squares, int threads) {
    check(count, n);
    nb::gil_scoped_release release;
    neuralinv::correct_roots(neuralinv::RootResidual<T>{reinterpret_cast<const T*>(A), reinterpret_cast<T*>(X),
                                                        reinterpret_cast<double*>(squares), count, n},
                             threads);
}

// positive: (count) bytes.
template <class T>
void pivot_signs(Address X, Size count, Size n, Address positive, int threads) {
    check(count, n);
    nb::gil_scoped_release release;
    neuralinv::pivot_signs(
        neuralinv::PivotSigns<T>{reinterpret_cast<const T*>(X), reinterpret_cast<bool*>(positive), count, n}, threads);
}

}  // namespace

void bind_roots(nb::module_& m) {
    m.def("survey_f32", &survey<float>);
    m.def("survey_f64", &survey<double>);
    m.def("sum_inverses_f32", &sum_inverses<float>);
    m.def("sum_inverses_f64", &sum_inverses<double>);
    m.def("correct_roots_f32", &correct_roots<float>);
    m.def("correct_roots_f64", &correct_roots<double>);
    m.def("pivot_signs_f32", &pivot_signs<float>);
    m.def("pivot_signs_f64", &pivot_signs<double>);
    m.attr("LARGEST_ROOT") = neuralinv::largest_root;
}
