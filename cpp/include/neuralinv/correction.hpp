// A good guess becomes a certified inverse: one product in doubles for the residual R = AX − I, then as many products in T
// as the bound asks for. neuralinv/dense/correction.py has the mathematics.
//
// One matrix after another, so that all that is made of it stays in the second-level cache. T is the real type of S.
#pragma once

#include "correction_bounds.hpp"
#include "mirrored.hpp"
#include "residual.hpp"

namespace neuralinv::NEURALINV_TARGET {

// Y = X − ZR with R in panels, all else in rows. A product reads Z as often as there are groups of panels: Y must lie elsewhere.
// mirrored: that is Hermitian. Returns ‖ZR‖_F².
template <class S, class T = RealOf<S>>
double improve(int n, bool mirrored, const T* X, const T* Z, T* Y, const CorrectionMemory<S>& memory) {
    if (mirrored) return improve_mirrored<S>(n, X, Z, memory.R, Y, *memory.narrow);
    double square = 0;
    const auto fill = [&](int i, int rows, bool) NEURALINV_LAMBDA {
        for (int r = 0; r < rows; ++r) fill_row<S>(Z + std::int64_t(i + r) * n * part_count<S>, n, r, memory.narrow->left);
    };
    const auto finish = [&](int i, int rows, int j, int columns, T* tile) NEURALINV_LAMBDA {
        square += square_of_tile<S>(rows, columns, tile);
        for (int r = 0; r < rows; ++r) {
            const std::int64_t at = (std::int64_t(i + r) * n + j) * part_count<S>;
            subtract_from_row<S>(X + at, 0, columns, tile + r * panel_columns);
            store_joined<S>(tile + r * panel_columns, 0, columns, Y + at);
        }
    };
    NothingAhead<T> nothing{memory.narrow->left};
    multiply<S>(n, n, memory.R, *memory.narrow, nothing, fill, finish);
    return square;
}

template <class T>
NEURALINV_INLINE void copy_entries(const T* source, std::int64_t entries, T* target) {
    __builtin_memcpy(target, source, std::size_t(entries) * sizeof(T));
}

struct Answer {
    int order;
    double bound;
};

// X corrected with the lowest order that suffices, X itself where none does. The first product tells which one will.
template <class S, class T = RealOf<S>>
Answer correct(int n, Proof proof, double square_X, bool mirrored, double tolerance, int highest, const T* X,
               const CorrectionMemory<S>& memory, T* Y) {
    const std::int64_t entries = std::int64_t(n) * n * part_count<S>;
    if (!(proof.rho <= tolerance) && is_promising<S>(n, proof, tolerance, highest, mirrored)) {
        const double square_XR = improve<S>(n, mirrored, X, X, Y, memory);
        const double deviation = prove_deviation<S>(n, proof, square_X, square_XR, mirrored);
        int order = choose_order<S>(n, proof, deviation, tolerance, highest, mirrored);
        if (order == 1 && mirrored) {  // too much rounding
            mirrored = false;
            order = choose_order<S>(n, proof, deviation, tolerance, highest, mirrored);
            if (order > 1) improve<S>(n, mirrored, X, X, Y, memory);
        }
        if (order > 2) improve<S>(n, mirrored, X, Y, memory.Y, memory);
        if (order == 3) copy_entries(memory.Y, entries, Y);
        if (order == 4) improve<S>(n, mirrored, X, memory.Y, Y, memory);
        if (order > 1) return {order, bound_of_order<S>(order, n, proof, deviation, mirrored)};
    }
    copy_entries(X, entries, Y);
    return {1, proof.rho};
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
        const auto suffices = [&](Proof known) NEURALINV_LAMBDA {
            return known.rho <= tolerance || is_promising<S>(n, known, tolerance, highest, false);
        };
        if constexpr (part_count<S> == 1 && !is_single<S>)
            // Where it is the rounding of the residual that hides a good guess.
            if (!suffices(proof) && has_safe_norms<S>(square_A, square_X) && suffices({__builtin_sqrt(square_R), 0})) {
                const double square = form_doubled_residual(n, matrix, A.row_stride, A.column_stride, memory);
                proof = prove<S, true>(n, square_A, square_X, square);
            }
        const T* const guess = guesses.count <= 1 ? past[0] : memory.X;
        const bool mirrored = proof.rho < 1 && !(proof.rho <= tolerance) && n >= smallest_mirrored && may_be_mirrored<S>(n, proof, tolerance) &&
                              (symmetric || (A.column_stride == 1 && is_hermitian(n, matrix, A.row_stride))) &&
                              is_hermitian(n, reinterpret_cast<const S*>(guess), n);
        const Answer answer = correct(n, proof, square_X, mirrored, tolerance, highest, guess, memory, X);
        result.bounds[b] = answer.bound;
        result.orders[b] = std::int8_t(answer.order);
    }
}

}  // namespace neuralinv::NEURALINV_TARGET
