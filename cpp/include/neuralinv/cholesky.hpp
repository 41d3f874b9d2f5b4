// Symmetric positive definite matrices, one in each lane: A = L D Lᵀ with a unit lower triangle L and a diagonal D > 0,
// Cholesky's factors without his square roots. Only the lower triangle of A is read.
//
// A tile is (n, n), row by row, `pitch` from one to the next. Column by column from the left, with W = L D,
//
//     W(i,j) = A(i,j) − Σ_{m<j} W(i,m) L(j,m),    D(j) = W(j,j),    L(i,j) = W(i,j) / D(j),
//
// W takes the place of A's lower triangle and Lᵀ that of the upper one, so that all sums run along rows of the tile or
// down its columns. D goes to an array of its own. The sums are inner products: a block of them lives in registers and
// the tile is only read.
#pragma once

#include "field.hpp"
#include "loops.hpp"

namespace neuralinv::NEURALINV_TARGET {

// Blocks of `rows` × `columns` inner products at once.
struct Unblocked {
    static constexpr int rows = 1, columns = 1;
};
struct Blocked {
    static constexpr int rows = NEURALINV_VECTOR_BYTES == 64 ? 4 : 2, columns = 4;
};

// An unrolled elimination lives in registers anyway.
template <class N>
struct BlocksFor {
    using type = Blocked;
};
template <int n>
struct BlocksFor<Fixed<n>> {
    using type = Unblocked;
};

// W and L for rows i.., columns j.. of the tile a; all columns before j are done. With `diagonal`, the last of the
// columns is that of the diagonal.
template <class T, bool careful, bool diagonal, int rows, int columns, class P, class I, class J>
NEURALINV_INLINE void factor_block(Vector<T>* a, P pitch, I i, J j, Pivot<T>* pivot) {
    using F = Field<T>;
    Vector<T> w[rows][columns];
    const auto each_row = [&](const auto& body) NEURALINV_LAMBDA { loop(zero, Fixed<rows>{}, body); };
    const auto each_column = [&](const auto& body) NEURALINV_LAMBDA { loop(zero, Fixed<columns>{}, body); };
    each_row([&](auto r) NEURALINV_LAMBDA {
        each_column([&](auto c) NEURALINV_LAMBDA { w[r][c] = a[(i + r) * pitch + j + c]; });
    });
    loop(zero, j, [&](auto m) NEURALINV_LAMBDA {
        each_row([&](auto r) NEURALINV_LAMBDA {
            each_column([&](auto c) NEURALINV_LAMBDA {
                w[r][c] = F::template minus_product<careful>(w[r][c], a[(i + r) * pitch + m], a[m * pitch + j + c]);
            });
        });
    });
    each_column([&](auto c) NEURALINV_LAMBDA {
        loop(zero, c, [&](auto m) NEURALINV_LAMBDA {
            each_row([&](auto r) NEURALINV_LAMBDA {
                w[r][c] = F::template minus_product<careful>(w[r][c], w[r][m], a[(j + m) * pitch + j + c]);
            });
        });
        if constexpr (diagonal && decltype(c)::value == columns - 1) {
            pivot[j + c] = make_pivot<T>(w[0][c]);
        } else {
            each_row([&](auto r) NEURALINV_LAMBDA {
                a[(i + r) * pitch + j + c] = w[r][c];
                a[(j + c) * pitch + i + r] = divide<T, careful>(w[r][c], pivot[j + c]);
            });
        }
    });
}

// a: (n, n), of which the lower triangle is read; gives Lᵀ in the strict upper triangle. pivot: (n) gives D.
// N: Fixed<n> or int. ahead: asked once for each block of columns.
template <class T, class Blocks, bool careful, class N, class P, class Prefetch>
NEURALINV_INLINE void factor_positive(Vector<T>* a, N n, P pitch, Pivot<T>* pivot, Prefetch& ahead) {
    loop_blocks<Blocks::columns>(zero, n, [&](auto j, auto columns) NEURALINV_LAMBDA {
        ahead.fetch();
        loop(zero, columns, [&](auto r) NEURALINV_LAMBDA {
            factor_block<T, careful, true, 1, decltype(r)::value + 1>(a, pitch, j + r, j, pivot);
        });
        loop_blocks<Blocks::rows>(j + columns, n, [&](auto i, auto rows) NEURALINV_LAMBDA {
            factor_block<T, careful, false, decltype(rows)::value, decltype(columns)::value>(a, pitch, i, j, pivot);
        });
    });
}

// Where every pivot is certainly positive and can be inverted. diagonal: (n), that of A.
template <class T, class N>
NEURALINV_INLINE Mask<T> positive_safely(const Vector<T>* diagonal, const Pivot<T>* pivot, N n) {
    Mask<T> safe = ~Mask<T>{};
    loop(zero, n, [&](auto k) NEURALINV_LAMBDA {
        safe &= safe_to_invert<T>(pivot[k].value) & is_distinct<T>(pivot[k].value, diagonal[k], n);
    });
    return safe;
}

// LAPACK's info: the first pivot that is not positive, counted from 1, or 0. What follows such a pivot is meaningless.
template <class T>
NEURALINV_INLINE Mask<T> first_not_positive(const Pivot<T>* pivot, int n) {
    Mask<T> info{};
    for (int k = n - 1; k >= 0; --k) {
        const Mask<T> positive = Mask<T>(pivot[k].value > Vector<T>{});
        info = positive ? info : broadcast_mask<T>(k + 1);
    }
    return info;
}

// The inverse X = A⁻¹ from Lᵀ X = D⁻¹ L⁻¹, whose right-hand side is lower triangular with D⁻¹ on the diagonal: for i ≥ j
//
//     X(i,j) = [i = j] / D(j) − Σ_{m>j} X(i,m) L(m,j),
//
// which gives column j of the lower triangle once the later columns are known (Takahashi, Fagan & Chen 1973). With the
// factors, n³/2 multiplications altogether, half of those for a general matrix.
//
// a: (n, n), Lᵀ in the upper triangle; gives X in the lower one.
template <class T, class Blocks, bool careful, class N, class P, class Prefetch>
NEURALINV_INLINE void invert_factored(Vector<T>* a, N n, P pitch, const Pivot<T>* pivot, Prefetch& ahead) {
    using F = Field<T>;
    const auto lower = [&](auto i, auto j) NEURALINV_LAMBDA -> const Vector<T>& {
        return i >= j ? a[i * pitch + j] : a[j * pitch + i];
    };
    loop_blocks_down<Blocks::columns>(zero, n, [&](auto j, auto columns) NEURALINV_LAMBDA {
        ahead.fetch();
        const auto known = j + columns;  // the first column of X that is known
        const auto each_column = [&](const auto& body) NEURALINV_LAMBDA { loop(zero, columns, body); };
        // Rows below the block. x(r,c) = X(i+r, j+c)
        loop_blocks<Blocks::rows>(known, n, [&](auto i, auto rows) NEURALINV_LAMBDA {
            Vector<T> x[decltype(rows)::value][decltype(columns)::value] = {};
            const auto subtract = [&](auto m) NEURALINV_LAMBDA {
                loop(zero, rows, [&](auto r) NEURALINV_LAMBDA {
                    each_column([&](auto c) NEURALINV_LAMBDA {
                        x[r][c] = F::template minus_product<careful>(x[r][c], lower(i + r, m), a[(j + c) * pitch + m]);
                    });
                });
            };
            loop(known, i, subtract);
            loop(zero, rows, [&](auto r) NEURALINV_LAMBDA { subtract(i + r); });
            loop(i + rows, n, subtract);
            loop_down(zero, columns, [&](auto c) NEURALINV_LAMBDA {
                loop(zero, rows, [&](auto r) NEURALINV_LAMBDA {
                    loop(c + one, columns, [&](auto m) NEURALINV_LAMBDA {
                        x[r][c] = F::template minus_product<careful>(x[r][c], x[r][m], a[(j + c) * pitch + j + m]);
                    });
                    a[(i + r) * pitch + j + c] = x[r][c];
                });
            });
        });
        // The block on the diagonal, column c of it after columns c + 1.. that it needs. y(r) = X(j+r, j+c), r ≥ c
        loop_down(zero, columns, [&](auto c) NEURALINV_LAMBDA {
            Vector<T> y[decltype(columns)::value] = {};
            loop(known, n, [&](auto m) NEURALINV_LAMBDA {
                loop(c, columns, [&](auto r) NEURALINV_LAMBDA {
                    y[r] = F::template minus_product<careful>(y[r], a[m * pitch + j + r], a[(j + c) * pitch + m]);
                });
            });
            loop_down(c, columns, [&](auto r) NEURALINV_LAMBDA {
                if (int(r) == int(c)) y[r] = y[r] + divide<T, careful>(F::constant(1), pivot[j + c]);
                loop(c + one, columns, [&](auto m) NEURALINV_LAMBDA {
                    y[r] = F::template minus_product<careful>(y[r], lower(j + r, j + m), a[(j + c) * pitch + j + m]);
                });
                a[(j + r) * pitch + j + c] = y[r];
            });
        });
    });
}

// Solve A X = B for `width` right-hand sides. a, pivot: as factor_positive leaves them; b: (n, width) B, gives X.
template <class T, class Blocks, bool careful, int width, class N, class P>
NEURALINV_INLINE void solve_factored(const Vector<T>* a, N n, P pitch, const Pivot<T>* pivot, Vector<T>* b) {
    using F = Field<T>;
    const auto each_column = [&](const auto& body) NEURALINV_LAMBDA { loop(zero, Fixed<width>{}, body); };
    constexpr Fixed<width> w{};
    loop_blocks<Blocks::rows>(zero, n, [&](auto i, auto rows) NEURALINV_LAMBDA {  // L Y = B
        Vector<T> y[decltype(rows)::value][width];
        const auto each_row = [&](const auto& body) NEURALINV_LAMBDA { loop(zero, rows, body); };
        each_row([&](auto r) NEURALINV_LAMBDA { each_column([&](auto c) NEURALINV_LAMBDA { y[r][c] = b[(i + r) * w + c]; }); });
        loop(zero, i, [&](auto m) NEURALINV_LAMBDA {
            each_row([&](auto r) NEURALINV_LAMBDA {
                each_column([&](auto c) NEURALINV_LAMBDA {
                    y[r][c] = F::template minus_product<careful>(y[r][c], a[m * pitch + i + r], b[m * w + c]);
                });
            });
        });
        each_row([&](auto r) NEURALINV_LAMBDA {
            each_column([&](auto c) NEURALINV_LAMBDA {
                loop(zero, r, [&](auto m) NEURALINV_LAMBDA {
                    y[r][c] = F::template minus_product<careful>(y[r][c], a[(i + m) * pitch + i + r], y[m][c]);
                });
                b[(i + r) * w + c] = y[r][c];
            });
        });
    });
    loop_blocks_down<Blocks::rows>(zero, n, [&](auto i, auto rows) NEURALINV_LAMBDA {  // Lᵀ X = D⁻¹ Y
        Vector<T> x[decltype(rows)::value][width];
        const auto each_row = [&](const auto& body) NEURALINV_LAMBDA { loop(zero, rows, body); };
        each_row([&](auto r) NEURALINV_LAMBDA {
            each_column([&](auto c) NEURALINV_LAMBDA { x[r][c] = divide<T, careful>(b[(i + r) * w + c], pivot[i + r]); });
        });
        loop(i + rows, n, [&](auto m) NEURALINV_LAMBDA {
            each_row([&](auto r) NEURALINV_LAMBDA {
                each_column([&](auto c) NEURALINV_LAMBDA {
                    x[r][c] = F::template minus_product<careful>(x[r][c], a[(i + r) * pitch + m], b[m * w + c]);
                });
            });
        });
        loop_down(zero, rows, [&](auto r) NEURALINV_LAMBDA {
            each_column([&](auto c) NEURALINV_LAMBDA {
                loop(r + one, rows, [&](auto m) NEURALINV_LAMBDA {
                    x[r][c] = F::template minus_product<careful>(x[r][c], a[(i + r) * pitch + i + m], x[m][c]);
                });
                b[(i + r) * w + c] = x[r][c];
            });
        });
    });
}

}  // namespace neuralinv::NEURALINV_TARGET
