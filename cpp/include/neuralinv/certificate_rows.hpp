// error_bounds.hpp one matrix at a time, rows in vectors.
#pragma once

#include "error_bounds.hpp"

namespace neuralinv::NEURALINV_TARGET {

// Rows i..i+rows-1 of C + sign · L M, where C is the identity or, if given, the matrix `start`. L: (n, n) by `pitch`, M and
// target: (n, pitch) padded with zeros.
template <int rows, class T>
NEURALINV_INLINE void multiply_rows(const T* L, int l_pitch, const double* M, const double* start, double sign, int n, int pitch,
                                    int i, double* target) {
    for (int j = 0; j < pitch; j += lanes<double>) {
        Vector<double> c[rows] = {};
        static_for<0, rows>([&](auto p_) NEURALINV_LAMBDA {
            constexpr int p = decltype(p_)::value;
            if (start)
                c[p] = *reinterpret_cast<const Vector<double>*>(start + (i + p) * pitch + j);
            else if (i + p >= j && i + p < j + lanes<double>)
                c[p][i + p - j] = 1;
        });
        for (int k = 0; k < n; ++k) {
            const Vector<double> m = *reinterpret_cast<const Vector<double>*>(M + k * pitch + j);
            static_for<0, rows>([&](auto p_) NEURALINV_LAMBDA {
                constexpr int p = decltype(p_)::value;
                c[p] = c[p] + broadcast<double>(sign * double(L[(i + p) * l_pitch + k])) * m;
            });
        }
        static_for<0, rows>([&](auto p_) NEURALINV_LAMBDA {
            constexpr int p = decltype(p_)::value;
            *reinterpret_cast<Vector<double>*>(target + (i + p) * pitch + j) = c[p];
        });
    }
}

template <class T>
inline void multiply(const T* L, int l_pitch, const double* M, const double* start, double sign, int n, int pitch,
                     double* target) {
    int i = 0;
    for (; i + 4 <= n; i += 4) multiply_rows<4>(L, l_pitch, M, start, sign, n, pitch, i, target);
    for (; i < n; ++i) multiply_rows<1>(L, l_pitch, M, start, sign, n, pitch, i, target);
}

// Σ x², of doubles in whole vectors.
NEURALINV_INLINE double sum_of_squares(const double* x, int count) {
    Vector<double> sum{};
    for (int e = 0; e < count; e += lanes<double>) {
        const Vector<double> v = *reinterpret_cast<const Vector<double>*>(x + e);
        sum += v * v;
    }
    double total = 0;
    for (int lane = 0; lane < lanes<double>; ++lane) total += sum[lane];
    return total;
}

// memory: (3, n, pitch) doubles.
template <class T>
inline double certify_one(const T* a, T* x, int n, double tolerance, double* memory) {
    const int pitch = (n + lanes<double> - 1) / lanes<double> * lanes<double>;
    double *wide = memory, *r = wide + n * pitch, *w = r + n * pitch;
    double size = 0;
    for (int k = 0; k < n; ++k) {
        for (int j = 0; j < n; ++j) wide[k * pitch + j] = double(x[k * n + j]);
        for (int j = n; j < pitch; ++j) wide[k * pitch + j] = 0;
    }
    for (int e = 0; e < n * n; ++e) size += double(a[e]) * double(a[e]);
    multiply(a, n, wide, nullptr, -1, n, pitch, r);
    const auto before = bound_residual(n, sum_of_squares(r, n * pitch), size, sum_of_squares(wide, n * pitch),
                                           Traits<T>::smallest_normal);
    if (sizeof(T) == 8 || before.rho <= tolerance || !(before.rho < 1)) return before.rho;
    multiply(wide, pitch, r, wide, 1, n, pitch, w);
    double distance = 0;
    for (int i = 0; i < n; ++i)
        for (int j = 0; j < n; ++j) {
            const double value = w[i * pitch + j];
            x[i * n + j] = T(value);
            const double lost = double(x[i * n + j]) - value;
            distance += lost * lost;
        }
    return bound_corrected(n, before, distance, sum_of_squares(w, n * pitch));
}

}  // namespace neuralinv::NEURALINV_TARGET
