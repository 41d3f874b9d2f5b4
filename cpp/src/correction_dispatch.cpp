// Choice of the instruction set, threads over matrices, scratch memory.
#include "neuralinv/correction_dispatch.hpp"

#include <algorithm>
#include <type_traits>
#include <vector>

#include "correction_kernels.hpp"
#include "kernels.hpp"
#include "shared_work.hpp"
#include "targets.hpp"

namespace neuralinv {

NEURALINV_TARGETS(CorrectionTarget, correction)

namespace {

const CorrectionTarget& chosen() {
    static const CorrectionTarget* const target = target_in_use(correction_targets);  // an exception leaves it unset
    return *target;
}

// The member of a table for a scalar.
#define NEURALINV_OF_SCALAR(S, name)                       \
    [&]() -> const auto& {                                 \
        if constexpr (std::is_same_v<S, float>)            \
            return chosen().name##_f32;                    \
        else if constexpr (std::is_same_v<S, double>)      \
            return chosen().name##_f64;                    \
        else if constexpr (std::is_same_v<S, Complex<float>>) \
            return chosen().name##_c64;                    \
        else                                               \
            return chosen().name##_c128;                   \
    }()
#define NEURALINV_OF_REAL(T, name)                \
    [&]() -> const auto& {                        \
        if constexpr (std::is_same_v<T, float>)   \
            return chosen().name##_f32;           \
        else                                      \
            return chosen().name##_f64;           \
    }()

}  // namespace

template <class S>
void correct(Guesses<S> guesses, double tolerance, int highest, const Corrected<S>& result, int threads) {
    constexpr double work = 2.0 * part_count<S> * part_count<S>;
    const std::int64_t n = guesses.A.n, count = guesses.A.count;
    if (count == 0) return;
    const auto& kernel = NEURALINV_OF_SCALAR(S, correct);
    if (guesses.count == 0) {
        guesses.invert = kernels_in_use().general<S>().invert;
        if constexpr (part_count<S> == 1) guesses.invert_positive = kernels_in_use().positive<S>().invert;
    }
    prefer_large_pages(result.X, count * n * n);
    threads = threads_for(work * double(count) * double(n) * double(n) * double(n), threads);
    over_matrices(count, kernel.scratch_bytes(n), threads, 8, [&](std::int64_t begin, std::int64_t end, std::byte* memory) {
        kernel.correct(guesses, tolerance, highest, begin, end, result, memory);
    });
}

template <class T>
void combine(const Combination<T>& c, int threads) {
    if (c.count == 0 || c.length == 0) return;
    const auto& kernel = NEURALINV_OF_REAL(T, combine);
    threads = threads_for(double(c.count) * double(c.terms) * double(c.length), threads);
    if (c.length < threads * stretch) {  // too few columns for all threads: rows are shared
        over_matrices(c.count, kernel.scratch_bytes(c.terms), threads, 2, [&](std::int64_t begin, std::int64_t end, std::byte* memory) {
            kernel.combine({c.C + begin * c.terms, c.B, c.X + begin * c.length, end - begin, c.terms, c.length}, 0, c.length, memory);
        });
        return;
    }
    over_columns(c.length, kernel.scratch_bytes(c.terms), threads,
                 [&](std::int64_t, std::int64_t begin, std::int64_t end, std::byte* memory) {
                     kernel.combine(c, begin, end, memory);
                 });
}

template <class T>
void deviate(const Deviation<T>& d, int threads) {
    std::fill_n(d.squares, d.count, 0.0);
    if (d.count == 0 || d.length == 0) return;
    const auto& kernel = NEURALINV_OF_REAL(T, deviate);
    threads = threads_for(double(d.count) * double(d.terms) * double(d.length), threads);
    // Pieces are added in their order, so that results do not depend on who is first.
    const std::int64_t pieces = column_pieces(d.length, threads);
    std::vector<double> squares(std::size_t(pieces * d.count), 0.0);
    over_columns(d.length, chosen().combine_f64.scratch_bytes(d.terms), threads,
                 [&](std::int64_t piece, std::int64_t begin, std::int64_t end, std::byte* memory) {
                     kernel.deviate(d, begin, end, squares.data() + piece * d.count, memory);
                 });
    for (std::size_t e = 0; e < squares.size(); ++e) d.squares[e % std::size_t(d.count)] += squares[e];
}

template <class S>
void row_sums(const RowSums<S>& norms, int threads) {
    if (norms.count == 0) return;
    const auto& kernel = NEURALINV_OF_SCALAR(S, row_sums);
    threads = threads_for(double(norms.count) * double(norms.n) * double(norms.n), threads);
    over_matrices(norms.count, kernel.scratch_bytes(norms.n), threads, 8,
                  [&](std::int64_t begin, std::int64_t end, std::byte* memory) {
                      kernel.row_sums(norms, begin, end, memory);
                  });
}

template <class S>
void probe(const Probing<S>& p, int threads) {
    const std::int64_t n = p.A.n, count = p.A.count;
    if (count == 0) return;
    const auto& kernel = NEURALINV_OF_SCALAR(S, probe);
    threads = threads_for((p.roots ? 4.0 : 3.0) * part_count<S> * double(count) * double(n) * double(n) * double(p.columns), threads);
    over_matrices(count, kernel.scratch_bytes(n, p.columns), threads, 8,
                  [&](std::int64_t begin, std::int64_t end, std::byte* memory) { kernel.probe(p, begin, end, memory); });
}

template void deviate<float>(const Deviation<float>&, int);
template void deviate<double>(const Deviation<double>&, int);
template void combine<float>(const Combination<float>&, int);
template void combine<double>(const Combination<double>&, int);
#define NEURALINV_INSTANTIATE(S)                                                                    \
    template void correct<S>(Guesses<S>, double, int, const Corrected<S>&, int);             \
    template void row_sums<S>(const RowSums<S>&, int);                                              \
    template void probe<S>(const Probing<S>&, int);
NEURALINV_INSTANTIATE(float)
NEURALINV_INSTANTIATE(double)
NEURALINV_INSTANTIATE(Complex<float>)
NEURALINV_INSTANTIATE(Complex<double>)

}  // namespace neuralinv
