// A good guess becomes a certified inverse: one product in doubles for the residual R = AX − I, then as many products in T
// as the bound asks for. neuralinv/dense/correction.py has the mathematics.
//
// One matrix after another, so that all that is made of it stays in the second-level cache.
#pragma once

#include <cstddef>

#include "correction_bounds.hpp"
#include "guesses.hpp"
#include "product.hpp"

namespace neuralinv::NEURALINV_TARGET {

static_assert(largest_corrected <= largest_product);

// Scratch memory of one matrix, n² entries or panels of them.
template <class T>
struct CorrectionMemory {
    ProductMemory<double>* wide;
    ProductMemory<T>* narrow;
    double* wide_X;  // panels
    T* X;            // rows; where they are not in the caller's memory
    T* R;            // panels
    T* S;            // panels: R² or R − R²
    T* Y;            // rows: between the two products of order 4; in the memory of wide_X, which is read no more by then
    std::int64_t bytes;

    // memory: null to learn how much it takes.
    CorrectionMemory(std::byte* memory, std::int64_t n) : bytes(0) {
        const std::int64_t item = sizeof(T), panel = panel_entries(n);
        take(memory, wide, sizeof *wide);
        take(memory, narrow, sizeof *narrow);
        take(memory, wide_X, panel * std::int64_t(sizeof(double)));
        take(memory, X, n * n * item);
        take(memory, R, panel * item);
        take(memory, S, panel * item);
        Y = reinterpret_cast<T*>(wide_X);
    }

   private:
    template <class Item>
    void take(std::byte* memory, Item*& pointer, std::int64_t size) {
        pointer = memory == nullptr ? nullptr : reinterpret_cast<Item*>(memory + bytes);
        bytes += (size + 63) / 64 * 64;
    }
};

NEURALINV_INLINE double sum_of_lanes(Vector<double> x) {
    double sum = 0;
    for (int lane = 0; lane < lanes<double>; ++lane) sum += x[lane];
    return sum;
}

// ---- what goes into the products -----------------------------------------------------------------------------------

// A row of X as its past predicts it.
template <class T>
NEURALINV_INLINE void extrapolate_row(int n, int count, const T* const* past, std::int64_t at, T* row) {
    const T *const first = past[0] + at, *const second = past[1] + at;
    if (count == 2) {
        for (int j = 0; j < n; ++j) row[j] = first[j] + (first[j] - second[j]);
    } else {
        const T* const third = past[2] + at;
        for (int j = 0; j < n; ++j) row[j] = third[j] + 3 * (first[j] - second[j]);
    }
}

// The approximate inverse, into X where it is made of several, and into panels of doubles. Returns ‖X‖_F².
template <class T>
double take_guess(int n, int count, const T* const* past, T* X, double* panels) {
    Vector<double> squares = {};
    const std::int64_t panel = std::int64_t(n) * panel_columns;
    for (int i = 0; i < n; ++i) {
        const std::int64_t at = std::int64_t(i) * n;
        if (count > 1) extrapolate_row(n, count, past, at, X + at);
        for_each_half(count > 1 ? X + at : past[0] + at, n, [&](int j, Half<T> entries) NEURALINV_LAMBDA {
            const Vector<double> wide = widened<T>(entries);
            squares += wide * wide;
            store_vector(wide, panels + j / panel_columns * panel + i * panel_columns + j % panel_columns);
        });
    }
    return sum_of_lanes(squares);
}

// A row of A as doubles. Returns the sum of squares, lane by lane.
template <class T>
NEURALINV_INLINE Vector<double> take_row(int n, const T* row, std::int64_t stride, T* gathered, double* left) {
    if (stride != 1) {
        for (int j = 0; j < n; ++j) gathered[j] = row[j * stride];
        row = gathered;
    }
    Vector<double> squares = {};
    for_each_half(row, n, [&](int j, Half<T> entries) NEURALINV_LAMBDA {
        const Vector<double> wide = widened<T>(entries);
        squares += wide * wide;
        store_vector(wide, left + j);
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
template <class T>
double form_residual(int n, const T* A, std::int64_t row_stride, std::int64_t column_stride,
                     const CorrectionMemory<T>& memory, Ahead& ahead, double& square_A) {
    Vector<double> squares_A = {}, squares_R = {};
    const auto fill = [&](int i, int rows, bool first) NEURALINV_LAMBDA {
        for (int r = 0; r < rows; ++r) {
            const Vector<double> squares = take_row(n, A + (i + r) * row_stride, column_stride, memory.narrow->left,
                                                    memory.wide->left + r * left_pitch<double>);
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
            const int diagonal = i + r - j;
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
    multiply(n, memory.wide_X, *memory.wide, ahead, fill, finish);
    square_A = sum_of_lanes(squares_A);
    return sum_of_lanes(squares_R);
}

// S = R² or, for minus, R − R²; all in panels.
template <bool minus, class T>
void square(int n, const T* R, T* S, ProductMemory<T>& memory) {
    const std::int64_t panel = std::int64_t(n) * panel_columns;
    const auto fill = [&](int i, int rows, bool) NEURALINV_LAMBDA {
        for (int p = 0; p < int(panels(n)); ++p)
            for (int r = 0; r < rows; ++r)
                for (int v = 0; v < panel_vectors<T>; ++v) {
                    const int column = v * lanes<T>;
                    store_vector(load_vector(R + p * panel + (i + r) * panel_columns + column),
                                 memory.left + r * left_pitch<T> + p * panel_columns + column);
                }
    };
    const auto finish = [&](int i, int rows, int j, int columns, const T* tile) NEURALINV_LAMBDA {
        const std::int64_t at = std::int64_t(j) * n + std::int64_t(i) * panel_columns;
        for (int r = 0; r < rows; ++r)
            for (int v = 0; v * lanes<T> < columns; ++v) {
                const int entry = r * panel_columns + v * lanes<T>;
                const Vector<T> product = load_vector(tile + entry);
                store_vector(minus ? load_vector(R + at + entry) - product : product, S + at + entry);
            }
    };
    NothingAhead<T> nothing{memory.left};
    multiply(n, R, memory, nothing, fill, finish);
}

// Y = X + XS or, for minus, X − XS; X and Y in rows, S in panels. A product reads X as often as there are groups of panels:
// Y must lie elsewhere.
template <bool minus, class T>
void apply(int n, const T* X, const T* S, T* Y, ProductMemory<T>& memory) {
    const auto fill = [&](int i, int rows, bool) NEURALINV_LAMBDA {
        for (int r = 0; r < rows; ++r) copy_row(X + std::int64_t(i + r) * n, n, memory.left + r * left_pitch<T>);
    };
    const auto finish = [&](int i, int rows, int j, int columns, T* tile) NEURALINV_LAMBDA {
        const auto sum = [&](int r, int column) NEURALINV_LAMBDA {
            const Vector<T> x = load_vector(memory.left + r * left_pitch<T> + j + column);
            const Vector<T> product = load_vector(tile + r * panel_columns + column);
            return minus ? x - product : x + product;
        };
        for (int r = 0; r < rows; ++r) {
            T* const target = Y + std::int64_t(i + r) * n + j;
            if (columns == panel_columns) {
                static_for<0, panel_vectors<T>>([&](auto v_) NEURALINV_LAMBDA {
                    constexpr int column = decltype(v_)::value * lanes<T>;
                    store_vector(sum(r, column), target + column);
                });
            } else {
                T* const row = tile + r * panel_columns;
                for (int column = 0; column < columns; column += lanes<T>) store_vector(sum(r, column), row + column);
                copy_row(row, columns, target);
            }
        }
    };
    NothingAhead<T> nothing{memory.left};
    multiply(n, S, memory, nothing, fill, finish);
}

// Y = X (I − R + … ± R^{order−1}) with R = AX − I.
template <class T>
void correct(int n, int order, const T* X, const CorrectionMemory<T>& memory, T* Y) {
    switch (order) {
        case 1:
            __builtin_memcpy(Y, X, std::size_t(n) * std::size_t(n) * sizeof(T));
            return;
        case 2:
            return apply<true>(n, X, memory.R, Y, *memory.narrow);
        case 3:  // X − X (R − R²)
            square<true>(n, memory.R, memory.S, *memory.narrow);
            return apply<true>(n, X, memory.S, Y, *memory.narrow);
        default:  // (X − XR)(I + R²)
            square<false>(n, memory.R, memory.S, *memory.narrow);
            apply<true>(n, X, memory.R, memory.Y, *memory.narrow);
            return apply<false>(n, memory.Y, memory.S, Y, *memory.narrow);
    }
}

// ---- a batch -------------------------------------------------------------------------------------------------------

template <class T>
std::int64_t correction_bytes(std::int64_t n) {
    return CorrectionMemory<T>(nullptr, n).bytes;
}

inline constexpr std::int64_t largest_ahead = std::int64_t(128) << 10;  // bytes of a matrix

template <class T>
void correct_range(const Guesses<T>& guesses, double tolerance, int highest, std::int64_t begin, std::int64_t end,
                   const Corrected<T>& result, std::byte* scratch) {
    const MatrixBatch<T>& A = guesses.A;
    const int n = int(A.n);
    const std::int64_t entries = A.n * A.n;
    const CorrectionMemory<T> memory(scratch, n);
    for (std::int64_t b = begin; b < end; ++b) {
        const T* past[most_guesses] = {};
        for (int k = 0; k < guesses.count; ++k) past[k] = guesses.past[k] + b * entries;
        const double square_X = take_guess(n, guesses.count, past, memory.X, memory.wide_X);
        Ahead ahead;
        if (entries * std::int64_t(sizeof(T)) <= largest_ahead) {
            ahead.add(result.X + b * entries, entries);
            if (b + 1 < end) {
                ahead.add(A.data + (b + 1) * A.batch_stride, entries);
                for (int k = 0; k < guesses.count; ++k) ahead.add(past[k] + entries, entries);
            }
        }
        double square_A = 0;
        const double square_R =
            form_residual(n, A.data + b * A.batch_stride, A.row_stride, A.column_stride, memory, ahead, square_A);
        const Choice choice = choose_order<T>(n, prove<T>(n, square_A, square_X, square_R), tolerance, highest);
        correct(n, choice.order, guesses.count == 1 ? past[0] : memory.X, memory, result.X + b * entries);
        result.bounds[b] = choice.bound;
        result.orders[b] = std::int8_t(choice.order);
    }
}

}  // namespace neuralinv::NEURALINV_TARGET
