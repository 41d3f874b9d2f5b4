// Where a NumPy array keeps its entries, without NumPy's headers and in a tenth of the time that ndarray.ctypes takes.
#include "numpy_arrays.hpp"

#include <cstdint>

namespace nb = nanobind;

namespace {

// What ndarray.__array_struct__ points at: https://numpy.org/doc/stable/reference/arrays.interface.html
struct ArrayInterface {
    int two;
    int nd;
    char typekind;
    int itemsize;
    int flags;
    std::intptr_t* shape;
    std::intptr_t* strides;  // in bytes
    void* data;
    PyObject* descr;
};
constexpr int aligned = 0x100;
constexpr int not_swapped = 0x200;

// The capsule owns what it points at: keep it while the interface is read.
struct Interface {
    nb::object capsule;
    const ArrayInterface* array;
};

Interface interface_of(const nb::handle& A) {
    nb::object capsule = A.attr("__array_struct__");
    const auto* array = static_cast<const ArrayInterface*>(PyCapsule_GetPointer(capsule.ptr(), nullptr));
    if (array == nullptr) throw nb::python_error();
    if (array->two != 2) throw nb::value_error("__array_struct__ is not NumPy's");
    return {std::move(capsule), array};
}

// (address, shape, strides in elements), as the kernels want it.
nb::tuple layout(const nb::handle& A) {
    const Interface interface = interface_of(A);
    const ArrayInterface& array = *interface.array;
    if ((array.flags & aligned) == 0 || (array.flags & not_swapped) == 0)
        throw nb::value_error("the array is not aligned or not in the machine's byte order");
    nb::object shape = nb::steal(PyTuple_New(array.nd)), strides = nb::steal(PyTuple_New(array.nd));
    for (int d = 0; d < array.nd; ++d) {
        if (array.strides[d] % array.itemsize != 0) throw nb::value_error("a stride is no multiple of the item size");
        PyTuple_SET_ITEM(shape.ptr(), d, PyLong_FromSsize_t(array.shape[d]));
        PyTuple_SET_ITEM(strides.ptr(), d, PyLong_FromSsize_t(array.strides[d] / array.itemsize));
    }
    return nb::make_tuple(reinterpret_cast<std::uintptr_t>(array.data), shape, strides);
}

std::uintptr_t address(const nb::handle& A) { return reinterpret_cast<std::uintptr_t>(interface_of(A).array->data); }

}  // namespace

void bind_numpy(nb::module_& m) {
    m.def("array_layout", &layout);
    m.def("array_address", &address);
}
