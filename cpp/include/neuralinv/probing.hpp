// What random vectors Ω say of candidates X for the inverses of A: sums of squares of the columns of D = AXΩ − Ω, in doubles,
// and of XD, in T. neuralinv/dense/probabilistic.py has the mathematics. Of inverse square roots, D = XAXΩ − Ω.
//
// Everything about one matrix stays in the second-level cache: A is read once. T is the real type of S.
#pragma once

#include <cstddef>
#include <type_traits>

#include "residual.hpp"

namespace neuralinv::NEURALINV_TARGET {

static_assert(largest_probed <= largest_product);

// Scratch memory of one matrix. Columns beyond the last one, which a vector of a tile may read, are zeros.
template <class S>
struct ProbingMemory {
    using T = RealOf<S>;

    PlanesMemory<S, double>* wide;
    PlanesMemory<S, T>* narrow;
    double* omega;  // panels
    double* P;      // XΩ in panels
    double* Q;      // AXΩ in panels, of roots
    T* D;           // in panels
    std::int64_t plane;
    std::int64_t entries;
    std::int64_t bytes;

    // memory: null to learn how much it takes.
    ProbingMemory(std::byte* memory, std::int64_t n, std::int64_t columns)
        : plane(n * panels(columns / part_count<S>) * panel_columns), entries(plane_count<S> * plane), bytes(0) {
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
    constexpr int parts = part_count<S>, most_vectors = int(most_probed_columns) / parts / lanes<double>;
    constexpr int left_plane = tile_rows<double> * left_pitch<double>;
    const MatrixBatch<S>& batch = probing.A;
    const int n = int(batch.n), vectors = int(probing.columns) / parts;
    const std::int64_t entries = std::int64_t(n) * n;
    const S* const A = batch.data + b * batch.batch_stride;
    const S* const X = probing.X + b * entries;
    S* const gathered = reinterpret_cast<S*>(memory.narrow->left);
    Ahead ahead;
    if (!last && entries * std::int64_t(sizeof(S)) <= largest_ahead) {
        ahead.add(A + batch.batch_stride, entries);
        ahead.add(X + entries, entries);
    }
    Vector<double> squares_A = {}, squares_X = {}, squares_D[parts][most_vectors] = {}, squares_XD[parts][most_vectors] = {};
    const auto lay = [&](const S* matrix, std::int64_t row_stride, std::int64_t column_stride, int i,
                         int rows) NEURALINV_LAMBDA {
        Vector<double> sum = {};
        for (int r = 0; r < rows; ++r)
            sum += take_row(n, matrix + (i + r) * row_stride, column_stride, gathered, [&](int j, auto... entry) NEURALINV_LAMBDA {
                store_entry(memory.wide->left + r * left_pitch<double> + j, left_plane, entry...);
            });
        return sum;
    };
    // body(at, k, entry...): entry k.. of the vectors' row that begins at `at` in the panels, as many as a vector has.
    const auto for_each_entry = [&](int i, int rows, int j, int columns, const auto* tile, const auto& body) NEURALINV_LAMBDA {
        using Tile = std::remove_cv_t<std::remove_pointer_t<decltype(tile)>>;
        for (int r = 0; r < rows; ++r)
            for (int c = 0; c < columns; c += lanes<double>) {
                const Tile* const entry = tile + r * panel_columns + c;
                const auto part = [&](int which) NEURALINV_LAMBDA {
                    Half<Tile> value;
                    __builtin_memcpy(&value, entry + which * tile_rows<Tile> * panel_columns, sizeof value);
                    return widened<Tile>(value);
                };
                const std::int64_t at = std::int64_t(j) * n + std::int64_t(i + r) * panel_columns + c;
                if constexpr (parts == 1)
                    body(at, (j + c) / lanes<double>, part(0));
                else
                    body(at, (j + c) / lanes<double>, part(0), part(1));
            }
    };
    const auto lay_A = [&](int i, int rows, bool) NEURALINV_LAMBDA { squares_A += lay(A, batch.row_stride, batch.column_stride, i, rows); };
    const auto keep_in = [&](double* panels) NEURALINV_LAMBDA {
        return [&, panels](int i, int rows, int j, int columns, const double* tile) NEURALINV_LAMBDA {
            for_each_entry(i, rows, j, columns, tile, [&](std::int64_t at, int, auto... entry) NEURALINV_LAMBDA {
                store_entry(panels + at, memory.plane, entry...);
            });
        };
    };
    const auto difference = [&](Vector<double> entry, std::int64_t at, int k, int part) NEURALINV_LAMBDA {
        const Vector<double> off = entry - load_vector(memory.omega + part * memory.plane + at);
        squares_D[part][k] += off * off;
        return narrowed<T>(off);
    };
    const auto subtract = [&](int i, int rows, int j, int columns, const double* tile) NEURALINV_LAMBDA {
        for_each_entry(i, rows, j, columns, tile, [&](std::int64_t at, int k, auto... entry) NEURALINV_LAMBDA {
            int part = 0;  // braces are evaluated in order
            const Half<T> D[] = {difference(entry, at, k, part++)...};
            if constexpr (parts == 1)
                store_entry(memory.D + at, memory.plane, D[0]);
            else
                store_entry(memory.D + at, memory.plane, D[0], D[1]);
        });
    };
    multiply<S>(
        n, vectors, memory.omega, *memory.wide, ahead, [&](int i, int rows, bool) NEURALINV_LAMBDA { squares_X += lay(X, n, 1, i, rows); },
        keep_in(memory.P));
    if (probing.roots) {
        multiply<S>(n, vectors, memory.P, *memory.wide, ahead, lay_A, keep_in(memory.Q));
        multiply<S>(
            n, vectors, memory.Q, *memory.wide, ahead, [&](int i, int rows, bool) NEURALINV_LAMBDA { lay(X, n, 1, i, rows); }, subtract);
    } else {
        multiply<S>(n, vectors, memory.P, *memory.wide, ahead, lay_A, subtract);
    }
    multiply<S>(
        n, vectors, memory.D, *memory.narrow, ahead,
        [&](int i, int rows, bool) NEURALINV_LAMBDA {
            for (int r = 0; r < rows; ++r) fill_row<S>(reinterpret_cast<const T*>(X + std::int64_t(i + r) * n), n, r, memory.narrow->left);
        },
        [&](int i, int rows, int j, int columns, const T* tile) NEURALINV_LAMBDA {
            for_each_entry(i, rows, j, columns, tile, [&](std::int64_t, int k, auto... entry) NEURALINV_LAMBDA {
                int part = 0;
                ((squares_XD[part++][k] += entry * entry), ...);
            });
        });
    double* const squares = probing.squares + b * 2 * probing.columns;
    for (int j = 0; j < vectors; ++j)
        for (int part = 0; part < parts; ++part) {
            squares[parts * j + part] = squares_D[part][j / lanes<double>][j % lanes<double>];
            squares[parts * (vectors + j) + part] = squares_XD[part][j / lanes<double>][j % lanes<double>];
        }
    probing.norms[2 * b] = sum_of_lanes(squares_A);
    probing.norms[2 * b + 1] = sum_of_lanes(squares_X);
}

// Matrices begin..end-1.
template <class S>
void probe_range(const Probing<S>& probing, std::int64_t begin, std::int64_t end, std::byte* scratch) {
    constexpr int parts = part_count<S>;
    const int n = int(probing.A.n), vectors = int(probing.columns) / parts;
    const ProbingMemory<S> memory(scratch, n, probing.columns);
    for (std::int64_t e = 0; e < memory.entries; ++e) memory.omega[e] = memory.P[e] = memory.Q[e] = 0, memory.D[e] = 0;
    for (int i = 0; i < n; ++i)
        for (int j = 0; j < vectors; ++j) {
            double* const target = memory.omega + std::int64_t(j / panel_columns) * n * panel_columns + i * panel_columns + j % panel_columns;
            const double* const entry = probing.omega + (std::int64_t(i) * vectors + j) * parts;
            if constexpr (parts == 1)
                store_entry(target, memory.plane, entry[0]);
            else
                store_entry(target, memory.plane, entry[0], entry[1]);
        }
    for (std::int64_t b = begin; b < end; ++b) probe(probing, b, b + 1 == end, memory);
}

}  // namespace neuralinv::NEURALINV_TARGET
