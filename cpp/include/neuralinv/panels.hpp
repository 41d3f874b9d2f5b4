// Right-hand sides, a panel of columns at a time, through a solver that works on tiles.
#pragma once

#include "entries.hpp"
#include "right_sides.hpp"

namespace neuralinv::NEURALINV_TARGET {

inline constexpr int panel_columns = 4;

// Solve for `width` columns from `column` on. substitute(b): right-hand sides (n, width) in lanes become solutions.
// X: (count, n, k), row by row. N: Fixed<n> or int.
template <class S, int width, int room, class N, class Substitute>
NEURALINV_INLINE void solve_panel(N n, const RightSides<S>& B, std::int64_t column, std::int64_t begin, int count, S* X,
                                  const Substitute& substitute) {
    const std::int64_t step = width == 1 ? 1 : B.column_stride;  // a single column lies row by row whatever the step
    const Block<const S> sides{B.data + column * B.column_stride, n, width, B.batch_stride, B.row_stride, step};
    const Block<S> solutions{X + column, n, width, n * B.columns, B.columns, 1};
    S buffer[room * width * tile<S>];
    Lane<S> b[room * width];
    load_entries<S>(source_rows<S>(sides, begin, count, buffer), n * Fixed<width>{}, b);
    substitute(b);
    store_entries<S>(b, n * Fixed<width>{}, target_rows<S>(solutions, begin, count, buffer));
    finish_rows<S>(solutions, begin, count, buffer);
}

// All right-hand sides of a tile. substitute(b, Fixed<width>{}) as above.
template <class S, int room, class Substitute>
NEURALINV_INLINE void solve_panels(int n, const RightSides<S>& B, std::int64_t begin, int count, S* X,
                                   const Substitute& substitute) {
    std::int64_t column = 0;
    for (; column + panel_columns <= B.columns; column += panel_columns)
        solve_panel<S, panel_columns, room>(n, B, column, begin, count, X, [&](Lane<S>* b) NEURALINV_LAMBDA {
            substitute(b, Fixed<panel_columns>{});
        });
    for (; column < B.columns; ++column)
        solve_panel<S, 1, room>(n, B, column, begin, count, X,
                                [&](Lane<S>* b) NEURALINV_LAMBDA { substitute(b, one); });
}

}  // namespace neuralinv::NEURALINV_TARGET
