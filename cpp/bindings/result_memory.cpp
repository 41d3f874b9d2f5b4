// Memory for large results as a Python object that torch and NumPy can look into: it lives as long as one of them does.
#include <nanobind/nanobind.h>

#include "neuralinv/result_memory.hpp"

namespace nb = nanobind;

namespace {

using neuralinv::ResultMemory;

int get_buffer(PyObject* self, Py_buffer* view, int flags) {
    const ResultMemory* const memory = nb::inst_ptr<ResultMemory>(self);
    return PyBuffer_FillInfo(view, self, memory->data(), memory->bytes(), 0, flags);
}

PyType_Slot slots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(get_buffer)}, {0, nullptr}};

}  // namespace

void bind_result_memory(nb::module_& m) {
    nb::set_leak_warnings(false);  // results may outlive the interpreter
    nb::class_<ResultMemory>(m, "ResultMemory", nb::type_slots(slots))
        .def("__init__", [](ResultMemory* memory, std::int64_t bytes) {
            if (bytes < 1) throw nb::value_error("expected a positive number of bytes");
            new (memory) ResultMemory(bytes);
        });
    m.def("spare_memory", &neuralinv::spare_memory);
}
