// Σ x² in doubles.
#pragma once

#include "simd.hpp"

namespace neuralinv::NEURALINV_TARGET {

NEURALINV_INLINE double sum_lanes(Vector<double> x) {
#if NEURALINV_VECTOR_BYTES == 64
    x += __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3);
    x += __builtin_shufflevector(x, x, 2, 3, 0, 1, 6, 7, 4, 5);
#elif NEURALINV_VECTOR_BYTES == 32
    x += __builtin_shufflevector(x, x, 2, 3, 0, 1);
#endif
    return x[0] + x[1];
}

// In each lane, in several sums: one would wait for itself.
struct SumOfSquares {
    Vector<double> part[4] = {};

    // e: known to the compiler, or the sums would lie in memory.
    NEURALINV_INLINE void add(int e, Vector<double> x) { part[e % 4] += x * x; }
    NEURALINV_INLINE Vector<double> total() const { return (part[0] + part[1]) + (part[2] + part[3]); }

    // Adds value(e) for e = 0, lanes<double>, … as long as a vector fits below `count`. Returns the first e that does not.
    // first: known to the compiler, another one for what follows at once.
    template <class Value>
    NEURALINV_INLINE int add_each(int count, const Value& value, int first = 0) {
        constexpr int wide = lanes<double>;
        int e = 0;
        for (; e + 4 * wide <= count; e += 4 * wide)
            static_for<0, 4>([&](auto q) NEURALINV_LAMBDA { add(decltype(q)::value, value(e + decltype(q)::value * wide)); });
        for (; e + 2 * wide <= count; e += 2 * wide) {
            add(first, value(e));
            add(first + 1, value(e + wide));
        }
        if (e + wide <= count) {
            add(first, value(e));
            e += wide;
        }
        return e;
    }
};

// Of `count` numbers in memory, a multiple of lanes<double>.
NEURALINV_INLINE double sum_of_squares(const double* x, int count) {
    SumOfSquares squares;
    squares.add_each(count, [&](int e) NEURALINV_LAMBDA { return load_vector(x + e); });
    return sum_lanes(squares.total());
}

}  // namespace neuralinv::NEURALINV_TARGET
