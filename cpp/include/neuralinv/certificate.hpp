// The proof that comes with an inverse: for every matrix of a batch a bound of ‖A⁻¹ − X‖_F / ‖A⁻¹‖_F.
//
// The residual R̂ = fl(I − A X) is computed in double precision, where products of two floats are exact. With the unit
// roundoff u and γ_k = k u / (1 − k u), whatever the order of summation (Higham, Accuracy and Stability of Numerical
// Algorithms, 2nd ed., §3.5 and ch. 14),
//
//     ‖I − A X‖_F ≤ ρ = ‖R̂‖_F + δ,    δ = γ_{n+2} (‖A‖_F ‖X‖_F + √n) + n t ‖X‖_F,
//
// rounded up, and if ρ < 1, A is nonsingular and ‖A⁻¹ − X‖_F ≤ ρ ‖A⁻¹‖_F. t is the smallest normal number: where a thread
// reads denormals as zero, entries of A are off by that much. Norms beyond `huge` or below its reciprocal, where products
// might over- or underflow, give ∞, which proves nothing; so does what is not a number.
//
// Where a float X misses the tolerance, W = fl(X + X R̂), in double precision, takes its place, rounded. With E for the
// rounding of that step, I − A W = (R − R̂) + R R̂ − A E, so that ρ₁ = δ + ρ² + δ (1 + ρ) bounds it, and the float X' made of
// W is off by at most ρ₁ + (1 + ρ₁) ‖X' − W‖_F / ‖W‖_F.
//
// A and X lie without gaps, row by row: what an inverse was made of and what was made, still in the cache.
#pragma once

#include "dispatch.hpp"
#include "tiles.hpp"

namespace neuralinv::NEURALINV_TARGET {

inline constexpr double unit_roundoff = 0x1p-53;
inline constexpr double huge = 1e140;

// ρ and δ, both rounded up; ρ = ∞ where nothing is proved.
struct Residual {
    double rho;
    double delta;
};

inline double round_up(double value, int n) {
    // Sums of n² squares are off by at most γ_{n²+2}, the operations around them by a few u more.
    return value * (1 + 2 * (double(n) * n + 64) * unit_roundoff);
}

// From the squares of the norms of R̂, A and X. tiny: t.
inline Residual bound_residual(int n, double residual, double size, double inverse_size, double tiny) {
    const double k = double(n + 2) * unit_roundoff, gamma = k / (1 - k);
    const double norm = __builtin_sqrt(size), inverse_norm = __builtin_sqrt(inverse_size);
    const bool in_range = norm <= huge && inverse_norm <= huge && norm >= 1 / huge && inverse_norm >= 1 / huge;
    const double delta =
        round_up(gamma * (norm * inverse_norm + __builtin_sqrt(double(n))) + n * tiny * inverse_norm, n);
    const double rho = round_up(__builtin_sqrt(residual) + delta, n);
    return {in_range && rho < 1 ? rho : __builtin_inf(), delta};
}

// Of X' from the squares of ‖X' − W‖_F and ‖W‖_F, where W was made with the residual given.
inline double bound_corrected(int n, Residual before, double distance, double size) {
    const double rho = round_up(before.delta + before.rho * before.rho + before.delta * (1 + before.rho), n);
    const double bound = round_up(rho + (1 + rho) * (__builtin_sqrt(distance) / __builtin_sqrt(size)), n);
    return rho < 1 && bound < __builtin_inf() ? bound : __builtin_inf();
}

// ---- n up to 8: a matrix in each lane ------------------------------------------------------------------------------

// Lanes half·lanes<double> and those that follow, as doubles.
template <int half>
NEURALINV_INLINE Vector<double> widen(Vector<float> x) {
    typedef float Half __attribute__((vector_size(NEURALINV_VECTOR_BYTES / 2)));
    Half part;
    __builtin_memcpy(&part, reinterpret_cast<const char*>(&x) + half * sizeof(part), sizeof(part));
    return __builtin_convertvector(part, Vector<double>);
}

template <int half>
NEURALINV_INLINE Vector<double> widen(Vector<double> x) {
    return x;
}

// One half of the lanes. x: (n, n), corrected where that is needed; bounds: (lanes<double>). Returns whether x changed.
template <class T, int half, int fixed_n>
NEURALINV_INLINE bool certify_lanes(const Vector<T>* a, Vector<T>* x, double tolerance, double* bounds) {
    constexpr int n = fixed_n;
    Vector<double> wide[n * n], r[n * n], residual{}, size{}, inverse_size{};
    for (int e = 0; e < n * n; ++e) {
        wide[e] = widen<half>(x[e]);
        inverse_size += wide[e] * wide[e];
    }
    for (int i = 0; i < n; ++i) {
        Vector<double> row[n];
        for (int k = 0; k < n; ++k) {
            row[k] = widen<half>(a[i * n + k]);
            size += row[k] * row[k];
        }
        for (int j = 0; j < n; ++j) {
            Vector<double> sum = broadcast<double>(i == j);
            for (int k = 0; k < n; ++k) sum = sum - row[k] * wide[k * n + j];
            r[i * n + j] = sum;
            residual += sum * sum;
        }
    }
    Residual before[lanes<double>];
    bool good = true;
    for (int lane = 0; lane < lanes<double>; ++lane) {
        before[lane] = bound_residual(n, residual[lane], size[lane], inverse_size[lane], Traits<T>::smallest_normal);
        bounds[lane] = before[lane].rho;
        good &= bounds[lane] <= tolerance;
    }
    if constexpr (sizeof(T) == 4) {
        if (good) return false;
        Vector<double> distance{}, norm{};
        for (int i = 0; i < n; ++i) {
            for (int j = 0; j < n; ++j) {
                Vector<double> w = wide[i * n + j];
                for (int k = 0; k < n; ++k) w = w + wide[i * n + k] * r[k * n + j];
                typedef float Half __attribute__((vector_size(NEURALINV_VECTOR_BYTES / 2)));
                const Half rounded = __builtin_convertvector(w, Half);
                const Vector<double> lost = __builtin_convertvector(rounded, Vector<double>) - w;
                distance += lost * lost;
                norm += w * w;
                __builtin_memcpy(reinterpret_cast<char*>(&x[i * n + j]) + half * sizeof(rounded), &rounded, sizeof(rounded));
            }
        }
        for (int lane = 0; lane < lanes<double>; ++lane)
            bounds[lane] = bound_corrected(n, before[lane], distance[lane], norm[lane]);
        return true;
    }
    return false;
}

template <class T, int n>
inline std::int64_t certify_tiles(const T* A, T* X, std::int64_t begin, std::int64_t end, double tolerance, double* bounds) {
    constexpr std::int64_t entries = n * n;
    Vector<T> a[entries], x[entries];
    std::int64_t b = begin;
    for (; b + lanes<T> <= end; b += lanes<T>) {
        load_tile<T>(A + b * entries, entries, n, a);
        load_tile<T>(X + b * entries, entries, n, x);
        bool changed = certify_lanes<T, 0, n>(a, x, tolerance, bounds + b);
        if constexpr (sizeof(T) == 4) changed |= certify_lanes<T, 1, n>(a, x, tolerance, bounds + b + lanes<double>);
        if (changed) store_tile<T>(x, n, X + b * entries, entries);
    }
    return b;
}

// ---- beyond: rows in vectors ---------------------------------------------------------------------------------------

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
    const Residual before = bound_residual(n, sum_of_squares(r, n * pitch), size, sum_of_squares(wide, n * pitch),
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

// Bounds of matrices [begin, end): A and X (count, n, n), bounds (count); 1 ≤ n ≤ largest_certified. What misses the
// tolerance is corrected first where that can help.
template <class T>
void certify(const T* A, T* X, int n, std::int64_t begin, std::int64_t end, double tolerance, double* bounds) {
    const std::int64_t entries = std::int64_t(n) * n;
    std::int64_t b = begin;
    switch (n) {
        case 2: b = certify_tiles<T, 2>(A, X, b, end, tolerance, bounds); break;
        case 3: b = certify_tiles<T, 3>(A, X, b, end, tolerance, bounds); break;
        case 4: b = certify_tiles<T, 4>(A, X, b, end, tolerance, bounds); break;
        case 5: b = certify_tiles<T, 5>(A, X, b, end, tolerance, bounds); break;
        case 6: b = certify_tiles<T, 6>(A, X, b, end, tolerance, bounds); break;
        case 7: b = certify_tiles<T, 7>(A, X, b, end, tolerance, bounds); break;
        case 8: b = certify_tiles<T, 8>(A, X, b, end, tolerance, bounds); break;
        default: break;
    }
    alignas(64) double memory[3 * largest_certified * largest_certified];
    for (; b < end; ++b) bounds[b] = certify_one(A + b * entries, X + b * entries, n, tolerance, memory);
}

}  // namespace neuralinv::NEURALINV_TARGET
