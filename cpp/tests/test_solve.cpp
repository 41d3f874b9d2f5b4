// General real systems: solutions and determinants against the oracle, in every layout, singular matrices and extremes.
#include "general.hpp"

int main() {
    using namespace neuralinv::test;
    for (const neuralinv::Kernels* kernels : instruction_sets()) {
        test_general<float>(*kernels, false);
        test_general<double>(*kernels, false);
    }
    return report("general systems");
}
