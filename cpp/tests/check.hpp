// What the C++ tests share: a check that counts failures, random matrices, and a slow oracle in long double.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <random>
#include <stdexcept>
#include <vector>

#include "neuralinv/dispatch.hpp"

namespace neuralinv::test {

inline int failures = 0;

#define CHECK(condition, ...)                                                  \
    do {                                                                       \
        if (!(condition)) {                                                    \
            ++::neuralinv::test::failures;                                     \
            std::printf("%s:%d: %s is false: ", __FILE__, __LINE__, #condition); \
            std::printf(__VA_ARGS__);                                          \
            std::printf("\n");                                                 \
        }                                                                      \
    } while (0)

// `count` matrices n×n of uniform entries in [−1, 1], row by row.
template <class T>
std::vector<T> uniform(std::int64_t count, int n, unsigned seed) {
    std::mt19937 engine(seed);
    std::uniform_real_distribution<double> entry(-1.0, 1.0);
    std::vector<T> A(std::size_t(count) * std::size_t(n * n));
    for (T& a : A) a = T(entry(engine));
    return A;
}

// Solve A X = B by elimination with partial pivoting. A: (n, n), B: (n, k), both row by row.
template <class T>
std::vector<long double> solve(const T* A, int n, const long double* B, int k) {
    std::vector<long double> a(A, A + n * n), x(B, B + n * k);
    for (int p = 0; p < n; ++p) {
        int best = p;
        for (int i = p + 1; i < n; ++i)
            if (std::fabs(a[i * n + p]) > std::fabs(a[best * n + p])) best = i;
        for (int j = 0; j < n; ++j) std::swap(a[p * n + j], a[best * n + j]);
        for (int j = 0; j < k; ++j) std::swap(x[p * k + j], x[best * k + j]);
        for (int i = 0; i < n; ++i) {
            if (i == p) continue;
            const long double l = a[i * n + p] / a[p * n + p];
            for (int j = p; j < n; ++j) a[i * n + j] -= l * a[p * n + j];
            for (int j = 0; j < k; ++j) x[i * k + j] -= l * x[p * k + j];
        }
    }
    for (int p = 0; p < n; ++p)
        for (int j = 0; j < k; ++j) x[p * k + j] /= a[p * n + p];
    return x;
}

template <class T>
std::vector<long double> inverse(const T* A, int n) {
    std::vector<long double> identity(std::size_t(n * n), 0.0L);
    for (int i = 0; i < n; ++i) identity[i * n + i] = 1;
    return solve(A, n, identity.data(), n);
}

template <class T>
long double norm(const T* A, std::size_t entries) {
    long double sum = 0;
    for (std::size_t e = 0; e < entries; ++e) sum += static_cast<long double>(A[e]) * A[e];
    return std::sqrt(sum);
}

// For the start of main(): whether the instruction set that NEURALINV_ISA names is there; 77 tells CTest that it is not.
inline bool has_instruction_set() {
    try {
        std::printf("%s\n", instruction_set().c_str());
        return true;
    } catch (const std::runtime_error& error) {
        std::printf("%s\n", error.what());
        return false;
    }
}

inline int report(const char* name) {
    std::printf("%s: %d failures\n", name, failures);
    return failures == 0 ? 0 : 1;
}

}  // namespace neuralinv::test
