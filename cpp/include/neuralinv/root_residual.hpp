// The residual R = I − XAX of approximate inverse square roots X, symmetric as A and X are, and what corrects them:
// neuralinv/learned/root_certificate.py has the mathematics.
//
// One matrix after another, so that all that is made of one stays in the cache: of X(AX) in doubles half is formed, and
// mirrored once it is rounded to T.
#pragma once

#include <cstddef>

#include "mirrored.hpp"
#include "residual.hpp"
#include "roots.hpp"

namespace neuralinv::NEURALINV_TARGET {

static_assert(largest_root <= largest_product);

// Scratch memory of one matrix.
template <class T>
struct RootMemory {
    ProductMemory<double>* wide;
    ProductMemory<T>* narrow;
    double* wide_X;  // panels
    double* P;       // panels: AX
    T* X;            // panels: of doubles, the same as wide_X
    T* R;            // rows
    T* U;            // rows; in the memory of P, which is read no more by then
    std::int64_t bytes;

    // memory: null to learn how much it takes.
    RootMemory(std::byte* memory, std::int64_t n) : bytes(0) {
        const std::int64_t panel = panel_entries(n);
        take_piece(memory, bytes, wide, sizeof *wide);
        take_piece(memory, bytes, narrow, sizeof *narrow);
        take_piece(memory, bytes, wide_X, panel * std::int64_t(sizeof(double)));
        take_piece(memory, bytes, P, panel * std::int64_t(sizeof(double)));
        if constexpr (sizeof(T) == sizeof(double))
            X = wide_X;
        else
            take_piece(memory, bytes, X, panel * std::int64_t(sizeof(T)));
        take_piece(memory, bytes, R, n * n * std::int64_t(sizeof(T)));
        U = reinterpret_cast<T*>(P);
    }
};

template <class T>
std::int64_t root_bytes(std::int64_t n) {
    return RootMemory<T>(nullptr, n).bytes;
}

// X in panels of T, too.
template <class T>
void lay_out(int n, const T* X, T* panels) {
    for (int i = 0; i < n; ++i)
        for_each_vector<Vector<T>>(X + std::int64_t(i) * n, n, [&](int j, Vector<T> entries) NEURALINV_LAMBDA {
            store_vector(entries, panels + std::int64_t(j / panel_columns) * n * panel_columns + i * panel_columns + j % panel_columns);
        });
}

// A row as doubles. Returns the sum of squares, lane by lane.
template <class T>
NEURALINV_INLINE Vector<double> widen_row(int n, const T* row, double* target) {
    return take_row(n, row, 1, static_cast<T*>(nullptr), [&](int j, Vector<double> entries) NEURALINV_LAMBDA { store_vector(entries, target + j); });
}

// P = AX. Returns ‖A‖_F².
template <class T>
double multiply_by_A(int n, const T* A, const RootMemory<T>& memory) {
    Vector<double> squares = {};
    const auto fill = [&](int i, int rows, bool first) NEURALINV_LAMBDA {
        for (int r = 0; r < rows; ++r) {
            const Vector<double> row = widen_row(n, A + std::int64_t(i + r) * n, memory.wide->left + r * left_pitch<double>);
            if (first) squares += row;
        }
    };
    const auto finish = [&](int i, int rows, int j, int columns, const double* tile) NEURALINV_LAMBDA {
        double* const panel = memory.P + std::int64_t(j) * n + std::int64_t(i) * panel_columns;
        for (int r = 0; r < rows; ++r)
            for (int c = 0; c < columns; c += lanes<double>)
                store_vector(load_vector(tile + r * panel_columns + c), panel + r * panel_columns + c);
    };
    NothingAhead<double> nothing{memory.wide->left};
    multiply<T>(n, n, memory.wide_X, *memory.wide, nothing, fill, finish);
    return sum_of_lanes(squares);
}

// R = I − XP, rounded to T. Returns ‖R‖_F² before rounding.
template <class T>
double form_root_residual(int n, const T* X, const RootMemory<T>& memory) {
    Vector<double> beside = {};
    double diagonal = 0;
    const auto fill = [&](int i, int rows, bool) NEURALINV_LAMBDA {
        for (int r = 0; r < rows; ++r) widen_row(n, X + std::int64_t(i + r) * n, memory.wide->left + r * left_pitch<double>);
    };
    const auto finish = [&](int i, int rows, int j, int columns, const double* tile) NEURALINV_LAMBDA {
        alignas(64) T narrow[panel_columns];
        for (int r = 0; r < rows; ++r) {
            const double* const row = tile + r * panel_columns;
            const int first = i + r > j ? i + r - j : 0;  // what is left of it has a mirror image
            if (i + r < j) {
                // Beyond the matrix there are zeros in X, and hence here.
                for (int c = 0; c < columns; c += lanes<double>) {
                    const Vector<double> entries = -load_vector(row + c);
                    beside += entries * entries;
                    store_entry(narrow + c, 0, narrowed<T>(entries));
                }
            } else {
                for (int c = first; c < columns; ++c) {
                    const double entry = (j + c == i + r ? 1 : 0) - row[c];
                    if (j + c == i + r)
                        diagonal += entry * entry;
                    else
                        beside[c % lanes<double>] += entry * entry;
                    narrow[c] = T(entry);
                }
            }
            if (first < columns) copy_row(narrow + first, columns - first, memory.R + std::int64_t(i + r) * n + j + first);
        }
    };
    NothingAhead<double> nothing{memory.wide->left};
    multiply<T, true>(n, n, memory.P, *memory.wide, nothing, fill, finish);
    mirror(n, memory.R);
    return diagonal + 2 * sum_of_lanes(beside);
}

// U = RX. Returns ‖U‖_F².
template <class T>
double multiply_residual(int n, const RootMemory<T>& memory) {
    Vector<double> squares = {};
    const auto fill = [&](int i, int rows, bool) NEURALINV_LAMBDA {
        for (int r = 0; r < rows; ++r) copy_row(memory.R + std::int64_t(i + r) * n, n, memory.narrow->left + r * left_pitch<T>);
    };
    const auto finish = [&](int i, int rows, int j, int columns, const T* tile) NEURALINV_LAMBDA {
        for (int r = 0; r < rows; ++r) {
            for_each_vector<Half<T>>(tile + r * panel_columns, columns, [&](int, Half<T> entries) NEURALINV_LAMBDA {
                const Vector<double> wide = widened<T>(entries);
                squares += wide * wide;
            });
            copy_row(tile + r * panel_columns, columns, memory.U + std::int64_t(i + r) * n + j);
        }
    };
    NothingAhead<T> nothing{memory.narrow->left};
    multiply<T>(n, n, memory.X, *memory.narrow, nothing, fill, finish);
    return sum_of_lanes(squares);
}

template <class T>
struct WideRowOf {
    typedef double type __attribute__((vector_size(block<T> * sizeof(double))));
};

// X ← X + (U + Uᵀ) / 4. Returns ‖U − Uᵀ‖_F².
template <class T>
double add_symmetric_part(int n, const T* U, T* X) {
    constexpr int B = block<T>;
    using Wide = typename WideRowOf<T>::type;  // squares could underflow in T
    double square = 0;
    const int whole = n / B * B;
    for (int i = 0; i < whole; i += B) {
        Wide squares{};
        for (int j = 0; j <= i; j += B) {
            Row<T> v[B];
            static_for<0, B>([&](auto r) NEURALINV_LAMBDA { v[decltype(r)::value] = load_row(U + (j + decltype(r)::value) * std::int64_t(n) + i); });
            transpose(v);
            Wide part{};
            static_for<0, B>([&](auto r) NEURALINV_LAMBDA {
                const std::int64_t at = (i + decltype(r)::value) * std::int64_t(n) + j;
                const Row<T> u = load_row(U + at);
                const Wide difference = __builtin_convertvector(u, Wide) - __builtin_convertvector(v[decltype(r)::value], Wide);
                part += difference * difference;
                v[decltype(r)::value] = load_row(X + at) + T(0.25) * (u + v[decltype(r)::value]);
                store_row(v[decltype(r)::value], X + at);
            });
            squares += i == j ? part : part + part;
            if (i == j) continue;
            transpose(v);
            static_for<0, B>([&](auto r) NEURALINV_LAMBDA { store_row(v[decltype(r)::value], X + (j + decltype(r)::value) * std::int64_t(n) + i); });
        }
        for (int lane = 0; lane < B; ++lane) square += squares[lane];
    }
    for (int i = whole; i < n; ++i)
        for (int j = 0; j <= i; ++j) {
            const std::int64_t at = std::int64_t(i) * n + j, opposite = std::int64_t(j) * n + i;
            const double difference = double(U[at]) - double(U[opposite]);
            square += 2 * difference * difference;
            X[at] = X[opposite] = X[at] + T(0.25) * (U[at] + U[opposite]);
        }
    return square;
}

template <class T>
void correct_roots_range(const RootResidual<T>& residual, std::int64_t begin, std::int64_t end, std::byte* scratch) {
    const int n = int(residual.n);
    const RootMemory<T> memory(scratch, n);
    for (std::int64_t b = begin; b < end; ++b) {
        T* const X = residual.X + b * n * n;
        double* const squares = residual.squares + b * root_sums;
        const T* const rows = X;
        squares[1] = take_guess<T>(n, 1, &rows, static_cast<T*>(nullptr), memory.wide_X);
        if constexpr (sizeof(T) != sizeof(double)) lay_out(n, X, memory.X);
        squares[0] = multiply_by_A(n, residual.A + b * n * n, memory);
        squares[2] = form_root_residual(n, X, memory);
        squares[3] = multiply_residual(n, memory);
        squares[4] = add_symmetric_part(n, memory.U, X);
    }
}

}  // namespace neuralinv::NEURALINV_TARGET
