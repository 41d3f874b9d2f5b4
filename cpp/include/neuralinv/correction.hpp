// A good guess becomes a certified inverse: one product in doubles for the residual R = AX − I, then as many products in T
// as the bound asks for. neuralinv/dense/correction.py has the mathematics.
//
// One matrix after another, so that all that is made of it stays in the second-level cache. T is the real type of S.
#pragma once

#include "correction_bounds.hpp"
#include "mirrored.hpp"
#include "residual.hpp"

namespace neuralinv::NEURALINV_TARGET {

// R2 = R² or, for minus, R − R²; all in panels.
template <class S, bool minus, class T = RealOf<S>>
void square(int n, const T* R, T* R2, PlanesMemory<S, T>& memory) {
    const std::int64_t panel = std::int64_t(n) * panel_columns, plane = panel_entries(n);
    const auto fill = [&](int i, int rows, bool) NEURALINV_LAMBDA {
        for (int q = 0; q < plane_count<S>; ++q)
            for (int p = 0; p < int(panels(n)); ++p)
                for (int r = 0; r < rows; ++r)
                    copy_row(R + q * plane + p * panel + (i + r) * panel_columns, panel_columns,
                             memory.left + (q * tile_rows<T> + r) * left_pitch<T> + p * panel_columns);
    };
    const auto finish = [&](int i, int rows, int j, int columns, const T* tile) NEURALINV_LAMBDA {
        const std::int64_t at = std::int64_t(j) * n + std::int64_t(i) * panel_columns;
        for (int r = 0; r < rows; ++r)
            for (int v = 0; v * lanes<T> < columns; ++v) {
                const int entry = r * panel_columns + v * lanes<T>;
                const auto part = [&](int which) NEURALINV_LAMBDA {
                    const Vector<T> product = load_vector(tile + which * tile_rows<T> * panel_columns + entry);
                    return minus ? load_vector(R + which * plane + at + entry) - product : product;
                };
                if constexpr (part_count<S> == 1)
                    store_entry(R2 + at + entry, plane, part(0));
                else
                    store_entry(R2 + at + entry, plane, part(0), part(1));
            }
    };
    NothingAhead<T> nothing{memory.left};
    multiply<S>(n, n, R, memory, nothing, fill, finish);
}

// Y = X + XQ or, for minus, X − XQ; X and Y in rows, Q in panels. A product reads X as often as there are groups of panels:
// Y must lie elsewhere.
template <class S, bool minus, class T = RealOf<S>>
void apply(int n, const T* X, const T* Q, T* Y, PlanesMemory<S, T>& memory) {
    const auto fill = [&](int i, int rows, bool) NEURALINV_LAMBDA {
        for (int r = 0; r < rows; ++r) fill_row<S>(X + std::int64_t(i + r) * n * part_count<S>, n, r, memory.left);
    };
    const auto finish = [&](int i, int rows, int j, int columns, T* tile) NEURALINV_LAMBDA {
        for (int r = 0; r < rows; ++r) {
            const std::int64_t at = (std::int64_t(i + r) * n + j) * part_count<S>;
            add_row<S, minus>(X + at, 0, columns, tile + r * panel_columns);
            store_joined<S>(tile + r * panel_columns, 0, columns, Y + at);
        }
    };
    NothingAhead<T> nothing{memory.left};
    multiply<S>(n, n, Q, memory, nothing, fill, finish);
}

// Y = X (I − R + … ± R^{order−1}) with R = AX − I; mirrored: A and X are Hermitian, and so is every product with X.
template <class S, class T = RealOf<S>>
void correct(int n, int order, bool mirrored, const T* X, const CorrectionMemory<S>& memory, T* Y) {
    const auto times = [&](auto minus, const T* left, const T* right, T* target) NEURALINV_LAMBDA {
        if (mirrored) return apply_mirrored<S, decltype(minus)::value>(n, left, right, target, *memory.narrow);
        apply<S, decltype(minus)::value>(n, left, right, target, *memory.narrow);
    };
    constexpr Index<1> minus{};
    constexpr Index<0> plus{};
    switch (order) {
        case 1:
            __builtin_memcpy(Y, X, std::size_t(n) * std::size_t(n) * sizeof(S));
            return;
        case 2:
            return times(minus, X, memory.R, Y);
        case 3:  // X − X (R − R²)
            square<S, true>(n, memory.R, memory.R2, *memory.narrow);
            return times(minus, X, memory.R2, Y);
        default:  // (X − XR)(I + R²)
            square<S, false>(n, memory.R, memory.R2, *memory.narrow);
            times(minus, X, memory.R, memory.Y);
            return times(plus, memory.Y, memory.R2, Y);
    }
}

// ---- a batch -------------------------------------------------------------------------------------------------------

template <class S>
std::int64_t correction_bytes(std::int64_t n) {
    return CorrectionMemory<S>(nullptr, n).bytes;
}

inline constexpr std::int64_t largest_ahead = std::int64_t(128) << 10;  // bytes of a matrix

// The inverse of matrix b by elimination; where there is none, something that nothing is proved of. Returns whether A was seen
// to be symmetric.
template <class S>
bool invert_exactly(const Guesses<S>& guesses, std::int64_t b, RealOf<S>* X) {
    const MatrixBatch<S>& A = guesses.A;
    const int n = int(A.n);
    const S* const matrix = A.data + b * A.batch_stride;
    const MatrixBatch<S> one{matrix, 1, A.n, 0, A.row_stride, A.column_stride};
    S* const target = reinterpret_cast<S*>(X);
    bool symmetric = false;
    if constexpr (part_count<S> == 1) {
        symmetric = A.column_stride == 1 && has_positive_diagonal(n, matrix, A.row_stride) && is_hermitian(n, matrix, A.row_stride);
        if (symmetric && guesses.invert_positive(one, 0, 1, target, nullptr).status == success) return true;
    }
    if (guesses.invert(one, 0, 1, target, nullptr).status != success) X[0] = RealOf<S>(__builtin_nanf(""));
    return symmetric;
}

template <class S>
void correct_range(const Guesses<S>& guesses, double tolerance, int highest, std::int64_t begin, std::int64_t end,
                   const Corrected<S>& result, std::byte* scratch) {
    using T = RealOf<S>;
    const MatrixBatch<S>& A = guesses.A;
    const int n = int(A.n);
    const std::int64_t entries = A.n * A.n * part_count<S>;  // real numbers
    const CorrectionMemory<S> memory(scratch, n);
    for (std::int64_t b = begin; b < end; ++b) {
        const S* const matrix = A.data + b * A.batch_stride;
        T* const X = reinterpret_cast<T*>(result.X) + b * entries;
        const T* past[most_guesses] = {};
        for (int k = 0; k < guesses.count; ++k) past[k] = reinterpret_cast<const T*>(guesses.past[k]) + b * entries;
        bool symmetric = false;  // as far as is known: A is looked at where that can help
        if (guesses.count == 0) {
            symmetric = invert_exactly(guesses, b, memory.X);
            past[0] = memory.X;
        }
        const double square_X = take_guess<S>(n, guesses.count, past, memory.X, memory.wide_X);
        Ahead ahead;
        if (entries * std::int64_t(sizeof(T)) <= largest_ahead) {
            ahead.add(X, entries);
            if (b + 1 < end) {
                ahead.add(reinterpret_cast<const T*>(matrix + A.batch_stride), entries);
                for (int k = 0; k < guesses.count; ++k) ahead.add(past[k] + entries, entries);
            }
        }
        double square_A = 0;
        const double square_R = form_residual(n, matrix, A.row_stride, A.column_stride, memory, ahead, square_A);
        Proof proof = prove<S>(n, square_A, square_X, square_R);
        const T* const guess = guesses.count <= 1 ? past[0] : memory.X;
        Choice choice = choose_order<S>(n, proof, tolerance, highest, false);
        if constexpr (part_count<S> == 1 && !is_single<S>)
            // Where it is the rounding of the residual that hides a good guess.
            if (!(choice.bound <= tolerance) && has_safe_norms<S>(square_A, square_X) &&
                choose_order<S>(n, {__builtin_sqrt(square_R), 0}, tolerance, highest, false).bound <= tolerance) {
                const double square = form_doubled_residual(n, matrix, A.row_stride, A.column_stride, memory);
                proof = prove<S, true>(n, square_A, square_X, square);
                choice = choose_order<S>(n, proof, tolerance, highest, false);
            }
        bool mirrored = false;
        if (choice.order > 1 && n >= smallest_mirrored &&
            (symmetric || (A.column_stride == 1 && is_hermitian(n, matrix, A.row_stride))) &&
            is_hermitian(n, reinterpret_cast<const S*>(guess), n)) {
            const Choice half = choose_order<S>(n, proof, tolerance, highest, true);
            mirrored = half.order == choice.order;
            if (mirrored) choice = half;
        }
        correct(n, choice.order, mirrored, guess, memory, X);
        result.bounds[b] = choice.bound;
        result.orders[b] = std::int8_t(choice.order);
    }
}

}  // namespace neuralinv::NEURALINV_TARGET
