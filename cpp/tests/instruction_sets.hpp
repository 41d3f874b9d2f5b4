// The kernels of every instruction set that this machine has, for tests and benchmarks to call directly.
#pragma once

#include <string>
#include <vector>

#include "kernels.hpp"
#include "neuralinv/dispatch.hpp"

namespace neuralinv {

extern const Kernels kernels_baseline, kernels_avx2, kernels_avx512, kernels_neon;

namespace test {

inline std::vector<const Kernels*> instruction_sets() {
    std::vector<const Kernels*> found;
    for (const std::string& name : available_instruction_sets()) {
#if defined(__x86_64__)
        found.push_back(name == "avx512" ? &kernels_avx512 : name == "avx2" ? &kernels_avx2 : &kernels_baseline);
#elif defined(__aarch64__)
        found.push_back(&kernels_neon);
#else
        found.push_back(&kernels_baseline);
#endif
    }
    return found;
}

}  // namespace test
}  // namespace neuralinv
