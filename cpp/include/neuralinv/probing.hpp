// What random vectors Ω say of candidates X for the inverses of A: sums of squares of the columns of D = AXΩ − Ω, in doubles,
// and of XD, in T. neuralinv/dense/probabilistic.py has the mathematics.
//
// Everything about one matrix stays in the second-level cache: A is read once.
#pragma once

#include <cstddef>

#include "correction.hpp"

namespace neuralinv::NEURALINV_TARGET {

static_assert(largest_probed <= largest_product);

inline std::int64_t probed_panels(std::int64_t width) { return (width + panel_columns - 1) / panel_columns; }

// Scratch memory of one matrix: m entries in a row, `width` columns of vectors.
template <class T>
struct ProbingMemory {
    ProductMemory<double>* wide;
    ProductMemory<T>* narrow;
    double* omega;  // panels
    double* P;      // XΩ in panels
    T* D;           // in panels
    std::int64_t bytes;

    // memory: null to learn how much it takes.
    ProbingMemory(std::byte* memory, std::int64_t m, std::int64_t width) : bytes(0) {
        const std::int64_t entries = m * probed_panels(width) * panel_columns;
        take(memory, wide, sizeof *wide);
        take(memory, narrow, sizeof *narrow);
        take(memory, omega, entries * std::int64_t(sizeof(double)));
        take(memory, P, entries * std::int64_t(sizeof(double)));
        take(memory, D, entries * std::int64_t(sizeof(T)));
    }

   private:
    template <class Item>
    void take(std::byte* memory, Item*& pointer, std::int64_t size) {
        pointer = memory == nullptr ? nullptr : reinterpret_cast<Item*>(memory + bytes);
        bytes += (size + 63) / 64 * 64;
    }
};

template <class T>
std::int64_t probing_bytes(std::int64_t m, std::int64_t width) {
    return ProbingMemory<T>(nullptr, m, width).bytes;
}

// Vectors as the right factor of a product: an entry a + ib of a row of complex numbers meets row 2k, (Re ω, Im ω), and row
// 2k + 1, (−Im ω, Re ω). Columns beyond the last one, which a vector of a tile may read, are zeros.
template <class T>
struct ProbedPanels {
    T* panels;
    int m;      // rows
    int width;  // columns, of which the latter half is imaginary for complex
    bool complex;

    NEURALINV_INLINE T* at(int k, int j) const {
        return panels + std::int64_t(j / panel_columns) * m * panel_columns + std::int64_t(k) * panel_columns +
               j % panel_columns;
    }

    // Columns j.. of the k-th row of vectors.
    NEURALINV_INLINE const T* row(int k, int j) const { return at(complex ? 2 * k : k, j); }

    // Columns j.. of the k-th row of vectors, `columns` of them within a panel; whole vectors are read.
    NEURALINV_INLINE void put(int k, int j, int columns, const double* row) const {
        T* const target = at(complex ? 2 * k : k, j);
        for (int c = 0; c < columns; c += lanes<double>) {
            const Vector<double> entries = load_vector(row + c);
            if constexpr (sizeof(T) == sizeof(double))
                store_vector(entries, target + c);
            else
                store_narrowed(entries, target + c);
        }
        if (!complex) return;
        const int half = width / 2;
        for (int c = 0; c < columns; ++c) {
            const int from = j + c, to = from < half ? from + half : from - half;
            *at(2 * k + 1, to) = from < half ? target[c] : -target[c];
        }
    }
};

// The product of `rows` rows of m entries, of which fill(i, rows) lays some into memory.left, with vectors in panels:
// finish(i, rows, j, columns, tile).
template <class T, class Fill, class Finish>
NEURALINV_INLINE void multiply_probed(int rows, const ProbedPanels<T>& right, ProductMemory<T>& memory, Ahead& ahead,
                                      const Fill& fill, const Finish& finish) {
    for (int i = 0; i < rows; i += tile_rows<T>) {
        const int here = rows - i < tile_rows<T> ? rows - i : tile_rows<T>;
        fill(i, here);
        for (int j = 0; j < right.width; j += panel_columns) {
            const int columns = right.width - j < panel_columns ? right.width - j : panel_columns;
            tile_kernels<T>.of[here - 1][(columns - 1) / lanes<T>](memory.left, right.at(0, j), right.m, memory.tile,
                                                                   ahead.take(right.m));
            finish(i, here, j, columns, memory.tile);
        }
    }
}

template <class T>
void probe(const Probing<T>& probing, std::int64_t b, bool last, const ProbingMemory<T>& memory) {
    const int m = int(probing.n), width = int(probing.width), rows = probing.complex ? m / 2 : m;
    const std::int64_t entries = std::int64_t(rows) * m;
    const T* const A = probing.A + b * probing.batch_stride;
    const T* const X = probing.X + b * entries;
    const ProbedPanels<double> omega{memory.omega, m, width, probing.complex}, P{memory.P, m, width, probing.complex};
    const ProbedPanels<T> D{memory.D, m, width, probing.complex};
    Ahead ahead;
    if (!last && entries * std::int64_t(sizeof(T)) <= largest_ahead) {
        ahead.add(A + probing.batch_stride, entries);
        ahead.add(X + entries, entries);
    }
    Vector<double> squares_A = {}, squares_X = {};
    Vector<double> squares_D[most_probed_columns / lanes<double>] = {}, squares_XD[most_probed_columns / lanes<double>] = {};
    const auto lay = [&](const T* matrix, std::int64_t row_stride, int i, int here) NEURALINV_LAMBDA {
        Vector<double> sum = {};
        for (int r = 0; r < here; ++r)
            sum += take_row<T>(m, matrix + (i + r) * row_stride, 1, nullptr, memory.wide->left + r * left_pitch<double>);
        return sum;
    };
    multiply_probed(
        rows, omega, *memory.wide, ahead,
        [&](int i, int here) NEURALINV_LAMBDA { squares_X += lay(X, m, i, here); },
        [&](int i, int here, int j, int columns, const double* tile) NEURALINV_LAMBDA {
            for (int r = 0; r < here; ++r) P.put(i + r, j, columns, tile + r * panel_columns);
        });
    multiply_probed(
        rows, P, *memory.wide, ahead,
        [&](int i, int here) NEURALINV_LAMBDA { squares_A += lay(A, probing.row_stride, i, here); },
        [&](int i, int here, int j, int columns, double* tile) NEURALINV_LAMBDA {
            for (int r = 0; r < here; ++r) {
                double* const row = tile + r * panel_columns;
                const double* const wanted = omega.row(i + r, j);
                for (int c = 0; c < columns; c += lanes<double>) {
                    const Vector<double> difference = load_vector(row + c) - load_vector(wanted + c);
                    squares_D[(j + c) / lanes<double>] += difference * difference;
                    store_vector(difference, row + c);
                }
                D.put(i + r, j, columns, row);
            }
        });
    multiply_probed(
        rows, D, *memory.narrow, ahead,
        [&](int i, int here) NEURALINV_LAMBDA {
            for (int r = 0; r < here; ++r)
                copy_row(X + std::int64_t(i + r) * m, m, memory.narrow->left + r * left_pitch<T>);
        },
        [&](int, int here, int j, int columns, const T* tile) NEURALINV_LAMBDA {
            for (int r = 0; r < here; ++r)
                for (int c = 0; c < columns; c += lanes<double>) {
                    Half<T> entries;
                    __builtin_memcpy(&entries, tile + r * panel_columns + c, sizeof entries);
                    const Vector<double> wide = widened<T>(entries);
                    squares_XD[(j + c) / lanes<double>] += wide * wide;
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
template <class T>
void probe_range(const Probing<T>& probing, std::int64_t begin, std::int64_t end, std::byte* scratch) {
    const int m = int(probing.n), width = int(probing.width), rows = probing.complex ? m / 2 : m;
    const ProbingMemory<T> memory(scratch, m, width);
    const std::int64_t padded = m * probed_panels(width) * panel_columns;
    for (std::int64_t e = 0; e < padded; ++e) memory.omega[e] = memory.P[e] = 0, memory.D[e] = 0;
    const ProbedPanels<double> omega{memory.omega, m, width, probing.complex};
    alignas(64) double row[panel_columns] = {};
    for (int i = 0; i < rows; ++i)
        for (int j = 0; j < width; j += panel_columns) {
            const int columns = width - j < panel_columns ? width - j : panel_columns;
            for (int c = 0; c < panel_columns; ++c)
                row[c] = c < columns ? probing.omega[std::int64_t(i) * width + j + c] : 0;
            omega.put(i, j, columns, row);
        }
    for (std::int64_t b = begin; b < end; ++b) probe(probing, b, b + 1 == end, memory);
}

}  // namespace neuralinv::NEURALINV_TARGET
