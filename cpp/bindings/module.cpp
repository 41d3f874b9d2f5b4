// The core for Python: checks what it is given, releases the GIL, nothing else. neuralinv/dense/native.py calls it.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "neuralinv/dispatch.hpp"
#include "neuralinv/threads.hpp"
#include "numpy_arrays.hpp"

namespace nb = nanobind;

void bind_block_tridiagonal(nb::module_& m);
void bind_correction(nb::module_& m);
void bind_result_memory(nb::module_& m);
void bind_roots(nb::module_& m);

namespace {

using neuralinv::MatrixBatch;
using neuralinv::RightSides;
using neuralinv::Status;
using neuralinv::Structure;

std::int64_t at(const nb::tuple& sizes, std::size_t d) { return nb::cast<std::int64_t>(sizes[d]); }

// One stride for dimensions 0..ndim-3 of a batch, in elements; count: of all their elements. Throws if none fits them all.
std::int64_t batch_stride(const nb::tuple& shape, const nb::tuple& strides, std::int64_t& count) {
    count = 1;
    std::int64_t stride = 0, expected = 0;  // of the next dimension with more than one element
    for (std::size_t d = shape.size() - 2; d-- > 0;) {
        const std::int64_t size = at(shape, d);
        if (size < 0) throw nb::value_error("a dimension is negative");
        if (size != 1 && count > 1 && at(strides, d) != expected)
            throw nb::value_error("the batch dimensions are not equivalent to one");
        if (size != 1 && count == 1) stride = at(strides, d);
        count *= size;
        expected = stride * count;
    }
    return stride;
}

template <class T>
MatrixBatch<T> matrices(std::uintptr_t data, const nb::tuple& shape, const nb::tuple& strides) {
    const std::size_t ndim = shape.size();
    if (ndim < 2 || strides.size() != ndim) throw nb::value_error("expected shape and strides of (*batch, n, n)");
    MatrixBatch<T> A{reinterpret_cast<const T*>(data), 1, at(shape, ndim - 1), 0, at(strides, ndim - 2), at(strides, ndim - 1)};
    if (sizeof(T) != sizeof(neuralinv::RealOf<T>) && A.n > neuralinv::largest_complex)
        throw nb::value_error("the complex matrices are too large for the kernels");
    if (at(shape, ndim - 2) != A.n || A.n < 1) throw nb::value_error("expected square matrices, n ≥ 1");
    A.batch_stride = batch_stride(shape, strides, A.count);
    return A;
}

Structure structure(bool positive) { return positive ? Structure::positive : Structure::general; }

// Addresses instead of arrays: tensors tell theirs in a tenth of the time that a DLPack capsule takes. All return the index
// of the first matrix that failed, or -1; info may be 0.
template <class T>
std::int64_t invert(std::uintptr_t source, const nb::tuple& shape, const nb::tuple& strides, std::uintptr_t target,
                    std::uintptr_t info, int threads, bool positive) {
    const auto A = matrices<T>(source, shape, strides);
    if (A.count == 0) return -1;
    nb::gil_scoped_release release;
    return neuralinv::invert(A, structure(positive), reinterpret_cast<T*>(target), reinterpret_cast<Status*>(info), threads)
        .index;
}

// Matrices (*batch, n, n) without gaps. bounds: doubles, status and origin: bytes that become zero, all (*batch). Returns whether
// all bounds are at most the tolerance.
template <class T>
bool certified_invert(std::uintptr_t source, std::int64_t count, std::int64_t n, std::uintptr_t target, std::uintptr_t status,
                      std::uintptr_t origin, double tolerance, std::uintptr_t bounds, int threads) {
    if (n < 1 || n > neuralinv::largest_certified) throw nb::value_error("n is out of range");
    const MatrixBatch<T> A{reinterpret_cast<const T*>(source), count, n, n * n, n, 1};
    nb::gil_scoped_release release;
    return neuralinv::certified_invert(A, reinterpret_cast<T*>(target), static_cast<Status*>(nullptr), tolerance,
                                       reinterpret_cast<double*>(bounds), threads,
                                       {reinterpret_cast<std::int8_t*>(status), reinterpret_cast<std::int8_t*>(origin)})
        .all;
}

// right_strides: of right-hand sides (*batch, n, columns).
template <class T>
std::int64_t solve(std::uintptr_t source, const nb::tuple& shape, const nb::tuple& strides, std::uintptr_t right_sides,
                   const nb::tuple& right_strides, std::int64_t columns, std::uintptr_t target, std::uintptr_t info,
                   int threads, bool positive) {
    const auto A = matrices<T>(source, shape, strides);
    const std::size_t ndim = shape.size();
    if (right_strides.size() != ndim) throw nb::value_error("expected right-hand sides of (*batch, n, columns)");
    if (columns < 0) throw nb::value_error("the number of right-hand sides is negative");
    std::int64_t count = 0;
    const RightSides<T> B{reinterpret_cast<const T*>(right_sides), columns, batch_stride(shape, right_strides, count),
                          at(right_strides, ndim - 2), at(right_strides, ndim - 1)};
    if (A.count == 0) return -1;
    nb::gil_scoped_release release;
    return neuralinv::solve(A, B, structure(positive), reinterpret_cast<T*>(target), reinterpret_cast<Status*>(info), threads)
        .index;
}

template <class T>
std::int64_t slogdet(std::uintptr_t source, const nb::tuple& shape, const nb::tuple& strides, std::uintptr_t sign,
                     std::uintptr_t logabsdet, int threads, bool positive) {
    const auto A = matrices<T>(source, shape, strides);
    if (A.count == 0) return -1;
    nb::gil_scoped_release release;
    return neuralinv::slogdet(A, structure(positive), reinterpret_cast<T*>(sign),
                              reinterpret_cast<neuralinv::RealOf<T>*>(logabsdet), threads)
        .index;
}

// Real matrices of any size; how large is worth while, neuralinv/dense/crossover.json says.
std::int64_t largest_size(const std::string&, const std::string& suffix, bool positive) {
    if (suffix == "f32" || suffix == "f64") return 4096;
    return positive ? 0 : neuralinv::largest_complex;
}

// From which size on a matrix may have several threads, 0: never.
std::int64_t smallest_for_teams(const std::string& operation, const std::string& suffix, bool positive) {
    if (suffix != "f32" && suffix != "f64") return 0;
    if (positive) return neuralinv::smallest_positive_for_teams;
    return operation == "inv" ? neuralinv::smallest_inverse_for_teams : neuralinv::smallest_for_teams;
}

}  // namespace

NB_MODULE(_native, m) {
    m.doc() = "Batched inverses, solutions and determinants of small matrices.";
    using neuralinv::Complex;
    m.def("invert_f32", &invert<float>);
    m.def("invert_f64", &invert<double>);
    m.def("invert_c64", &invert<Complex<float>>);
    m.def("invert_c128", &invert<Complex<double>>);
    m.def("largest_size", &largest_size);
    m.def("smallest_for_teams", &smallest_for_teams);
    m.def("usable_processors", &neuralinv::usable_processors);
    bind_numpy(m);
    m.attr("LARGEST_CERTIFIED") = neuralinv::largest_certified;
    m.def("certified_invert_f32", &certified_invert<float>);
    m.def("certified_invert_f64", &certified_invert<double>);
    m.def("solve_f32", &solve<float>);
    m.def("solve_f64", &solve<double>);
    m.def("solve_c64", &solve<Complex<float>>);
    m.def("solve_c128", &solve<Complex<double>>);
    m.def("slogdet_f32", &slogdet<float>);
    m.def("slogdet_f64", &slogdet<double>);
    m.def("slogdet_c64", &slogdet<Complex<float>>);
    m.def("slogdet_c128", &slogdet<Complex<double>>);
    m.def("instruction_set", &neuralinv::instruction_set);
    m.def("borrow_threads", &neuralinv::borrow_threads);
    m.def("borrows_threads", &neuralinv::borrows_threads);
    m.def("available_instruction_sets", &neuralinv::available_instruction_sets);
    bind_block_tridiagonal(m);
    bind_correction(m);
    bind_result_memory(m);
    bind_roots(m);
}
