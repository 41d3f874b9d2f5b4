#pragma once

#include <nanobind/nanobind.h>

// Adds array_layout and array_address to the module.
void bind_numpy(nanobind::module_& m);
