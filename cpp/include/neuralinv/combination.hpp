// Many combinations of a few long rows, C B: kept as X, or compared with what they should be. Columns of B are laid out in
// panels once for all rows of C, the last row first: so are the terms of each sum.
#pragma once

#include <cstddef>

#include "guesses.hpp"
#include "product.hpp"

namespace neuralinv::NEURALINV_TARGET {

static_assert(most_terms <= largest_product);

// Panels at once: stretches of each row of B that are long enough for the hardware to see what comes next.
inline constexpr int combined_panels = 16;

template <class T>
std::int64_t combination_bytes(std::int64_t terms) {
    return std::int64_t(sizeof(ProductMemory<T>)) + terms * combined_panels * panel_columns * std::int64_t(sizeof(T));
}

// Columns begin..end-1 of C B, C (count, terms) and B (terms, length): finish(i, rows, column, columns, tile) gets those of
// rows i.. from `column` on, and done(i, rows) follows when a stretch of columns of these rows is finished.
template <class T, class Finish, class Done>
NEURALINV_INLINE void for_combinations(const T* C, const T* B, std::int64_t count, int terms, std::int64_t length,
                                       std::int64_t begin, std::int64_t end, std::byte* scratch, const Finish& finish,
                                       const Done& done) {
    auto& memory = *reinterpret_cast<ProductMemory<T>*>(scratch);
    T* const panels = reinterpret_cast<T*>(scratch + sizeof memory);
    NothingAhead<T> nothing{memory.left};
    const int panel = terms * panel_columns;
    for (std::int64_t first = begin; first < end; first += combined_panels * panel_columns) {
        const std::int64_t left = end - first;
        const int width = left < combined_panels * panel_columns ? int(left) : combined_panels * panel_columns;
        for (int k = 0; k < terms; ++k)
            for (int j = 0; j < width; j += panel_columns)
                copy_row(B + k * length + first + j, width - j < panel_columns ? width - j : panel_columns,
                         panels + j / panel_columns * panel + (terms - 1 - k) * panel_columns);
        for (std::int64_t i = 0; i < count; i += tile_rows<T>) {
            const int rows = count - i < tile_rows<T> ? int(count - i) : tile_rows<T>;
            for (int r = 0; r < rows; ++r)
                for (int k = 0; k < terms; ++k) memory.left[r * left_pitch<T> + terms - 1 - k] = C[(i + r) * terms + k];
            for (int j = 0; j < width; j += panel_columns) {
                const int columns = width - j < panel_columns ? width - j : panel_columns;
                tile_kernels<T>.of[rows - 1][(columns - 1) / lanes<T>](
                    memory.left, panels + j / panel_columns * panel, terms, memory.tile, nothing.take(terms), terms);
                finish(i, rows, first + j, columns, memory.tile);
            }
            done(i, rows);
        }
    }
}

// Columns begin..end-1 of X.
template <class T>
void combine_range(const Combination<T>& c, std::int64_t begin, std::int64_t end, std::byte* scratch) {
    const auto keep = [&](std::int64_t i, int rows, std::int64_t column, int columns, const T* tile) NEURALINV_LAMBDA {
        for (int r = 0; r < rows; ++r) copy_row(tile + r * panel_columns, columns, c.X + (i + r) * c.length + column);
    };
    const auto done = [](std::int64_t, int) NEURALINV_LAMBDA {};
    for_combinations(c.C, c.B, c.count, int(c.terms), c.length, begin, end, scratch, keep, done);
}

// Adds the sums of squares of columns begin..end-1 of A − C B to squares (count).
template <class T>
void deviate_range(const Deviation<T>& d, std::int64_t begin, std::int64_t end, double* squares, std::byte* scratch) {
    Vector<double> sums[tile_rows<double>] = {};
    const auto compare = [&](std::int64_t i, int rows, std::int64_t column, int columns, double* tile) NEURALINV_LAMBDA {
        for (int r = 0; r < rows; ++r)
            for_each_vector<Half<T>>(d.A + (i + r) * d.length + column, columns, [&](int j, Half<T> entries) NEURALINV_LAMBDA {
                double* const combined = tile + r * panel_columns + j;
                for (int k = columns - j; k < lanes<double>; ++k) combined[k] = 0;
                const Vector<double> difference = widened<T>(entries) - load_vector(combined);
                sums[r] += difference * difference;
            });
    };
    const auto done = [&](std::int64_t i, int rows) NEURALINV_LAMBDA {
        for (int r = 0; r < rows; ++r) {
            squares[i + r] += sum_of_lanes(sums[r]);
            sums[r] = Vector<double>{};
        }
    };
    for_combinations(d.C, d.B, d.count, int(d.terms), d.length, begin, end, scratch, compare, done);
}

}  // namespace neuralinv::NEURALINV_TARGET
