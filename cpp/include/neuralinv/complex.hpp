// Complex numbers as they lie in memory: real and imaginary part side by side, as in std::complex, NumPy and torch.
#pragma once

namespace neuralinv {

template <class T>
struct Complex {
    T re, im;
};

// The real type behind a scalar.
template <class S>
struct RealType {
    using type = S;
};

template <class T>
struct RealType<Complex<T>> {
    using type = T;
};

template <class S>
using RealOf = typename RealType<S>::type;

// Real numbers in a scalar: one or two.
template <class S>
inline constexpr int part_count = int(sizeof(S) / sizeof(RealOf<S>));

}  // namespace neuralinv
