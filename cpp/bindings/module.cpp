// The core for Python: checks what it is given, releases the GIL, nothing else. neuralinv/dense/native.py calls it.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "neuralinv/dispatch.hpp"

namespace nb = nanobind;

void bind_block_tridiagonal(nb::module_& m);

namespace {

// A batch (*batch, n, n) in the caller's memory. Batch dimensions must be equivalent to one with a single stride.
template <class T>
neuralinv::MatrixBatch<T> view(const T* data, const nb::tuple& shape, const nb::tuple& strides) {
    const std::size_t ndim = shape.size();
    if (ndim < 2 || strides.size() != ndim) throw nb::value_error("expected shape and strides of (*batch, n, n)");
    const auto size = [&](std::size_t d) { return nb::cast<std::int64_t>(shape[d]); };
    const auto stride = [&](std::size_t d) { return nb::cast<std::int64_t>(strides[d]); };
    neuralinv::MatrixBatch<T> A{data, 1, size(ndim - 1), 0, stride(ndim - 2), stride(ndim - 1)};
    if (size(ndim - 2) != A.n) throw nb::value_error("expected square matrices");
    if (A.n < 1 || A.n > neuralinv::largest_size) throw nb::value_error("n is out of the kernels' range");
    std::int64_t expected = 0;  // of the next dimension with more than one element
    for (std::size_t d = ndim - 2; d-- > 0;) {
        if (size(d) < 0) throw nb::value_error("a dimension is negative");
        if (size(d) != 1 && A.count > 1 && stride(d) != expected)
            throw nb::value_error("the batch dimensions are not equivalent to one");
        if (size(d) != 1 && A.count == 1) A.batch_stride = stride(d);
        A.count *= size(d);
        expected = A.batch_stride * A.count;
    }
    return A;
}

// Addresses instead of arrays: tensors tell theirs in a tenth of the time that a DLPack capsule takes.
template <class T>
std::int64_t run(std::uintptr_t source, const nb::tuple& shape, const nb::tuple& strides, std::uintptr_t target,
                 std::uintptr_t info, int threads) {
    const auto A = view(reinterpret_cast<const T*>(source), shape, strides);
    if (A.count == 0) return -1;
    nb::gil_scoped_release release;
    auto* const X = reinterpret_cast<T*>(target);
    return neuralinv::invert(A, X, reinterpret_cast<neuralinv::Status*>(info), threads).index;
}

}  // namespace

NB_MODULE(_native, m) {
    m.doc() = "Batched inverses of small matrices, one in each SIMD lane.";
    m.attr("LARGEST_SIZE") = neuralinv::largest_size;
    m.def("invert_f32", &run<float>);
    m.def("invert_f64", &run<double>);
    m.def("instruction_set", &neuralinv::instruction_set);
    m.def("available_instruction_sets", &neuralinv::available_instruction_sets);
    bind_block_tridiagonal(m);
}
