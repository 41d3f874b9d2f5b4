// Sums of products in twice the precision of doubles: Dot2 of Ogita, Rump & Oishi (Accurate sum and dot product, SIAM J. Sci.
// Comput. 26, 2005). By proposition 5.5 there, one of n terms is off by at most u |s| + γ_n² Σ |x| |y|, underflow aside.
#pragma once

#include "simd.hpp"

namespace neuralinv::NEURALINV_TARGET {

// x y − p, exact for p = fl(x y) unless it underflows.
NEURALINV_INLINE Vector<double> product_error(Vector<double> x, Vector<double> y, Vector<double> p) {
#if NEURALINV_VECTOR_BYTES == 64
    return Vector<double>(_mm512_fmsub_pd(x, y, p));
#elif NEURALINV_VECTOR_BYTES == 32
    return Vector<double>(_mm256_fmsub_pd(x, y, p));
#else
    Vector<double> error{};
    for (int lane = 0; lane < lanes<double>; ++lane) error[lane] = __builtin_fma(x[lane], y[lane], -p[lane]);
    return error;
#endif
}

// A sum in each lane.
struct DoubledSum {
    Vector<double> sum, lost{};

    NEURALINV_INLINE void add_product(Vector<double> x, Vector<double> y) {
        const Vector<double> product = rounded(x * y), next = sum + product, part = next - sum;
        lost += ((sum - (next - part)) + (product - part)) + product_error(x, y, product);
        sum = next;
    }

    NEURALINV_INLINE Vector<double> value() const { return sum + lost; }
};

}  // namespace neuralinv::NEURALINV_TARGET
