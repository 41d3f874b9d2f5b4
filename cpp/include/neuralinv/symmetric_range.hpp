// Batches through symmetric_columns.hpp: lower triangles from the caller's memory, whole inverses back.
#pragma once

#include "symmetric_columns.hpp"

namespace neuralinv::NEURALINV_TARGET {

// What the elimination of `together` matrices works in.
template <class T, int together>
class SymmetricWorkspace {
   public:
    Symmetric<T> matrices[together];
    bool available;

    // panels: of 4 by `height` vectors behind the columns, at least Y, Z and W.
    explicit SymmetricWorkspace(int height, int panels = 3) {
        const int padded = height * lanes<T>;
        const std::int64_t vectors = std::int64_t(padded + panels * steps_together) * height + 2 * height;
        void* const memory = room_.take(vectors * NEURALINV_VECTOR_BYTES * together);
        available = memory != nullptr;
        if (!available) return;
        for (int m = 0; m < together; ++m) {
            Symmetric<T>& a = matrices[m];
            a.columns = static_cast<Vector<T>*>(memory) + m * vectors;
            a.y = a.columns + std::int64_t(padded) * height;
            a.pivots = reinterpret_cast<T*>(a.y + panels * steps_together * height);
            a.sizes = a.pivots + padded;
        }
    }

   private:
    Room room_;
};

// Lanes of a row of a block from `first` on are `late`'s, those before it `early`'s.
template <class T>
NEURALINV_INLINE Row<T> joined(Row<T> early, Row<T> late, int first) {
    typedef typename Traits<T>::Integer Numbers __attribute__((vector_size(block_bytes)));
    Numbers lane{};
    static_for<0, block<T>>([&](auto i) NEURALINV_LAMBDA { lane[decltype(i)::value] = decltype(i)::value; });
    return lane >= typename Traits<T>::Integer(first) ? late : early;
}

// Rows i.. and columns j.. of the lower triangle, a block of them, into columns. A block above the diagonal but in its group
// of columns gets what is opposite. Entries above the diagonal are read, and have no effect.
template <class T>
NEURALINV_INLINE void load_block(const T* source, std::int64_t pitch, int i, int j, std::int64_t length, T* columns) {
    constexpr int B = block<T>;
    Row<T> rows[B], turned[B];
    static_for<0, B>([&](auto r) NEURALINV_LAMBDA {
        turned[decltype(r)::value] = rows[decltype(r)::value] = load_row(source + (i + decltype(r)::value) * pitch + j);
    });
    transpose(turned);
    if (i == j) {
        static_for<0, B>([&](auto c) NEURALINV_LAMBDA {
            store_row(joined<T>(rows[decltype(c)::value], turned[decltype(c)::value], decltype(c)::value), columns + (j + decltype(c)::value) * length + i);
        });
        return;
    }
    static_for<0, B>([&](auto c) NEURALINV_LAMBDA { store_row(turned[decltype(c)::value], columns + (j + decltype(c)::value) * length + i); });
    if (i / column_group<T> == j / column_group<T>)
        static_for<0, B>([&](auto r) NEURALINV_LAMBDA { store_row(rows[decltype(r)::value], columns + (i + decltype(r)::value) * length + j); });
}

// Columns of the lower triangle of matrix b, with its diagonal in `sizes`, and of the identity beside it up to a whole pass.
template <class T>
NEURALINV_INLINE void load_columns(const MatrixBatch<T>& A, std::int64_t b, int height, const Symmetric<T>& a, Stretch which) {
    constexpr int B = block<T>;
    const int n = int(A.n), whole = A.column_stride == 1 ? n / B * B : 0;
    const T* const source = A.data + b * A.batch_stride;
    const std::int64_t length = std::int64_t(height) * lanes<T>;
    T* const columns = reinterpret_cast<T*>(a.columns);
    for (int i = which.begin; i < whole; i += B)
        for (int j = which.begin; j <= i && j < which.end; j += B) load_block<T>(source, A.row_stride, i, j, length, columns);
    const int end = (n + steps_together - 1) / steps_together * steps_together;
    for (int j = which.begin; j < end && j < which.end; ++j) {
        T* const column = columns + j * length;
        const int top = j / column_group<T> * column_group<T>;
        for (int i = j < whole ? whole : j; i < n; ++i) {
            const T entry = j < n ? source[i * A.row_stride + j * A.column_stride] : T(0);
            column[i] = entry;
            if (i / column_group<T> * column_group<T> == top) columns[i * length + j] = entry;
        }
        for (int i = n; i < int(length); ++i) column[i] = T(i == j);
        for (int i = top; j >= n && i < n; ++i) column[i] = 0;
        if (j >= n) continue;
        const T entry = source[j * (A.row_stride + A.column_stride)];
        a.sizes[j] = entry < 0 ? -entry : entry;
    }
}

template <class T>
NEURALINV_INLINE void store_part(Row<T> row, int count, T* target) {
    if (count >= block<T>)
        store_row(row, target);
    else
        for (int i = 0; i < count; ++i) target[i] = row[i];
}

// All of it.
template <class T>
NEURALINV_INLINE void load_symmetric(const MatrixBatch<T>& A, std::int64_t b, int height, const Symmetric<T>& a) {
    load_columns(A, b, height, a, {0, height * lanes<T>});
}

// What is left, −A⁻¹ in its lower triangle, as the rows of A⁻¹. target: (n, n) without gaps. which: columns of the lower
// triangle, and what is opposite of them.
template <class T>
NEURALINV_INLINE void store_symmetric(const Symmetric<T>& a, int n, int height, T* target, Stretch which) {
    constexpr int B = block<T>;
    const std::int64_t length = std::int64_t(height) * lanes<T>;
    const T* const columns = reinterpret_cast<const T*>(a.columns);
    for (int j = which.begin; j < n && j < which.end; j += B)
        for (int i = j; i < n; i += B) {
            Row<T> v[B];
            static_for<0, B>([&](auto c) NEURALINV_LAMBDA { v[decltype(c)::value] = Row<T>{} - load_row(columns + (j + decltype(c)::value) * length + i); });
            const int rows = n - i, beside = n - j;
            if (i == j) {  // where both triangles are kept they may be rounded apart
                Row<T> turned[B];
                static_for<0, B>([&](auto c) NEURALINV_LAMBDA { turned[decltype(c)::value] = v[decltype(c)::value]; });
                transpose(turned);
                static_for<0, B>([&](auto c) NEURALINV_LAMBDA {
                    v[decltype(c)::value] = joined<T>(turned[decltype(c)::value], v[decltype(c)::value], decltype(c)::value);
                });
            }
            static_for<0, B>([&](auto c) NEURALINV_LAMBDA {
                if (decltype(c)::value < beside) store_part<T>(v[decltype(c)::value], rows, target + std::int64_t(j + decltype(c)::value) * n + i);
            });
            if (i == j) continue;
            transpose(v);
            static_for<0, B>([&](auto r) NEURALINV_LAMBDA {
                if (decltype(r)::value < rows) store_row(v[decltype(r)::value], target + std::int64_t(i + decltype(r)::value) * n + j);
            });
        }
}

template <class T, int fixed, int together>
NEURALINV_INLINE void invert_symmetric_group(const MatrixBatch<T>& A, const SymmetricWorkspace<T, together>& workspace, int any_height, std::int64_t b,
                                   T* X, Report& report) {
    const int height = fixed > 0 ? fixed : any_height, n = int(A.n);
    for (int m = 0; m < together; ++m) load_symmetric(A, b + m, height, workspace.matrices[m]);
    Ahead ahead = look_ahead(A, b, together, X, symmetric_fetches<fixed, together>(n));
    for (int k = 0; k < n; k += steps_together) exchange<T, fixed, together>(workspace.matrices, height, n, k, ahead);
    for (int m = 0; m < together; ++m) {
        const Symmetric<T>& a = workspace.matrices[m];
        Elimination<T> pivots{};
        pivots.pivots = a.pivots;
        if (__builtin_expect(usable<T, Rounding::fused>(pivots, Structure::positive, a.sizes, n), 1)) {
            store_symmetric(a, n, height, X + (b + m) * n * n, {0, n});
            report(b + m, success);
        } else {
            constexpr auto again = invert_sized_columns<T, 0, Pivots::diagonal, Rounding::apart, 1>;
            report(b + m, again(A, Structure::positive, b + m, b + m + 1, X, nullptr).status);
        }
    }
}

template <class T, int fixed, int together>
std::int64_t invert_symmetric_groups(const MatrixBatch<T>& A, std::int64_t begin, std::int64_t end, T* X, Report& report) {
    const int height = symmetric_height<T>(int(A.n));
    if (end - begin < together) return begin;
    const SymmetricWorkspace<T, together> workspace(height);
    if (!workspace.available) return begin;
    std::int64_t b = begin;
    for (; b + together <= end; b += together) invert_symmetric_group<T, fixed, together>(A, workspace, height, b, X, report);
    return b;
}

template <class T, int fixed, int together>
FirstFailure invert_symmetric_sized(const MatrixBatch<T>& A, std::int64_t begin, std::int64_t end, T* X, Status* info) {
    Report report{{-1, success}, info};
    std::int64_t b = begin;
    if constexpr (together > 1) b = invert_symmetric_groups<T, fixed, together>(A, b, end, X, report);
    b = invert_symmetric_groups<T, fixed, 1>(A, b, end, X, report);
    for (; b < end; ++b) report(b, invert_carefully(A, b, Structure::positive, X + b * A.n * A.n));  // there was no memory
    return report.first;
}

// Invert matrices [begin, end) of A, n ≥ 8. Only lower triangles have an effect.
template <class T>
FirstFailure invert_symmetric(const MatrixBatch<T>& A, std::int64_t begin, std::int64_t end, T* X, Status* info) {
    constexpr int each = group_vectors<T>;
    switch (symmetric_height<T>(int(A.n))) {
        case each: return invert_symmetric_sized<T, each, 4>(A, begin, end, X, info);
        case 2 * each: return invert_symmetric_sized<T, 2 * each, 2>(A, begin, end, X, info);
        case 3 * each: return invert_symmetric_sized<T, 3 * each, 1>(A, begin, end, X, info);
        case 4 * each: return invert_symmetric_sized<T, 4 * each, 1>(A, begin, end, X, info);
        default: return invert_symmetric_sized<T, 0, 1>(A, begin, end, X, info);
    }
}

}  // namespace neuralinv::NEURALINV_TARGET
