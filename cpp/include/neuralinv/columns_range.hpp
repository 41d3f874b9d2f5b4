// Ranges of a batch through the elimination of columns.hpp, n ≥ 8: inverses, solutions, determinants.
//
// Matrices with a pivot that cannot be trusted are eliminated again with products and sums rounded apart, which finds a
// pivot zero where LAPACK does; from there they go to careful.hpp if a reciprocal leaves the range.
#pragma once

#include "careful.hpp"
#include "columns_direct.hpp"
#include "columns_memory.hpp"
#include "report.hpp"
#include "room.hpp"

namespace neuralinv::NEURALINV_TARGET {

template <class T>
NEURALINV_INLINE int height_of(int n) {
    return (n + lanes<T> - 1) / lanes<T>;
}

// What `together` eliminations work in.
template <class T, int together>
class Workspace {
   public:
    Elimination<T> eliminations[together];
    T* sizes[together];      // (n), rounded up to blocks: the largest modulus of each column
    int* steps[together];    // (n): the inverse of rows
    bool available;

    // count: columns in all.
    Workspace(int count, int height) {
        const int padded = height * lanes<T>;
        const std::int64_t vectors = std::int64_t(count + rank + 2) * height + 4 * height;
        void* const memory = room_.take(vectors * NEURALINV_VECTOR_BYTES * together);
        available = memory != nullptr;
        if (!available) return;
        for (int m = 0; m < together; ++m) {
            Elimination<T>& e = eliminations[m];
            e.columns = static_cast<Vector<T>*>(memory) + m * vectors;
            e.multipliers = e.columns + std::int64_t(count) * height;
            e.closed = reinterpret_cast<Bits<T>*>(e.multipliers + rank * height);
            e.reciprocals = e.multipliers + (rank + 1) * height;
            e.pivots = reinterpret_cast<T*>(e.reciprocals + height);
            sizes[m] = e.pivots + padded;
            e.rows = reinterpret_cast<int*>(sizes[m] + padded);
            steps[m] = e.rows + padded;
        }
    }

   private:
    Room room_;
};

template <class T>
NEURALINV_INLINE void load_matrix(const MatrixBatch<T>& A, Structure structure, std::int64_t b, int height,
                                  Elimination<T>& e, T* sizes) {
    const int n = int(A.n);
    const T* source = A.data + b * A.batch_stride;
    T* columns = reinterpret_cast<T*>(e.columns);
    if (structure == Structure::positive)
        load_lower_triangle(source, A.row_stride, A.column_stride, n, height, columns, sizes);
    else if (A.column_stride == 1)
        load_rows(source, A.row_stride, n, n, height, columns, sizes);
    else
        load_entries(source, A.row_stride, A.column_stride, n, n, height, columns, sizes);
    for (int v = 0; v < height; ++v) {
        e.closed[v] = missing_lanes<T>(n, v);
        e.reciprocals[v] = Vector<T>{};
    }
}

// The right-hand sides of system b. to: (B.columns, height).
template <class T>
NEURALINV_INLINE void load_right_sides(const RightSides<T>& B, std::int64_t b, int n, int height, Vector<T>* to) {
    const T* source = B.data + b * B.batch_stride;
    T* columns = reinterpret_cast<T*>(to);
    if (B.column_stride == 1 && B.columns >= block<T>)
        load_rows<T>(source, B.row_stride, n, int(B.columns), height, columns, nullptr);
    else
        load_entries<T>(source, B.row_stride, B.column_stride, n, int(B.columns), height, columns, nullptr);
}

// Whether all pivots can be used: numbers whose reciprocals are in range, and, if roundings were not LAPACK's, not so small
// that rounding may have made them out of zeros (or, of a positive definite matrix, the other way round), of columns whose
// entries leave room for sums. sizes: (n).
template <class T, Rounding rounding>
NEURALINV_INLINE bool usable(const Elimination<T>& e, Structure structure, const T* sizes, int n) {
    const T small = rounding == Rounding::fused ? rounding_errors<T>(n) : T(0);
    bool fine = true;
    for (int k = 0; k < n; ++k) {
        const T size = e.pivots[k] < 0 && structure == Structure::general ? -e.pivots[k] : e.pivots[k];
        fine &= bool(rounding == Rounding::apart || sizes[k] <= largest_summand<T>) & bool(size > small * sizes[k]) & bool(size >= Traits<T>::smallest_normal) &
                bool(size <= 1 / Traits<T>::smallest_normal);
    }
    return fine;
}

// ---- inverses ------------------------------------------------------------------------------------------------------

template <class T, int fixed, Pivots choice, Rounding rounding, int together>
FirstFailure invert_sized_columns(const MatrixBatch<T>& A, Structure structure, std::int64_t begin, std::int64_t end, T* X,
                                  Status* info);

// direct: without transposing, where the matrices lie row by row.
template <class T, int fixed, Pivots choice, Rounding rounding, int together, bool direct>
inline void invert_group(const MatrixBatch<T>& A, Structure structure, Workspace<T, together>& workspace, int any_height,
                         std::int64_t b, T* X, Report& report) {
    const int height = fixed > 0 ? fixed : any_height, n = int(A.n);
    Bits<T> largest[together];
    for (int m = 0; m < together; ++m) {
        if constexpr (direct)
            largest[m] = load_direct<T, fixed>(A.data + (b + m) * A.batch_stride, A.row_stride, n, workspace.eliminations[m]);
        else
            load_matrix(A, structure, b + m, height, workspace.eliminations[m], workspace.sizes[m]);
    }
    eliminate<T, fixed, Wanted::inverse, choice, rounding, together>(workspace.eliminations, height, n, n,
                                                                     look_ahead(A, b, together, X, fetches<fixed, Wanted::inverse, together>(n, n)));
    for (int m = 0; m < together; ++m) {
        const Elimination<T>& e = workspace.eliminations[m];
        bool fine;
        if constexpr (direct) {
            fine = clearly_usable<T, fixed>(e, largest[m], n);
            if (__builtin_expect(!fine, 0)) {
                measure_rows(A.data + (b + m) * A.batch_stride, A.row_stride, n, workspace.sizes[m]);
                fine = usable<T, rounding>(e, structure, workspace.sizes[m], n);
            }
        } else {
            fine = usable<T, rounding>(e, structure, workspace.sizes[m], n);
        }
        if (__builtin_expect(!fine, 0)) {
            if constexpr (rounding == Rounding::fused) {
                constexpr auto again = invert_sized_columns<T, 0, choice, Rounding::apart, 1>;
                report(b + m, again(A, structure, b + m, b + m + 1, X, nullptr).status);
            } else {
                report(b + m, invert_carefully(A, b + m, structure, X + (b + m) * n * n));
            }
            continue;
        }
        for (int k = 0; k < n; ++k) workspace.steps[m][e.rows[k]] = k;
        if constexpr (direct)
            store_direct<T, fixed>(e, n, workspace.steps[m], X + (b + m) * n * n);
        else
            store_rows<T, Wanted::inverse>(e, n, height, 0, n, workspace.steps[m], X + (b + m) * n * n);
        report(b + m, success);
    }
}

// Matrices [begin, end) in groups of `together`; returns where it stopped.
template <class T, int fixed, Pivots choice, Rounding rounding, int together>
inline std::int64_t invert_groups(const MatrixBatch<T>& A, Structure structure, std::int64_t begin, std::int64_t end, T* X,
                                  Report& report) {
    const int height = height_of<T>(int(A.n));
    if (end - begin < together) return begin;
    Workspace<T, together> workspace(int(A.n), height);
    if (!workspace.available) return begin;
    std::int64_t b = begin;
    if constexpr (choice == Pivots::largest && rounding == Rounding::fused && fixed > 0 && picks_lanes<T>(fixed))
        if (A.column_stride == 1) {
            for (; b + together <= end; b += together)
                invert_group<T, fixed, choice, rounding, together, true>(A, structure, workspace, height, b, X, report);
            return b;
        }
    for (; b + together <= end; b += together)
        invert_group<T, fixed, choice, rounding, together, false>(A, structure, workspace, height, b, X, report);
    return b;
}

template <class T, int fixed, Pivots choice, Rounding rounding, int together>
FirstFailure invert_sized_columns(const MatrixBatch<T>& A, Structure structure, std::int64_t begin, std::int64_t end, T* X,
                                  Status* info) {
    Report report{{-1, success}, info};
    std::int64_t b = begin;
    if constexpr (together > 1) b = invert_groups<T, fixed, choice, rounding, together>(A, structure, b, end, X, report);
    b = invert_groups<T, fixed, choice, rounding, 1>(A, structure, b, end, X, report);
    for (; b < end; ++b) report(b, invert_carefully(A, b, structure, X + b * A.n * A.n));  // there was no memory
    return report.first;
}

// Invert general matrices [begin, end) of A, n ≥ 8; positive definite ones: symmetric_range.hpp.
template <class T>
FirstFailure invert_columns(const MatrixBatch<T>& A, std::int64_t begin, std::int64_t end, T* X, Status* info) {
    constexpr Structure general = Structure::general;
    constexpr Pivots largest = Pivots::largest;
    constexpr Rounding fused = Rounding::fused;
    switch (height_of<T>(int(A.n))) {
        case 1: return invert_sized_columns<T, 1, largest, fused, 4>(A, general, begin, end, X, info);
        case 2: return invert_sized_columns<T, 2, largest, fused, 2>(A, general, begin, end, X, info);
        case 3: return invert_sized_columns<T, 3, largest, fused, 1>(A, general, begin, end, X, info);
        case 4: return invert_sized_columns<T, 4, largest, fused, 1>(A, general, begin, end, X, info);
        default: return invert_sized_columns<T, 0, largest, fused, 1>(A, general, begin, end, X, info);
    }
}

// ---- solutions -----------------------------------------------------------------------------------------------------

template <class T, int fixed, Pivots choice, Rounding rounding>
FirstFailure solve_sized_columns(const MatrixBatch<T>& A, const RightSides<T>& B, Structure structure, std::int64_t begin,
                                 std::int64_t end, T* X, Status* info) {
    const int n = int(A.n), count = n + int(B.columns), height = height_of<T>(n);
    Report report{{-1, success}, info};
    Workspace<T, 1> workspace(count, height);
    for (std::int64_t b = begin; b < end; ++b) {
        if (!workspace.available) {
            report(b, solve_carefully(A, B, b, structure, X + b * n * B.columns));
            continue;
        }
        Elimination<T>& e = workspace.eliminations[0];
        load_matrix(A, structure, b, height, e, workspace.sizes[0]);
        load_right_sides(B, b, n, height, e.columns + std::int64_t(n) * height);
        eliminate<T, fixed, Wanted::solution, choice, rounding, 1>(&e, height, n, count, look_ahead(A, B, b, 1, fetches<fixed, Wanted::solution, 1>(n, count)));
        if (__builtin_expect(!usable<T, rounding>(e, structure, workspace.sizes[0], n), 0)) {
            if constexpr (rounding == Rounding::fused) {
                constexpr auto again = solve_sized_columns<T, 0, choice, Rounding::apart>;
                report(b, again(A, B, structure, b, b + 1, X, nullptr).status);
            } else {
                report(b, solve_carefully(A, B, b, structure, X + b * n * B.columns));
            }
            continue;
        }
        for (int k = 0; k < n; ++k) workspace.steps[0][e.rows[k]] = k;
        store_rows<T, Wanted::solution>(e, n, height, n, int(B.columns), workspace.steps[0], X + b * n * B.columns);
        report(b, success);
    }
    return report.first;
}

// Solve systems [begin, end), n ≥ 8. X: (count, n, columns).
template <class T>
FirstFailure solve_columns(const MatrixBatch<T>& A, const RightSides<T>& B, Structure structure, std::int64_t begin,
                           std::int64_t end, T* X, Status* info) {
    constexpr Pivots largest = Pivots::largest;
    constexpr Rounding fused = Rounding::fused;
    if (structure == Structure::positive)
        return solve_sized_columns<T, 0, Pivots::diagonal, fused>(A, B, structure, begin, end, X, info);
    switch (height_of<T>(int(A.n))) {
        case 2: return solve_sized_columns<T, 2, largest, fused>(A, B, structure, begin, end, X, info);
        case 3: return solve_sized_columns<T, 3, largest, fused>(A, B, structure, begin, end, X, info);
        case 4: return solve_sized_columns<T, 4, largest, fused>(A, B, structure, begin, end, X, info);
        default: return solve_sized_columns<T, 0, largest, fused>(A, B, structure, begin, end, X, info);
    }
}

// ---- determinants --------------------------------------------------------------------------------------------------

// Whether the permutation k → rows[k] is odd. steps: (n), overwritten.
inline bool is_odd(const int* rows, int n, int* steps) {
    bool odd = false;
    for (int k = 0; k < n; ++k) steps[k] = rows[k];
    for (int k = 0; k < n; ++k)
        while (steps[k] != k) {
            const int other = steps[k];
            steps[k] = steps[other];
            steps[other] = other;
            odd = !odd;
        }
    return odd;
}

template <class T, int fixed, Pivots choice, Rounding rounding>
FirstFailure slogdet_sized_columns(const MatrixBatch<T>& A, Structure structure, std::int64_t begin, std::int64_t end,
                                   T* sign, T* logabsdet, Status* info) {
    const int n = int(A.n), height = height_of<T>(n);
    Report report{{-1, success}, info};
    Workspace<T, 1> workspace(n, height);
    for (std::int64_t b = begin; b < end; ++b) {
        if (!workspace.available) {
            report(b, slogdet_carefully(A, b, structure, sign + b, logabsdet + b));
            continue;
        }
        Elimination<T>& e = workspace.eliminations[0];
        load_matrix(A, structure, b, height, e, workspace.sizes[0]);
        eliminate<T, fixed, Wanted::solution, choice, rounding, 1>(&e, height, n, n, look_ahead(A, b, 1, fetches<fixed, Wanted::solution, 1>(n, n)));
        if (__builtin_expect(usable<T, rounding>(e, structure, workspace.sizes[0], n), 1)) {
            slogdet_of_pivots(e.pivots, n, is_odd(e.rows, n, workspace.steps[0]), sign + b, logabsdet + b);
            report(b, success);
        } else if constexpr (rounding == Rounding::fused) {
            constexpr auto again = slogdet_sized_columns<T, 0, choice, Rounding::apart>;
            report(b, again(A, structure, b, b + 1, sign, logabsdet, nullptr).status);
        } else {
            report(b, slogdet_carefully(A, b, structure, sign + b, logabsdet + b));
        }
    }
    return report.first;
}

// Determinants of matrices [begin, end), n ≥ 8. Failures: of positive matrices only; a singular one has determinant 0.
template <class T>
FirstFailure slogdet_columns(const MatrixBatch<T>& A, Structure structure, std::int64_t begin, std::int64_t end, T* sign,
                             T* logabsdet, Status* info) {
    constexpr Pivots largest = Pivots::largest;
    constexpr Rounding fused = Rounding::fused;
    if (structure == Structure::positive)
        return slogdet_sized_columns<T, 0, Pivots::diagonal, fused>(A, structure, begin, end, sign, logabsdet, info);
    switch (height_of<T>(int(A.n))) {
        case 2: return slogdet_sized_columns<T, 2, largest, fused>(A, structure, begin, end, sign, logabsdet, info);
        case 3: return slogdet_sized_columns<T, 3, largest, fused>(A, structure, begin, end, sign, logabsdet, info);
        case 4: return slogdet_sized_columns<T, 4, largest, fused>(A, structure, begin, end, sign, logabsdet, info);
        default: return slogdet_sized_columns<T, 0, largest, fused>(A, structure, begin, end, sign, logabsdet, info);
    }
}

}  // namespace neuralinv::NEURALINV_TARGET
