// What random vectors Ω say of candidates X for the inverses of A: sums of squares of the columns of D = AXΩ − Ω, in doubles,
// and of XD, in T. neuralinv/dense/probabilistic.py has the mathematics. Of inverse square roots, D = XAXΩ − Ω.
//
// Everything about one matrix stays in the second-level cache: A is read once. T is the real type of S; a complex vector is
// two columns of real numbers side by side.
#pragma once

#include <cstddef>

#include "residual.hpp"

namespace neuralinv::NEURALINV_TARGET {

static_assert(largest_probed <= largest_product);

// Scratch memory of one matrix. Columns beyond the last one, which a vector of a tile may read, are zeros.
template <class S>
struct ProbingMemory {
    using T = RealOf<S>;

    ProductMemory<double>* wide;
    ProductMemory<T>* narrow;
    double* omega;  // panels
    double* P;      // XΩ in panels
    double* Q;      // AXΩ in panels, of roots
    T* D;           // in panels
    std::int64_t entries;
    std::int64_t bytes;

    // memory: null to learn how much it takes.
    ProbingMemory(std::byte* memory, std::int64_t n, std::int64_t columns)
        : entries(n * panels(columns) * panel_columns), bytes(0) {
        take_piece(memory, bytes, wide, sizeof *wide);
        take_piece(memory, bytes, narrow, sizeof *narrow);
        take_piece(memory, bytes, omega, entries * std::int64_t(sizeof(double)));
        take_piece(memory, bytes, P, entries * std::int64_t(sizeof(double)));
        take_piece(memory, bytes, Q, entries * std::int64_t(sizeof(double)));
        take_piece(memory, bytes, D, entries * std::int64_t(sizeof(T)));
    }
};

template <class S>
std::int64_t probing_bytes(std::int64_t n, std::int64_t columns) {
    return ProbingMemory<S>(nullptr, n, columns).bytes;
}

template <class S>
void probe(const Probing<S>& probing, std::int64_t b, bool last, const ProbingMemory<S>& memory) {
    using T = RealOf<S>;
    constexpr int parts = part_count<S>, most_vectors = int(most_probed_columns) / lanes<double>;
    const MatrixBatch<S>& batch = probing.A;
    const int n = int(batch.n), width = int(probing.columns);
    const std::int64_t entries = std::int64_t(n) * n;
    const S* const A = batch.data + b * batch.batch_stride;
    const S* const X = probing.X + b * entries;
    S* const gathered = reinterpret_cast<S*>(memory.narrow->left);
    Ahead ahead;
    if (!last && entries * std::int64_t(sizeof(S)) <= largest_ahead) {
        ahead.add(A + batch.batch_stride, entries);
        ahead.add(X + entries, entries);
    }
    Vector<double> squares_A = {}, squares_X = {}, squares_D[most_vectors] = {}, squares_XD[most_vectors] = {};
    const auto lay = [&](const S* matrix, std::int64_t row_stride, std::int64_t column_stride, int i,
                         int rows) NEURALINV_LAMBDA {
        Vector<double> sum = {};
        for (int r = 0; r < rows; ++r)
            sum += take_row(n, matrix + (i + r) * row_stride, column_stride, gathered,
                            memory.wide->left + parts * r * left_pitch<double>);
        return sum;
    };
    const auto place = [&](int i, int j) NEURALINV_LAMBDA { return std::int64_t(j) * n + std::int64_t(i) * panel_columns; };
    const auto lay_A = [&](int i, int rows, bool) NEURALINV_LAMBDA { squares_A += lay(A, batch.row_stride, batch.column_stride, i, rows); };
    const auto keep_in = [&](double* panels) NEURALINV_LAMBDA {
        return [&place, panels](int i, int rows, int j, int columns, const double* tile) NEURALINV_LAMBDA {
            for (int r = 0; r < rows; ++r)
                for (int c = 0; c < columns; c += lanes<double>)
                    store_vector(load_vector(tile + r * panel_columns + c), panels + place(i + r, j) + c);
        };
    };
    const auto subtract = [&](int i, int rows, int j, int columns, const double* tile) NEURALINV_LAMBDA {
        for (int r = 0; r < rows; ++r)
            for (int c = 0; c < columns; c += lanes<double>) {
                const std::int64_t at = place(i + r, j) + c;
                const Vector<double> entry = load_vector(tile + r * panel_columns + c) - load_vector(memory.omega + at);
                squares_D[(j + c) / lanes<double>] += entry * entry;
                store_narrowed(entry, memory.D + at);
            }
    };
    multiply<S>(
        n, width, memory.omega, *memory.wide, ahead, [&](int i, int rows, bool) NEURALINV_LAMBDA { squares_X += lay(X, n, 1, i, rows); },
        keep_in(memory.P));
    if (probing.roots) {
        multiply<S>(n, width, memory.P, *memory.wide, ahead, lay_A, keep_in(memory.Q));
        multiply<S>(
            n, width, memory.Q, *memory.wide, ahead, [&](int i, int rows, bool) NEURALINV_LAMBDA { lay(X, n, 1, i, rows); }, subtract);
    } else {
        multiply<S>(n, width, memory.P, *memory.wide, ahead, lay_A, subtract);
    }
    multiply<S>(
        n, width, memory.D, *memory.narrow, ahead,
        [&](int i, int rows, bool) NEURALINV_LAMBDA {
            for (int r = 0; r < rows; ++r) {
                const T* const row = reinterpret_cast<const T*>(X + std::int64_t(i + r) * n);
                T* const left = memory.narrow->left + parts * r * left_pitch<T>;
                if constexpr (parts == 1)
                    copy_row(row, n, left);
                else
                    split_row(row, n, left);
            }
        },
        [&](int, int rows, int j, int columns, const T* tile) NEURALINV_LAMBDA {
            for (int r = 0; r < rows; ++r)
                for (int c = 0; c < columns; c += lanes<double>) {
                    Half<T> narrow;
                    __builtin_memcpy(&narrow, tile + r * panel_columns + c, sizeof narrow);
                    const Vector<double> entry = widened<T>(narrow);
                    squares_XD[(j + c) / lanes<double>] += entry * entry;
                }
        });
    double* const squares = probing.squares + b * 2 * width;
    for (int j = 0; j < width; ++j) {
        squares[j] = squares_D[j / lanes<double>][j % lanes<double>];
        squares[width + j] = squares_XD[j / lanes<double>][j % lanes<double>];
    }
    probing.norms[2 * b] = sum_of_lanes(squares_A);
    probing.norms[2 * b + 1] = sum_of_lanes(squares_X);
}

// Matrices begin..end-1.
template <class S>
void probe_range(const Probing<S>& probing, std::int64_t begin, std::int64_t end, std::byte* scratch) {
    const int n = int(probing.A.n), width = int(probing.columns);
    const ProbingMemory<S> memory(scratch, n, width);
    for (std::int64_t e = 0; e < memory.entries; ++e) memory.omega[e] = memory.P[e] = memory.Q[e] = 0, memory.D[e] = 0;
    for (int i = 0; i < n; ++i)
        for (int j = 0; j < width; ++j)
            memory.omega[std::int64_t(j / panel_columns) * n * panel_columns + i * panel_columns + j % panel_columns] =
                probing.omega[std::int64_t(i) * width + j];
    for (std::int64_t b = begin; b < end; ++b) probe(probing, b, b + 1 == end, memory);
}

}  // namespace neuralinv::NEURALINV_TARGET
