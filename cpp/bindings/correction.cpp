// The correction of approximate inverses for Python: checks sizes, releases the GIL, nothing else.
// neuralinv/dense/native.py calls it, with addresses of tensors.
#include <nanobind/nanobind.h>

#include "neuralinv/correction_dispatch.hpp"
#include "neuralinv/dispatch.hpp"

namespace nb = nanobind;

namespace {

using Address = std::uintptr_t;
using Size = std::int64_t;

// A: (count, n, n), of any strides in elements. past: up to four of (count, n, n), the last ones perhaps null; without any,
// A is inverted. X: (count, n, n), bounds: doubles, orders: bytes.
template <class S>
void correct(Address A, Size count, Size n, Size batch_stride, Size row_stride, Size column_stride, Address latest,
             Address second, Address third, Address fourth, double tolerance, int highest, Address X, Address bounds, Address orders,
             int threads) {
    if (count < 0 || n < 1 || n > neuralinv::largest_corrected) throw nb::value_error("n is out of range");
    if (highest < 1 || highest > neuralinv::highest_order) throw nb::value_error("the order is out of range");
    const auto entries = [](Address address) { return reinterpret_cast<const S*>(address); };
    const neuralinv::Guesses<S> guesses{{entries(A), count, n, batch_stride, row_stride, column_stride},
                                        {entries(latest), entries(second), entries(third), entries(fourth)},
                                        latest == 0 ? 0 : second == 0 ? 1 : third == 0 ? 2 : fourth == 0 ? 3 : 4};
    if (latest == 0 && neuralinv::part_count<S> == 2 && n > neuralinv::largest_complex)
        throw nb::value_error("complex matrices of this size need a guess");
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

// A: (count, length); C, B, squares: doubles, (count, terms), (terms, length), (count).
template <class T>
void deviate(Address A, Address C, Address B, Address squares, Size count, Size terms, Size length, int threads) {
    if (count < 0 || length < 0 || terms < 1 || terms > neuralinv::most_terms)
        throw nb::value_error("the number of terms is out of range");
    const neuralinv::Deviation<T> deviation{reinterpret_cast<const T*>(A),     reinterpret_cast<const double*>(C),
                                            reinterpret_cast<const double*>(B), reinterpret_cast<double*>(squares),
                                            count, terms, length};
    nb::gil_scoped_release release;
    neuralinv::deviate(deviation, threads);
}

// X: (count, n, n); rows, columns: (count), real.
template <class S>
void row_sums(Address X, Address rows, Address columns, Size count, Size n, int threads) {
    using T = neuralinv::RealOf<S>;
    if (count < 0 || n < 1) throw nb::value_error("the number or size of the matrices is out of range");
    const neuralinv::RowSums<S> norms{reinterpret_cast<const S*>(X), reinterpret_cast<T*>(rows),
                                      reinterpret_cast<T*>(columns), count, n};
    nb::gil_scoped_release release;
    neuralinv::row_sums(norms, threads);
}

// A: (count, n, n), of any strides in elements; X: (count, n, n); omega: (n, columns) doubles; squares: (count, 2, columns)
// doubles; norms: (count, 2) doubles. roots: X are inverse square roots.
template <class S>
void probe(Address A, Size count, Size n, Size batch_stride, Size row_stride, Size column_stride, Address X,
           Address omega, Size columns, Address squares, Address norms, bool roots, int threads) {
    if (count < 0 || n < 1 || n > neuralinv::largest_probed) throw nb::value_error("n is out of range");
    if (columns < 1 || columns > neuralinv::most_probed_columns || columns % neuralinv::part_count<S> != 0)
        throw nb::value_error("the number of vectors is out of range");
    const neuralinv::Probing<S> probing{{reinterpret_cast<const S*>(A), count, n, batch_stride, row_stride, column_stride},
                                        reinterpret_cast<const S*>(X),
                                        reinterpret_cast<const double*>(omega),
                                        reinterpret_cast<double*>(squares),
                                        reinterpret_cast<double*>(norms),
                                        columns,
                                        roots};
    nb::gil_scoped_release release;
    neuralinv::probe(probing, threads);
}

}  // namespace

void bind_correction(nb::module_& m) {
    m.def("correct_f32", &correct<float>);
    m.def("correct_f64", &correct<double>);
    m.def("correct_c64", &correct<neuralinv::Complex<float>>);
    m.def("correct_c128", &correct<neuralinv::Complex<double>>);
    m.def("combine_f32", &combine<float>);
    m.def("combine_f64", &combine<double>);
    m.def("deviate_f32", &deviate<float>);
    m.def("deviate_f64", &deviate<double>);
    m.def("row_sums_f32", &row_sums<float>);
    m.def("row_sums_f64", &row_sums<double>);
    m.def("row_sums_c64", &row_sums<neuralinv::Complex<float>>);
    m.def("row_sums_c128", &row_sums<neuralinv::Complex<double>>);
    m.def("probe_f32", &probe<float>);
    m.def("probe_f64", &probe<double>);
    m.def("probe_c64", &probe<neuralinv::Complex<float>>);
    m.def("probe_c128", &probe<neuralinv::Complex<double>>);
    m.attr("LARGEST_PROBED") = neuralinv::largest_probed;
    m.attr("MOST_PROBED_COLUMNS") = neuralinv::most_probed_columns;
    m.attr("MOST_TERMS") = neuralinv::most_terms;
    m.attr("LARGEST_CORRECTED") = neuralinv::largest_corrected;
}
