// Complex matrices: inverses, solutions and determinants against the oracle, in every layout, singular ones and extremes.
#include "general.hpp"

int main() {
    using namespace neuralinv::test;
    for (const neuralinv::Kernels* kernels : instruction_sets()) {
        test_general<neuralinv::Complex<float>>(*kernels, true);
        test_general<neuralinv::Complex<double>>(*kernels, true);
    }
    return report("complex matrices");
}
