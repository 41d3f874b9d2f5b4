// error_bounds.hpp for the few matrices whose bound misses the tolerance: residuals in twice the precision of doubles.
//
// X approximates A⁻¹ in doubles. Every entry of R = I − A X is a sum of n + 1 terms, accumulated by doubled.hpp, so that
//
//     ‖R̂ − R‖_F ≤ δ = u ‖R‖_F + γ_{n+1}² (‖A‖_F ‖X‖_F + √n) + n t ‖X‖_F,    ρ = ‖R̂‖_F + δ ≥ ‖R‖_F.
//
// W = X + X R̂ leaves I − A W = (R − R̂) + R R̂, whose norm ρ₁ = δ + ρ ‖R̂‖_F bounds. W is not formed: what is returned is
// V = fl(X + fl(X R̂)), rounded to T, which is off from W by at most
//
//     d = ‖T(V) − V‖_F + u ‖V‖_F + γ_n ‖X‖_F ‖R̂‖_F,
//
// and from A⁻¹, relative to ‖A⁻¹‖_F, by ρ₁ + (1 + ρ₁) d / (‖V‖_F − d).
#pragma once

#include "certificate_rows.hpp"
#include "doubled.hpp"

namespace neuralinv::NEURALINV_TARGET {

// R̂ = I − A X. A: (n, n); X and R: (n, pitch), padded with zeros.
inline void doubled_residual(const double* A, const double* X, int n, int pitch, double* R) {
    for (int i = 0; i < n; ++i)
        for (int j = 0; j < pitch; j += lanes<double>) {
            Vector<double> identity{};
            if (j <= i && i < j + lanes<double>) identity[i - j] = 1;
            DoubledSum sum{identity};
            for (int k = 0; k < n; ++k)
                sum.add_product(broadcast<double>(-A[i * n + k]), *reinterpret_cast<const Vector<double>*>(X + k * pitch + j));
            *reinterpret_cast<Vector<double>*>(R + i * pitch + j) = sum.value();
        }
}

// Corrects X: (n, pitch) once, into target: (n, n). Returns the bound; where it is infinite, target is left alone.
// A: (n, n); memory: (2, n, pitch).
template <class T>
inline double certify_doubled(const double* A, const double* X, int n, int pitch, T* target, double* memory) {
    double *R = memory, *V = memory + n * pitch, size = 0;
    for (int e = 0; e < n * n; ++e) size += A[e] * A[e];
    doubled_residual(A, X, n, pitch, R);
    const double inverse_size = sum_of_squares(X, n * pitch), residual = __builtin_sqrt(sum_of_squares(R, n * pitch));
    const double norm = __builtin_sqrt(size), inverse_norm = __builtin_sqrt(inverse_size);
    const double k = double(n + 1) * unit_roundoff, gamma = k / (1 - k);
    const double delta = round_up(unit_roundoff * residual + gamma * gamma * (norm * inverse_norm + __builtin_sqrt(double(n))) +
                                      n * double(Traits<T>::smallest_normal) * inverse_norm, n);
    const double rho = round_up(residual + delta, n);
    if (!(rho < 1 && norm <= huge && inverse_norm <= huge && norm >= 1 / huge && inverse_norm >= 1 / huge)) return __builtin_inf();
    // The sum X R̂ first: added to X term by term, it would be rounded n times.
    for (int e = 0; e < n * pitch; ++e) V[e] = 0;
    multiply<1>(X, pitch, R, V, n, V);
    for (int e = 0; e < n * pitch; ++e) V[e] += X[e];
    double lost = 0;
    for (int i = 0; i < n; ++i)
        for (int j = 0; j < n; ++j) {
            const double difference = double(T(V[i * pitch + j])) - V[i * pitch + j];
            lost += difference * difference;
        }
    const double found = __builtin_sqrt(sum_of_squares(V, n * pitch));
    const double distance = round_up(__builtin_sqrt(lost) + unit_roundoff * found + gamma * inverse_norm * residual, n);
    const double after = round_up(delta + rho * residual, n);
    const double bound = round_up(after + (1 + after) * distance / (found - distance), n);
    if (!(after < 1 && distance < found && bound < __builtin_inf())) return __builtin_inf();
    for (int i = 0; i < n; ++i)
        for (int j = 0; j < n; ++j) target[i * n + j] = T(V[i * pitch + j]);
    return bound;
}

}  // namespace neuralinv::NEURALINV_TARGET
