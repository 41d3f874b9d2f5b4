// A table of kernels for each instruction set, and the one of that in use.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>

#include "neuralinv/dispatch.hpp"

// Declares the tables `name`_avx512 and so on, which were compiled for this architecture, and lists them in `name`_targets,
// best first.
#if defined(__x86_64__)
#define NEURALINV_TARGETS(Target, name)                                \
    extern const Target name##_avx512, name##_avx2, name##_baseline;   \
    inline constexpr const Target* name##_targets[] = {&name##_avx512, &name##_avx2, &name##_baseline};
#elif defined(__aarch64__)
#define NEURALINV_TARGETS(Target, name) \
    extern const Target name##_neon;    \
    inline constexpr const Target* name##_targets[] = {&name##_neon};
#else
#define NEURALINV_TARGETS(Target, name)  \
    extern const Target name##_baseline; \
    inline constexpr const Target* name##_targets[] = {&name##_baseline};
#endif

namespace neuralinv {

// That of instruction_set(), which NEURALINV_ISA can force; throws what it does.
template <class Target, std::size_t count>
const Target* target_in_use(const Target* const (&targets)[count]) {
    const std::string name = instruction_set();
    for (const Target* target : targets)
        if (name == target->name) return target;
    throw std::runtime_error("not all kernels were compiled for " + name);
}

}  // namespace neuralinv
