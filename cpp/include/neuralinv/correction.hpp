// A good guess becomes a certified inverse: one product in doubles for the residual R = AX − I, then as many products in T
// as the bound asks for. neuralinv/dense/correction.py has the mathematics.
//
// One matrix after another, so that all that is made of it stays in the second-level cache. T is the real type of S; what
// is made of complex matrices is rows of real numbers, real and imaginary parts side by side.
#pragma once

#include <cstddef>

#include "correction_bounds.hpp"
#include "guesses.hpp"
#include "mirrored.hpp"

namespace neuralinv::NEURALINV_TARGET {

static_assert(largest_corrected <= largest_product);

// Scratch memory of one matrix, n² entries or panels of them.
template <class S>
struct CorrectionMemory {
    using T = RealOf<S>;

    ProductMemory<double>* wide;
    ProductMemory<T>* narrow;
    double* wide_X;  // panels
    T* X;            // rows; where one guess is not in the caller's memory
    T* R;            // panels
    T* R2;           // panels: R² or R − R²
    T* Y;            // rows: between the two products of order 4; in the memory of wide_X, which is read no more by then
    std::int64_t bytes;

    // memory: null to learn how much it takes.
    CorrectionMemory(std::byte* memory, std::int64_t n) : bytes(0) {
        const std::int64_t item = sizeof(T), panel = panel_entries<S>(n);
        take(memory, wide, sizeof *wide);
        take(memory, narrow, sizeof *narrow);
        take(memory, wide_X, panel * std::int64_t(sizeof(double)));
        take(memory, X, n * n * part_count<S> * item);
        take(memory, R, panel * item);
        take(memory, R2, panel * item);
        Y = reinterpret_cast<T*>(wide_X);
    }

   private:
    template <class Item>
    void take(std::byte* memory, Item*& pointer, std::int64_t size) {
        pointer = memory == nullptr ? nullptr : reinterpret_cast<Item*>(memory + bytes);
        bytes += (size + 63) / 64 * 64;
    }
};

// ---- what goes into the products -----------------------------------------------------------------------------------

// A row of X, `width` real numbers, as its past predicts it.
template <class T>
NEURALINV_INLINE void extrapolate_row(int width, int count, const T* const* past, std::int64_t at, T* row) {
    const T *const first = past[0] + at, *const second = past[1] + at;
    if (count == 2) {
        for (int j = 0; j < width; ++j) row[j] = first[j] + (first[j] - second[j]);
    } else if (count == 3) {
        const T* const third = past[2] + at;
        for (int j = 0; j < width; ++j) row[j] = third[j] + 3 * (first[j] - second[j]);
    } else {  // by differences, which hardly round where the past changes slowly
        const T *const third = past[2] + at, *const fourth = past[3] + at;
        for (int j = 0; j < width; ++j)
            row[j] = first[j] + (3 * ((first[j] - second[j]) - (second[j] - third[j])) + (third[j] - fourth[j]));
    }
}

// The approximate inverse, n rows of `width` real numbers, into X where it is made of several, and into panels of doubles.
// Returns ‖X‖_F².
template <class T>
double take_guess(int n, int width, int count, const T* const* past, T* X, double* panels) {
    Vector<double> squares = {};
    const std::int64_t panel = std::int64_t(n) * panel_columns;
    for (int i = 0; i < n; ++i) {
        const std::int64_t at = std::int64_t(i) * width;
        if (count > 1) extrapolate_row(width, count, past, at, X + at);
        for_each_vector<Half<T>>(count > 1 ? X + at : past[0] + at, width, [&](int j, Half<T> entries) NEURALINV_LAMBDA {
            const Vector<double> wide = widened<T>(entries);
            squares += wide * wide;
            store_vector(wide, panels + j / panel_columns * panel + i * panel_columns + j % panel_columns);
        });
    }
    return sum_of_lanes(squares);
}

// A row of A as doubles, a complex one as two. Returns the sum of squares, lane by lane.
template <class S>
NEURALINV_INLINE Vector<double> take_row(int n, const S* row, std::int64_t stride, S* gathered, double* left) {
    using T = RealOf<S>;
    if (stride != 1) {
        for (int j = 0; j < n; ++j) gathered[j] = row[j * stride];
        row = gathered;
    }
    Vector<double> squares = {};
    const T* const source = reinterpret_cast<const T*>(row);
    if constexpr (part_count<S> == 1)
        for_each_vector<Half<T>>(source, n, [&](int j, Half<T> entries) NEURALINV_LAMBDA {
            const Vector<double> wide = widened<T>(entries);
            squares += wide * wide;
            store_vector(wide, left + j);
        });
    else
        for_each_pair<Half<T>>(source, n, [&](int j, Half<T> re, Half<T> im) NEURALINV_LAMBDA {
            const Vector<double> wide_re = widened<T>(re), wide_im = widened<T>(im);
            squares += wide_re * wide_re + wide_im * wide_im;
            store_vector(wide_re, left + j);
            store_vector(wide_im, left + left_pitch<double> + j);
        });
    return squares;
}

// What comes next in memory, fetched while a residual is formed: where this inverse goes, the next matrix and what it is
// guessed from. Matrices of which the cache could not hold two are left to the hardware.
class Ahead {
   public:
    template <class T>
    NEURALINV_INLINE void add(const T* memory, std::int64_t entries) {
        const char* const begin = reinterpret_cast<const char*>(memory);
        stretch_[count_++] = {begin, begin + entries * std::int64_t(sizeof(T))};
    }

    NEURALINV_INLINE Lines take(int lines) {
        if (next_ == count_) return {reinterpret_cast<const char*>(this), 0};
        Stretch& stretch = stretch_[next_];
        const Lines taken{stretch.at, 64};
        stretch.at += 64 * std::int64_t(lines);
        if (stretch.at >= stretch.end) ++next_;
        return taken;
    }

   private:
    struct Stretch {
        const char* at;
        const char* end;
    };
    Stretch stretch_[most_guesses + 2];
    int count_ = 0;
    int next_ = 0;
};

// ---- products ------------------------------------------------------------------------------------------------------

// Rows of the identity: a one amid zeros, read from a place that depends on the row.
struct UnitRow {
    double entries[2 * panel_columns] = {};
    constexpr UnitRow() { entries[panel_columns] = 1; }
};
inline constexpr UnitRow unit_row{};

// R = AX − I in panels of T. Returns ‖R‖_F² before rounding, and adds ‖A‖_F² to square_A.
template <class S>
double form_residual(int n, const S* A, std::int64_t row_stride, std::int64_t column_stride,
                     const CorrectionMemory<S>& memory, Ahead& ahead, double& square_A) {
    using T = RealOf<S>;
    constexpr int parts = part_count<S>;
    S* const gathered = reinterpret_cast<S*>(memory.narrow->left);
    Vector<double> squares_A = {}, squares_R = {};
    const auto fill = [&](int i, int rows, bool first) NEURALINV_LAMBDA {
        for (int r = 0; r < rows; ++r) {
            const Vector<double> squares = take_row(n, A + (i + r) * row_stride, column_stride, gathered,
                                                    memory.wide->left + parts * r * left_pitch<double>);
            if (first) squares_A += squares;
        }
    };
    const auto finish = [&](int i, int rows, int j, int columns, double* tile) NEURALINV_LAMBDA {
        T* const panel = memory.R + std::int64_t(j) * n + std::int64_t(i) * panel_columns;
        for (int r = 0; r < rows; ++r) {
            double* const row = tile + r * panel_columns;
            // Beyond the matrix, where a vector of T is longer than one of doubles, there are zeros.
            for (int v = (columns + lanes<double> - 1) / lanes<double>; v < panel_vectors<double>; ++v)
                store_vector(Vector<double>{}, row + v * lanes<double>);
            const int diagonal = parts * (i + r) - j;
            const bool crosses = diagonal >= 0 && diagonal < panel_columns;
            const double* const identity = unit_row.entries + (crosses ? panel_columns - diagonal : 0);
            static_for<0, panel_vectors<double>>([&](auto v_) NEURALINV_LAMBDA {
                constexpr int at = decltype(v_)::value * lanes<double>;
                const Vector<double> entries = load_vector(row + at) - load_vector(identity + at);
                squares_R += entries * entries;
                store_narrowed(entries, panel + r * panel_columns + at);
            });
        }
    };
    multiply<S>(n, parts * n, memory.wide_X, *memory.wide, ahead, fill, finish);
    square_A = sum_of_lanes(squares_A);
    return sum_of_lanes(squares_R);
}

// R2 = R² or, for minus, R − R²; all in panels.
template <class S, bool minus, class T = RealOf<S>>
void square(int n, const T* R, T* R2, ProductMemory<T>& memory) {
    constexpr int parts = part_count<S>;
    const std::int64_t panel = std::int64_t(n) * panel_columns;
    const auto fill = [&](int i, int rows, bool) NEURALINV_LAMBDA {
        for (int p = 0; p < int(panels(parts * n)); ++p)
            for (int r = 0; r < rows; ++r) {
                const T* const source = R + p * panel + (i + r) * panel_columns;
                T* const target = memory.left + parts * r * left_pitch<T> + p * (panel_columns / parts);
                if constexpr (parts == 1)
                    copy_row(source, panel_columns, target);
                else
                    split_row(source, panel_columns / 2, target);
            }
    };
    const auto finish = [&](int i, int rows, int j, int columns, const T* tile) NEURALINV_LAMBDA {
        const std::int64_t at = std::int64_t(j) * n + std::int64_t(i) * panel_columns;
        for (int r = 0; r < rows; ++r)
            for (int v = 0; v * lanes<T> < columns; ++v) {
                const int entry = r * panel_columns + v * lanes<T>;
                const Vector<T> product = load_vector(tile + entry);
                store_vector(minus ? load_vector(R + at + entry) - product : product, R2 + at + entry);
            }
    };
    NothingAhead<T> nothing{memory.left};
    multiply<S>(n, parts * n, R, memory, nothing, fill, finish);
}

// Y = X + XQ or, for minus, X − XQ; X and Y in rows, Q in panels. A product reads X as often as there are groups of panels:
// Y must lie elsewhere.
template <class S, bool minus, class T = RealOf<S>>
void apply(int n, const T* X, const T* Q, T* Y, ProductMemory<T>& memory) {
    constexpr int parts = part_count<S>;
    const int width = parts * n;
    const auto fill = [&](int i, int rows, bool) NEURALINV_LAMBDA {
        for (int r = 0; r < rows; ++r) {
            const T* const source = X + std::int64_t(i + r) * width;
            T* const target = memory.left + parts * r * left_pitch<T>;
            if constexpr (parts == 1)
                copy_row(source, n, target);
            else
                split_row(source, n, target);
        }
    };
    const auto finish = [&](int i, int rows, int j, int columns, const T* tile) NEURALINV_LAMBDA {
        for (int r = 0; r < rows; ++r) {
            const std::int64_t at = std::int64_t(i + r) * width + j;
            const T* const product = tile + r * panel_columns;
            const auto sum = [&](auto x, auto xq) NEURALINV_LAMBDA { return minus ? x - xq : x + xq; };
            const auto whole = [&](int column) NEURALINV_LAMBDA {
                store_vector(sum(load_vector(X + at + column), load_vector(product + column)), Y + at + column);
            };
            if (columns == panel_columns) {
                static_for<0, panel_vectors<T>>([&](auto v) NEURALINV_LAMBDA { whole(decltype(v)::value * lanes<T>); });
            } else {
                int column = 0;
                for (; column + lanes<T> <= columns; column += lanes<T>) whole(column);
                for (; column < columns; ++column) Y[at + column] = sum(X[at + column], product[column]);
            }
        }
    };
    NothingAhead<T> nothing{memory.left};
    multiply<S>(n, part_count<S> * n, Q, memory, nothing, fill, finish);
}

// Y = X (I − R + … ± R^{order−1}) with R = AX − I; mirrored: A and X are symmetric, and so is every product with X.
template <class S, class T = RealOf<S>>
void correct(int n, int order, bool mirrored, const T* X, const CorrectionMemory<S>& memory, T* Y) {
    const auto times = [&](auto minus, const T* left, const T* right, T* target) NEURALINV_LAMBDA {
        if constexpr (part_count<S> == 1)
            if (mirrored) return apply_mirrored<T, decltype(minus)::value>(n, left, right, target, *memory.narrow);
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

// The inverse of matrix b by elimination; where there is none, something that nothing is proved of.
template <class S>
void invert_exactly(const Guesses<S>& guesses, std::int64_t b, RealOf<S>* X) {
    const MatrixBatch<S>& A = guesses.A;
    const int n = int(A.n);
    const S* const matrix = A.data + b * A.batch_stride;
    const MatrixBatch<S> one{matrix, 1, A.n, 0, A.row_stride, A.column_stride};
    S* const target = reinterpret_cast<S*>(X);
    if constexpr (part_count<S> == 1)
        if (A.column_stride == 1 && has_positive_diagonal(n, matrix, A.row_stride) && is_symmetric(n, matrix, A.row_stride) &&
            guesses.invert_positive(one, 0, 1, target, nullptr).status == success)
            return;
    if (guesses.invert(one, 0, 1, target, nullptr).status != success) X[0] = RealOf<S>(__builtin_nanf(""));
}

template <class S>
void correct_range(const Guesses<S>& guesses, double tolerance, int highest, std::int64_t begin, std::int64_t end,
                   const Corrected<S>& result, std::byte* scratch) {
    using T = RealOf<S>;
    const MatrixBatch<S>& A = guesses.A;
    const int n = int(A.n), width = part_count<S> * n;
    const std::int64_t entries = A.n * width;  // real numbers
    const CorrectionMemory<S> memory(scratch, n);
    for (std::int64_t b = begin; b < end; ++b) {
        const S* const matrix = A.data + b * A.batch_stride;
        T* const X = reinterpret_cast<T*>(result.X) + b * entries;
        const T* past[most_guesses] = {};
        for (int k = 0; k < guesses.count; ++k) past[k] = reinterpret_cast<const T*>(guesses.past[k]) + b * entries;
        if (guesses.count == 0) {
            invert_exactly(guesses, b, memory.X);
            past[0] = memory.X;
        }
        const double square_X = take_guess(n, width, guesses.count, past, memory.X, memory.wide_X);
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
        const Proof proof = prove<S>(n, square_A, square_X, square_R);
        const T* const guess = guesses.count <= 1 ? past[0] : memory.X;
        Choice choice = choose_order<S>(n, proof, tolerance, highest, false);
        bool mirrored = false;
        if constexpr (part_count<S> == 1)
            if (choice.order > 1 && n >= smallest_mirrored && A.column_stride == 1 && is_symmetric(n, matrix, A.row_stride) &&
                is_symmetric<T>(n, guess, n)) {
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
