// error_bounds.hpp one matrix at a time, rows in vectors.
#pragma once

#include "error_bounds.hpp"
#include "widen.hpp"

namespace neuralinv::NEURALINV_TARGET {

// The least multiple of lanes<double> that is not below n.
constexpr int whole_vectors(int n) { return (n + lanes<double> - 1) / lanes<double> * lanes<double>; }

struct IdentityRow {
    double entries[2 * lanes<double>] = {};
    constexpr IdentityRow() { entries[lanes<double>] = 1; }
};

// Entries column.. of row `row` of the identity. By loading: a lane written by number would go through memory, and wait there.
NEURALINV_INLINE Vector<double> identity_part(int row, int column) {
    constexpr int wide = lanes<double>;
    static constexpr IdentityRow unit;
    const int lane = row - column;
    return load_vector(unit.entries + wide - (unsigned(lane) < unsigned(wide) ? lane : wide));
}

// Rows i..i+rows-1, columns j..j+vectors·lanes-1 of C ± L M, where C is the identity or, if given, the matrix `start`.
// L: (n, n) by l_pitch; M, start and target: (n, pitch) padded with zeros. fixed_n: n and l_pitch, or 0 where they are not known.
template <int sign, int fixed_n, int rows, int vectors>
NEURALINV_INLINE void multiply_block(const double* L, int l_pitch, const double* M, const double* start, int n, int pitch, int i,
                                     int j, double* target) {
    constexpr int wide = lanes<double>;
    Vector<double> c[rows * vectors];
    static_for<0, rows * vectors>([&](auto e_) NEURALINV_LAMBDA {
        constexpr int e = decltype(e_)::value;
        const int row = i + e / vectors, column = j + e % vectors * wide;
        c[e] = start ? load_vector(start + row * pitch + column) : identity_part(row, column);
    });
    const double *left = L + i * l_pitch, *right = M + j;
    const auto step = [&](int k) NEURALINV_LAMBDA {
        Vector<double> m[vectors];
        static_for<0, vectors>([&](auto v) NEURALINV_LAMBDA {
            m[decltype(v)::value] = load_vector(right + k * pitch + decltype(v)::value * wide);
        });
        static_for<0, rows>([&](auto p_) NEURALINV_LAMBDA {
            constexpr int p = decltype(p_)::value;
            const Vector<double> l = broadcast(left[p * l_pitch + k]);
            static_for<0, vectors>([&](auto v) NEURALINV_LAMBDA {
                constexpr int e = p * vectors + decltype(v)::value;
                c[e] = sign > 0 ? c[e] + l * m[decltype(v)::value] : c[e] - l * m[decltype(v)::value];
            });
        });
    };
    if constexpr (fixed_n > 0)
        static_for<0, fixed_n>([&](auto k) NEURALINV_LAMBDA { step(decltype(k)::value); });
    else
        for (int k = 0; k < n; ++k) step(k);
    static_for<0, rows * vectors>([&](auto e_) NEURALINV_LAMBDA {
        constexpr int e = decltype(e_)::value;
        store_vector(c[e], target + (i + e / vectors) * pitch + j + e % vectors * wide);
    });
}

template <int sign, int fixed_n, int rows>
NEURALINV_INLINE void multiply_rows(const double* L, int l_pitch, const double* M, const double* start, int n, int pitch, int i,
                                    double* target) {
    constexpr int wide = lanes<double>;
    int j = 0;
    for (; j + 2 * wide <= pitch; j += 2 * wide)
        multiply_block<sign, fixed_n, rows, 2>(L, l_pitch, M, start, n, pitch, i, j, target);
    if (j < pitch) multiply_block<sign, fixed_n, rows, 1>(L, l_pitch, M, start, n, pitch, i, j, target);
}

// Rows at once.
template <int fixed_n>
inline constexpr int rows_together = NEURALINV_VECTOR_BYTES == 64 && fixed_n > 8 && fixed_n <= 16 ? (fixed_n + 1) / 2 : 4;

template <int sign, int fixed_n = 0>
__attribute__((noinline)) void multiply(const double* L, int any_l_pitch, const double* M, const double* start, int any_n,
                                        double* target) {
    constexpr int rows = rows_together<fixed_n>;
    const int n = fixed_n > 0 ? fixed_n : any_n, l_pitch = fixed_n > 0 ? fixed_n : any_l_pitch, pitch = whole_vectors(n);
    int i = 0;
    for (; i + rows <= n; i += rows) {
        multiply_rows<sign, fixed_n, rows>(L, l_pitch, M, start, n, pitch, i, target);
        // The compiler would keep what it loaded of M for the next rows: more than the registers hold.
        __asm__ volatile("" : : : "memory");
    }
    if constexpr (fixed_n > 0) {
        if constexpr (fixed_n % rows > 0)
            multiply_rows<sign, fixed_n, fixed_n % rows>(L, l_pitch, M, start, n, pitch, i, target);
    } else {
        for (; i < n; ++i) multiply_rows<sign, 0, 1>(L, l_pitch, M, start, n, pitch, i, target);
    }
}

NEURALINV_INLINE double sum_lanes(Vector<double> x) {
#if NEURALINV_VECTOR_BYTES == 64
    x += __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3);
    x += __builtin_shufflevector(x, x, 2, 3, 0, 1, 6, 7, 4, 5);
#elif NEURALINV_VECTOR_BYTES == 32
    x += __builtin_shufflevector(x, x, 2, 3, 0, 1);
#endif
    return x[0] + x[1];
}

// Σ x².
NEURALINV_INLINE double sum_of_squares(const double* x, int count) {
    constexpr int wide = lanes<double>;
    Vector<double> part[4] = {};  // several: one would wait for itself
    int e = 0;
    for (; e + 4 * wide <= count; e += 4 * wide)
        static_for<0, 4>([&](auto q) NEURALINV_LAMBDA {
            const Vector<double> v = load_vector(x + e + decltype(q)::value * wide);
            part[decltype(q)::value] += v * v;
        });
    for (; e + wide <= count; e += wide) {
        const Vector<double> v = load_vector(x + e);
        part[0] += v * v;
    }
    double total = sum_lanes((part[0] + part[1]) + (part[2] + part[3]));
    for (; e < count; ++e) total += x[e] * x[e];
    return total;
}

// A: (n, n) and X: (n, n) by `pitch`, padded with zeros, as doubles.
template <int fixed_n, class T>
NEURALINV_INLINE void widen_both(const T* a, const T* x, int any_n, int pitch, double* left, double* wide) {
    const int n = fixed_n > 0 ? fixed_n : any_n;
    const auto widen_row = [&](int k) NEURALINV_LAMBDA { widen_entries(x + k * n, n, wide + k * pitch); };
    if constexpr (fixed_n > 0)
        static_for<0, fixed_n>([&](auto k) NEURALINV_LAMBDA { widen_row(decltype(k)::value); });
    else
        for (int k = 0; k < n; ++k) widen_row(k);
    widen_entries(a, n * n, left);
}

// x, with its residual before: corrected. Returns the bound. wide: x as doubles; R and memory: (n, pitch).
template <class T>
__attribute__((noinline)) double correct_one(const double* wide, const double* R, int n, int pitch,
                                             const Residual<double>& before, double* memory, T* x) {
    multiply<1>(wide, pitch, R, wide, n, memory);
    double distance = 0;
    for (int i = 0; i < n; ++i)
        for (int j = 0; j < n; ++j) {
            const double value = memory[i * pitch + j];
            x[i * n + j] = T(value);
            const double lost = double(x[i * n + j]) - value;
            distance += lost * lost;
        }
    return bound_corrected(n, before, distance, sum_of_squares(memory, n * pitch));
}

// memory: (4, n, pitch) doubles. fixed_n: n, or 0 where that is not known.
template <int fixed_n, class T>
__attribute__((noinline)) double certify_one(const T* a, T* x, int any_n, double tolerance, double* memory) {
    const int n = fixed_n > 0 ? fixed_n : any_n, pitch = whole_vectors(n);
    double *wide = memory, *R = wide + n * pitch, *left = R + n * pitch;
    widen_both<fixed_n>(a, x, n, pitch, left, wide);
    multiply<-1, fixed_n>(left, n, wide, nullptr, n, R);
    const auto before = bound_residual(n, sum_of_squares(R, n * pitch), sum_of_squares(left, n * n),
                                       sum_of_squares(wide, n * pitch), Traits<T>::smallest_normal);
    if (sizeof(T) == 8 || before.rho <= tolerance || !(before.rho < 1)) return before.rho;
    return correct_one(wide, R, n, pitch, before, left + n * pitch, x);
}

}  // namespace neuralinv::NEURALINV_TARGET
