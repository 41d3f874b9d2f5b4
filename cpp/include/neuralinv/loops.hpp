// Loops whose bounds are known to the compiler (unrolled, so that arrays become registers) or at run time only.
//
// An algorithm written with them is written once: with n = Fixed<3>{} every index is a constant, with an int n the same
// text runs as ordinary loops over an array in memory.
#pragma once

#include <utility>

#include "simd.hpp"

namespace neuralinv::NEURALINV_TARGET {

template <int i>
struct Fixed {
    static constexpr int value = i;
    constexpr NEURALINV_INLINE operator int() const { return i; }
};

template <int a, int b>
constexpr NEURALINV_INLINE Fixed<a + b> operator+(Fixed<a>, Fixed<b>) {
    return {};
}

template <int a, int b>
constexpr NEURALINV_INLINE Fixed<a - b> operator-(Fixed<a>, Fixed<b>) {
    return {};
}

template <int a, int b>
constexpr NEURALINV_INLINE Fixed<a * b> operator*(Fixed<a>, Fixed<b>) {
    return {};
}

template <int a, int b>
constexpr NEURALINV_INLINE Fixed<a / b> operator/(Fixed<a>, Fixed<b>) {
    return {};
}

template <class N>
inline constexpr bool is_fixed = false;

template <int i>
inline constexpr bool is_fixed<Fixed<i>> = true;

// The number that N stands for, or `otherwise` where it is not known.
template <int otherwise, class N>
inline constexpr int fixed_or = otherwise;

template <int otherwise, int i>
inline constexpr int fixed_or<otherwise, Fixed<i>> = i;

// run(Fixed<n>{}) for n = first..largest, else run(n).
template <int largest, int first = 1, class Run>
NEURALINV_INLINE auto with_size(std::int64_t n, const Run& run) {
    if constexpr (first > largest) {
        return run(int(n));
    } else {
        if (n == first) return run(Fixed<first>{});
        return with_size<largest, first + 1>(n, run);
    }
}

// Machines that lack AVX2 are few and slow: they share the kernels of run-time size, which saves half a minute of every build.
#ifdef NEURALINV_FEW_UNROLLED
inline constexpr bool unrolls_factors = false;
#else
inline constexpr bool unrolls_factors = true;
#endif

inline constexpr Fixed<0> zero{};
inline constexpr Fixed<1> one{};

// One function for a whole loop, not a chain of them: less work for the compiler.
template <int first, int step, int... i, class F>
NEURALINV_INLINE void unroll(std::integer_sequence<int, i...>, const F& body) {
    (body(Fixed<first + step * i>{}), ...);
}

// body(i) for i = begin..end-1.
template <int begin, int end, class F>
NEURALINV_INLINE void loop(Fixed<begin>, Fixed<end>, [[maybe_unused]] const F& body) {
    if constexpr (begin < end) unroll<begin, 1>(std::make_integer_sequence<int, end - begin>{}, body);
}

template <class F>
NEURALINV_INLINE void loop(int begin, int end, const F& body) {
    for (int i = begin; i < end; ++i) body(i);
}

// body(i) for i = end-1..begin.
template <int begin, int end, class F>
NEURALINV_INLINE void loop_down(Fixed<begin>, Fixed<end>, [[maybe_unused]] const F& body) {
    if constexpr (begin < end) unroll<end - 1, -1>(std::make_integer_sequence<int, end - begin>{}, body);
}

template <class F>
NEURALINV_INLINE void loop_down(int begin, int end, const F& body) {
    for (int i = end - 1; i >= begin; --i) body(i);
}

// body(i, width) for blocks [i, i + width) of begin..end-1: as many of `size` as there are, then single ones. The width
// is always known to the compiler.
template <int size, class Begin, class End, class F>
NEURALINV_INLINE void loop_blocks(Begin begin, End end, const F& body) {
    if constexpr (size == 1) {
        loop(begin, end, [&](auto i) NEURALINV_LAMBDA { body(i, one); });
    } else {
        int i = begin;
        for (; i + size <= end; i += size) body(i, Fixed<size>{});
        for (; i < end; ++i) body(i, one);
    }
}

// The same from the end.
template <int size, class Begin, class End, class F>
NEURALINV_INLINE void loop_blocks_down(Begin begin, End end, const F& body) {
    if constexpr (size == 1) {
        loop_down(begin, end, [&](auto i) NEURALINV_LAMBDA { body(i, one); });
    } else {
        int i = end;
        for (; i - size >= begin; i -= size) body(i - size, Fixed<size>{});
        for (; i > begin; --i) body(i - 1, one);
    }
}

}  // namespace neuralinv::NEURALINV_TARGET
