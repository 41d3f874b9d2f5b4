// error_bounds.hpp with rows in vectors, a few matrices at a time: alone, each would wait for the roots in its bound.
#pragma once

#include "dispatch.hpp"
#include "error_bounds.hpp"
#include "widen.hpp"

namespace neuralinv::NEURALINV_TARGET {

// The least multiple of lanes<double> that is not below n.
constexpr int whole_vectors(int n) { return (n + lanes<double> - 1) / lanes<double> * lanes<double>; }

// One 1 in the middle of zeros.
struct IdentityRow {
    static constexpr int middle = largest_certified;
    double entries[2 * largest_certified + lanes<double>] = {};
    constexpr IdentityRow() { entries[middle] = 1; }
};

// Entries column.. of row `row` of the identity. By loading: a lane written by number would go through memory, and wait there.
NEURALINV_INLINE Vector<double> identity_part(int row, int column) {
    static constexpr IdentityRow unit;
    const double* from = unit.entries + IdentityRow::middle + column - row;
    __asm__("" : "+r"(from));  // of entries that it knows, GCC 12 makes zeros
    return load_vector(from);
}

// Rows i..i+rows-1, columns j..j+vectors·lanes-1 of C ± L M, where C is the identity or, if given, the matrix `start`; their
// squares are added. L: (n, n) by l_pitch; M, start and target: (n, pitch) padded with zeros. fixed_n: n and l_pitch, or 0 where they are not known.
template <int sign, int fixed_n, int rows, int vectors>
NEURALINV_INLINE void multiply_block(const double* L, int l_pitch, const double* M, const double* start, int n, int pitch, int i,
                                     int j, double* target, SumOfSquares& squares) {
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
        squares.add(e, c[e]);
        store_vector(c[e], target + (i + e / vectors) * pitch + j + e % vectors * wide);
    });
}

template <int sign, int fixed_n, int rows>
NEURALINV_INLINE void multiply_rows(const double* L, int l_pitch, const double* M, const double* start, int n, int pitch, int i,
                                    double* target, SumOfSquares& squares) {
    constexpr int wide = lanes<double>;
    int j = 0;
    for (; j + 2 * wide <= pitch; j += 2 * wide)
        multiply_block<sign, fixed_n, rows, 2>(L, l_pitch, M, start, n, pitch, i, j, target, squares);
    if (j < pitch) multiply_block<sign, fixed_n, rows, 1>(L, l_pitch, M, start, n, pitch, i, j, target, squares);
}

// Rows at once.
template <int fixed_n>
inline constexpr int rows_together = NEURALINV_VECTOR_BYTES == 64 && fixed_n > 8 && fixed_n <= 16 ? (fixed_n + 1) / 2 : 4;

// The same of all rows. Returns the sums of their squares.
template <int sign, int fixed_n = 0>
__attribute__((noinline)) Vector<double> multiply(const double* L, int any_l_pitch, const double* M, const double* start, int any_n,
                                        double* target) {
    constexpr int rows = rows_together<fixed_n>;
    const int n = fixed_n > 0 ? fixed_n : any_n, l_pitch = fixed_n > 0 ? fixed_n : any_l_pitch, pitch = whole_vectors(n);
    SumOfSquares squares;
    int i = 0;
    for (; i + rows <= n; i += rows) {
        multiply_rows<sign, fixed_n, rows>(L, l_pitch, M, start, n, pitch, i, target, squares);
        // The compiler would keep what it loaded of M for the next rows: more than the registers hold.
        __asm__ volatile("" : : : "memory");
    }
    if constexpr (fixed_n > 0) {
        if constexpr (fixed_n % rows > 0)
            multiply_rows<sign, fixed_n, fixed_n % rows>(L, l_pitch, M, start, n, pitch, i, target, squares);
    } else {
        for (; i < n; ++i) multiply_rows<sign, 0, 1>(L, l_pitch, M, start, n, pitch, i, target, squares);
    }
    return squares.total();
}

// X: (n, n) by `pitch`, padded with zeros, as doubles. Returns the sums of their squares.
template <int fixed_n, class T>
NEURALINV_INLINE Vector<double> widen_rows(const T* x, int any_n, int pitch, double* wide) {
    const int n = fixed_n > 0 ? fixed_n : any_n;
    SumOfSquares squares;
    const auto widen_row = [&](int k, int first) NEURALINV_LAMBDA { widen_entries(x + k * n, n, wide + k * pitch, squares, first); };
    if constexpr (fixed_n > 0)
        static_for<0, fixed_n>([&](auto k) NEURALINV_LAMBDA { widen_row(decltype(k)::value, 2 * decltype(k)::value); });
    else
        for (int k = 0; k < n; ++k) widen_row(k, 0);
    return squares.total();
}

// x, with its residual before: corrected. Returns the bound. wide: x as doubles; R and memory: (n, pitch).
__attribute__((noinline)) inline double correct_one(const double* wide, const double* R, int n, int pitch,
                                                    const Residual<double>& before, double* memory, float* x) {
    const double size = sum_lanes(multiply<1>(wide, pitch, R, wide, n, memory));
    SumOfSquares lost;
    for (int i = 0; i < n; ++i) {
        const double* row = memory + i * pitch;
        const int done = lost.add_each(n, [&](int j) NEURALINV_LAMBDA { return store_rounded(load_vector(row + j), lanes<double>, x + i * n + j); });
        if (done < n) lost.add(1, store_rounded(load_vector(row + done), n - done, x + i * n + done));
    }
    return bound_corrected(n, before, sum_lanes(lost.total()), size);
}

// Sizes that the compiler knows take half the time.
inline constexpr int smallest_fixed = 4, largest_fixed = 16;

// Matrices that are bounded together: of larger ones, what there is to keep would leave the first-level cache.
template <int fixed_n>
inline constexpr int together = fixed_n == 0 ? 1 : fixed_n <= 8 || lanes<double> < 4 ? lanes<double> : 4;

// Doubles that certify_several works with.
template <int fixed_n>
constexpr int certificate_room(int n) {
    return n * (2 * (together<fixed_n> + 1)) * whole_vectors(n);
}

// Sums of squares, a row of partial ones for each matrix.
struct PartialSums {
    alignas(NEURALINV_VECTOR_BYTES) double of[lanes<double> * lanes<double>];

    NEURALINV_INLINE void set(int matrix, Vector<double> sums) { store_vector(sums, of + matrix * lanes<double>); }

    // A sum in each lane.
    NEURALINV_INLINE Vector<double> total() const {
        Vector<double> sum{};
        for (int at = 0; at < lanes<double>; at += piece<double>) {
            Vector<double> part[piece<double>];
            load_chunk<double>(of + at, lanes<double>, part);
            static_for<0, piece<double>>([&](auto p) NEURALINV_LAMBDA { sum += part[decltype(p)::value]; });
        }
        return sum;
    }
};

// Bounds of the matrices which: (count ≤ together) of A and X: (…, n, n), which are corrected first where they miss the tolerance
// and that can help. fixed_n: n, or 0 where that is not known. memory: (certificate_room).
template <int fixed_n, class T>
__attribute__((noinline)) void certify_several(const T* A, T* X, int any_n, const std::int64_t* which, int count, double tolerance,
                                               double* bounds, double* memory) {
    const int n = fixed_n > 0 ? fixed_n : any_n, pitch = whole_vectors(n), entries = n * n;
    const std::int64_t room = std::int64_t(n) * pitch;
    double* const left = memory + 2 * room * together<fixed_n>;
    PartialSums residual, size, inverse_size;
    for (int m = 0; m < lanes<double>; ++m) {
        if (m >= count) {  // what is in the other lanes does no harm
            residual.set(m, Vector<double>{}), size.set(m, Vector<double>{}), inverse_size.set(m, Vector<double>{});
            continue;
        }
        double *wide = memory + 2 * room * m, *R = wide + room;
        inverse_size.set(m, widen_rows<fixed_n>(X + which[m] * entries, n, pitch, wide));
        SumOfSquares squares;
        widen_entries(A + which[m] * entries, entries, left, squares);
        size.set(m, squares.total());
        residual.set(m, multiply<-1, fixed_n>(left, n, wide, nullptr, n, R));
    }
    const auto found = bound_residual(n, residual.total(), size.total(), inverse_size.total(), double(Traits<T>::smallest_normal));
    double rho[lanes<double>], delta[lanes<double>];
    store_vector(found.rho, rho);
    store_vector(found.delta, delta);
    for (int m = 0; m < count; ++m) {
        double bound = rho[m];
        if constexpr (sizeof(T) == 4)
            if (bound > tolerance && bound < 1) {
                const double *wide = memory + 2 * room * m, *R = wide + room;
                bound = correct_one(wide, R, n, pitch, {rho[m], delta[m]}, left + room, X + which[m] * entries);
            }
        bounds[which[m]] = bound;
    }
}

// Matrices of A and X that wait for certify_several, each until there are enough of them. met: whether all bounds so far are at
// most the tolerance.
template <int fixed_n, class T>
struct Waiting {
    const T* A;
    T* X;
    int n;
    double tolerance;
    double *bounds, *memory;  // memory: (certificate_room)
    std::int64_t which[together<fixed_n>];
    int count = 0;
    bool met = true;

    NEURALINV_INLINE void add(std::int64_t b) {
        which[count++] = b;
        if (count == together<fixed_n>) settle();
    }

    NEURALINV_INLINE void settle() {
        if (count > 0) certify_several<fixed_n>(A, X, n, which, count, tolerance, bounds, memory);
        for (int m = 0; m < count; ++m) met = met && bounds[which[m]] <= tolerance;
        count = 0;
    }
};

}  // namespace neuralinv::NEURALINV_TARGET
