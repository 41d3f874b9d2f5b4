// The residual R = AX − I of an approximate inverse, in doubles or in twice their precision, and what goes into it.
//
// T is the real type of S; complex matrices are kept as they come, and multiplied in planes of real numbers.
#pragma once

#include <cstddef>

#include "doubled.hpp"
#include "guesses.hpp"
#include "planes.hpp"

namespace neuralinv::NEURALINV_TARGET {

static_assert(largest_corrected <= largest_product);

// Scratch memory of one matrix, n² entries or panels of them.
template <class S>
struct CorrectionMemory {
    using T = RealOf<S>;

    PlanesMemory<S, double>* wide;
    PlanesMemory<S, T>* narrow;
    double* wide_X;  // panels
    T* X;            // rows; where one guess is not in the caller's memory
    T* R;            // panels
    T* Y;            // rows: between products; in the memory of wide_X, which is read no more by then
    std::int64_t bytes;

    // memory: null to learn how much it takes.
    CorrectionMemory(std::byte* memory, std::int64_t n) : bytes(0) {
        const std::int64_t item = sizeof(T), panel = plane_count<S> * panel_entries(n);
        take_piece(memory, bytes, wide, sizeof *wide);
        take_piece(memory, bytes, narrow, sizeof *narrow);
        take_piece(memory, bytes, wide_X, panel * std::int64_t(sizeof(double)));
        take_piece(memory, bytes, X, n * n * part_count<S> * item);
        take_piece(memory, bytes, R, panel * item);
        Y = reinterpret_cast<T*>(wide_X);
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
template <class S, class T = RealOf<S>>
double take_guess(int n, int count, const T* const* past, T* X, double* panels) {
    constexpr int width = part_count<S>;
    Vector<double> squares = {};
    const std::int64_t panel = std::int64_t(n) * panel_columns, plane = panel_entries(n);
    for (int i = 0; i < n; ++i) {
        const std::int64_t at = std::int64_t(i) * n * width;
        if (count > 1) extrapolate_row(n * width, count, past, at, X + at);
        const T* const row = count > 1 ? X + at : past[0] + at;
        const auto place = [&](int j) NEURALINV_LAMBDA { return panels + j / panel_columns * panel + i * panel_columns + j % panel_columns; };
        if constexpr (width == 1)
            for_each_vector<Half<T>>(row, n, [&](int j, Half<T> entries) NEURALINV_LAMBDA {
                const Vector<double> wide = widened<T>(entries);
                squares += wide * wide;
                store_vector(wide, place(j));
            });
        else
            for_each_pair<Half<T>>(row, n, [&](int j, Half<T> re, Half<T> im) NEURALINV_LAMBDA {
                const Vector<double> wide_re = widened<T>(re), wide_im = widened<T>(im);
                squares += wide_re * wide_re + wide_im * wide_im;
                store_entry(place(j), plane, wide_re, wide_im);
            });
    }
    return sum_of_lanes(squares);
}

// A row of A as doubles: keep(j, entries), or keep(j, re, im) of a complex one, gets as many as a vector has, from entry j
// on, and zeros beyond the row. Returns the sum of squares, lane by lane.
template <class S, class Keep>
NEURALINV_INLINE Vector<double> take_row(int n, const S* row, std::int64_t stride, S* gathered, const Keep& keep) {
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
            keep(j, wide);
        });
    else
        for_each_pair<Half<T>>(source, n, [&](int j, Half<T> re, Half<T> im) NEURALINV_LAMBDA {
            const Vector<double> wide_re = widened<T>(re), wide_im = widened<T>(im);
            squares += wide_re * wide_re + wide_im * wide_im;
            keep(j, wide_re, wide_im);
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

// ---- residuals -----------------------------------------------------------------------------------------------------

// Rows of the identity: a one amid zeros, read from a place that depends on the row.
struct UnitRow {
    double entries[2 * panel_columns] = {};
    constexpr UnitRow() { entries[panel_columns] = 1; }
};
inline constexpr UnitRow unit_row{};

// Row i of I as it lies in columns j.. of a panel.
NEURALINV_INLINE const double* identity_row(int i, int j) {
    const int diagonal = i - j;
    return unit_row.entries + (diagonal >= 0 && diagonal < panel_columns ? panel_columns - diagonal : 0);
}

// R = AX − I in panels of T. Returns ‖R‖_F² before rounding, and adds ‖A‖_F² to square_A.
template <class S>
double form_residual(int n, const S* A, std::int64_t row_stride, std::int64_t column_stride,
                     const CorrectionMemory<S>& memory, Ahead& ahead, double& square_A) {
    using T = RealOf<S>;
    constexpr int left_plane = tile_rows<double> * left_pitch<double>, tile_plane = tile_rows<double> * panel_columns;
    const std::int64_t plane = panel_entries(n);
    S* const gathered = reinterpret_cast<S*>(memory.narrow->left);
    Vector<double> squares_A = {}, squares_R = {};
    const auto fill = [&](int i, int rows, bool first) NEURALINV_LAMBDA {
        for (int r = 0; r < rows; ++r) {
            double* const left = memory.wide->left + r * left_pitch<double>;
            const Vector<double> squares = take_row(n, A + (i + r) * row_stride, column_stride, gathered, [&](int j, auto... entries) NEURALINV_LAMBDA {
                store_entry(left + j, left_plane, entries...);
            });
            if (first) squares_A += squares;
        }
    };
    const auto finish = [&](int i, int rows, int j, int columns, double* tile) NEURALINV_LAMBDA {
        T* const panel = memory.R + std::int64_t(j) * n + std::int64_t(i) * panel_columns;
        for (int r = 0; r < rows; ++r) {
            double* const row = tile + r * panel_columns;
            // Beyond the matrix, where a vector of T is longer than one of doubles, there are zeros.
            for (int part = 0; part < part_count<S>; ++part)
                for (int v = (columns + lanes<double> - 1) / lanes<double>; v < panel_vectors<double>; ++v)
                    store_vector(Vector<double>{}, row + part * tile_plane + v * lanes<double>);
            const double* const identity = identity_row(i + r, j);
            static_for<0, panel_vectors<double>>([&](auto v_) NEURALINV_LAMBDA {
                constexpr int at = decltype(v_)::value * lanes<double>;
                const Vector<double> entries = load_vector(row + at) - load_vector(identity + at);
                squares_R += entries * entries;
                T* const target = panel + r * panel_columns + at;
                if constexpr (part_count<S> == 1) {
                    store_entry(target, plane, narrowed<T>(entries));
                } else {
                    const Vector<double> im = load_vector(row + tile_plane + at);
                    squares_R += im * im;
                    store_entry(target, plane, narrowed<T>(entries), narrowed<T>(im));
                }
            });
        }
    };
    multiply<S>(n, n, memory.wide_X, *memory.wide, ahead, fill, finish);
    square_A = sum_of_lanes(squares_A);
    return sum_of_lanes(squares_R);
}

// Vectors first..first+count-1 of the panel of R that begins at column j, in row i, with sums in twice the precision of
// doubles. left: row i of A.
template <int count>
NEURALINV_INLINE Vector<double> form_doubled(int n, const double* left, const double* panel, int i, int j, int first, double* R) {
    const double* const identity = identity_row(i, j);
    DoubledSum sums[count];
    static_for<0, count>([&](auto v) NEURALINV_LAMBDA {
        sums[decltype(v)::value] = {Vector<double>{} - load_vector(identity + (first + decltype(v)::value) * lanes<double>)};
    });
    for (int k = 0; k < n; ++k)
        static_for<0, count>([&](auto v) NEURALINV_LAMBDA {
            const Vector<double> x = load_vector(panel + k * panel_columns + (first + decltype(v)::value) * lanes<double>);
            sums[decltype(v)::value].add_product(broadcast(left[k]), x);
        });
    Vector<double> squares = {};
    static_for<0, count>([&](auto v) NEURALINV_LAMBDA {
        const Vector<double> entries = sums[decltype(v)::value].value();
        squares += entries * entries;
        store_vector(entries, R + (first + decltype(v)::value) * lanes<double>);
    });
    return squares;
}

// form_residual, eight times the work: for a good guess that the rounding of the residual hides.
__attribute__((noinline)) inline double form_doubled_residual(int n, const double* A, std::int64_t row_stride,
                                                              std::int64_t column_stride, const CorrectionMemory<double>& memory) {
    constexpr int whole = panel_vectors<double>;
    Vector<double> squares = {};
    for (int i = 0; i < n; ++i) {
        take_row(n, A + i * row_stride, column_stride, memory.narrow->left,
                 [&](int j, Vector<double> entries) NEURALINV_LAMBDA { store_vector(entries, memory.wide->left + j); });
        for (int j = 0; j < n; j += panel_columns) {
            const double* const panel = memory.wide_X + std::int64_t(j) * n;
            double* const R = memory.R + std::int64_t(j) * n + std::int64_t(i) * panel_columns;
            const int vectors = (n - j + lanes<double> - 1) / lanes<double>;
            if (vectors >= whole) {
                squares += form_doubled<whole>(n, memory.wide->left, panel, i, j, 0, R);
                continue;
            }
            for (int v = 0; v < vectors; ++v) squares += form_doubled<1>(n, memory.wide->left, panel, i, j, v, R);
            for (int v = vectors; v < whole; ++v) store_vector(Vector<double>{}, R + v * lanes<double>);
        }
    }
    return sum_of_lanes(squares);
}

}  // namespace neuralinv::NEURALINV_TARGET
