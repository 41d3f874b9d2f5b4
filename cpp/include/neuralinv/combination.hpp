// Many combinations of a few long rows: X = C B. Columns of B are laid out in panels once for all rows of C.
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

// Columns begin..end-1 of X.
template <class T>
void combine_range(const Combination<T>& c, std::int64_t begin, std::int64_t end, std::byte* scratch) {
    auto& memory = *reinterpret_cast<ProductMemory<T>*>(scratch);
    T* const panels = reinterpret_cast<T*>(scratch + sizeof memory);
    NothingAhead<T> nothing{memory.left};
    const int terms = int(c.terms), panel = terms * panel_columns;
    for (std::int64_t first = begin; first < end; first += combined_panels * panel_columns) {
        const std::int64_t left = end - first;
        const int width = left < combined_panels * panel_columns ? int(left) : combined_panels * panel_columns;
        for (int k = 0; k < terms; ++k)
            for (int j = 0; j < width; j += panel_columns)
                copy_row(c.B + k * c.length + first + j, width - j < panel_columns ? width - j : panel_columns,
                         panels + j / panel_columns * panel + k * panel_columns);
        for (std::int64_t i = 0; i < c.count; i += tile_rows<T>) {
            const int rows = c.count - i < tile_rows<T> ? int(c.count - i) : tile_rows<T>;
            for (int r = 0; r < rows; ++r) copy_row(c.C + (i + r) * terms, terms, memory.left + r * left_pitch<T>);
            for (int j = 0; j < width; j += panel_columns) {
                const int columns = width - j < panel_columns ? width - j : panel_columns;
                tile_kernels<T>.of[rows - 1][(columns - 1) / lanes<T>](
                    memory.left, panels + j / panel_columns * panel, terms, memory.tile, nothing.take(terms));
                for (int r = 0; r < rows; ++r)
                    copy_row(memory.tile + r * panel_columns, columns, c.X + (i + r) * c.length + first + j);
            }
        }
    }
}

}  // namespace neuralinv::NEURALINV_TARGET
