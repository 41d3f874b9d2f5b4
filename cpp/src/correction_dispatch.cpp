// Choice of the instruction set, threads over matrices, scratch memory.
#include "neuralinv/correction_dispatch.hpp"

#include <algorithm>
#include <memory>
#include <type_traits>

#include "correction_kernels.hpp"
#include "scratch.hpp"
#include "targets.hpp"
#include "thread_pool.hpp"

namespace neuralinv {

NEURALINV_TARGETS(CorrectionTarget, correction)

namespace {

const CorrectionTarget& chosen() {
    static const CorrectionTarget* const target = target_in_use(correction_targets);  // an exception leaves it unset
    return *target;
}

template <class S>
const CorrectionKernels<S>& correction_kernels() {
    if constexpr (std::is_same_v<S, float>)
        return chosen().correct_f32;
    else if constexpr (std::is_same_v<S, double>)
        return chosen().correct_f64;
    else if constexpr (std::is_same_v<S, Complex<float>>)
        return chosen().correct_c64;
    else
        return chosen().correct_c128;
}

template <class T>
const CombinationKernels<T>& combination_kernels() {
    if constexpr (std::is_same_v<T, float>)
        return chosen().combine_f32;
    else
        return chosen().combine_f64;
}

// Scratch memory that a calling thread keeps: fresh pages would take longer to come than few matrices to correct.
Scratch<std::byte>& scratch(std::int64_t slots, std::int64_t bytes) {
    thread_local std::unique_ptr<Scratch<std::byte>> kept;
    thread_local std::int64_t kept_slots = 0, kept_bytes = 0;
    constexpr std::int64_t most = std::int64_t(64) << 20;
    // What was asked for once and is too much to keep goes with the next call.
    if (!kept || slots > kept_slots || bytes > kept_bytes || kept_slots * kept_bytes > most) {
        const std::int64_t more_slots = std::max(slots, kept_slots), more_bytes = std::max(bytes, kept_bytes);
        if (more_slots * more_bytes <= most) slots = more_slots, bytes = more_bytes;
        kept.reset();
        kept = std::make_unique<Scratch<std::byte>>(slots, bytes);
        kept_slots = slots, kept_bytes = bytes;
    }
    return *kept;
}

// Waking a thread costs some microseconds: below this many multiplications one thread does the work.
constexpr double work_for_threads = 1 << 18;

}  // namespace

template <class S>
void correct(const Guesses<S>& guesses, double tolerance, int highest, const Corrected<S>& result, int threads) {
    constexpr double work = 2.0 * part_count<S> * part_count<S>;
    const std::int64_t n = guesses.A.n, count = guesses.A.count;
    if (count == 0) return;
    const auto& kernel = correction_kernels<S>();
    prefer_large_pages(result.X, count * n * n);
    if (work * double(count) * double(n) * double(n) * double(n) < work_for_threads || threads < 1) threads = 1;
    // Several pieces for each thread, so that an interrupted one holds up nobody.
    const std::int64_t most = threads == 1 ? 1 : std::int64_t(threads) * 8, pieces = count < most ? count : most;
    Scratch<std::byte>& memory = scratch(pieces < threads ? pieces : threads, kernel.scratch_bytes(n));
    auto run_piece = [&](std::int64_t piece) {
        const std::int64_t begin = count * piece / pieces, end = count * (piece + 1) / pieces, slot = memory.take();
        kernel.correct(guesses, tolerance, highest, begin, end, result, memory.at(slot));
        memory.give_back(slot);
    };
    parallel_for(threads, pieces, run_piece);
}

template <class T>
void combine(const Combination<T>& c, int threads) {
    if (c.count == 0 || c.length == 0) return;
    const auto& kernel = combination_kernels<T>();
    if (double(c.count) * double(c.terms) * double(c.length) < work_for_threads || threads < 1) threads = 1;
    constexpr std::int64_t stretch = 512;  // columns: whole cache lines, and as many as a kernel takes at once
    const std::int64_t stretches = (c.length + stretch - 1) / stretch;
    const std::int64_t most = threads == 1 ? 1 : std::int64_t(threads) * 4, pieces = stretches < most ? stretches : most;
    Scratch<std::byte>& memory = scratch(pieces < threads ? pieces : threads, kernel.scratch_bytes(c.terms));
    auto run_piece = [&](std::int64_t piece) {
        const std::int64_t begin = stretches * piece / pieces * stretch, end = stretches * (piece + 1) / pieces * stretch;
        const std::int64_t slot = memory.take();
        kernel.combine(c, begin, end < c.length ? end : c.length, memory.at(slot));
        memory.give_back(slot);
    };
    parallel_for(threads, pieces, run_piece);
}

template void combine<float>(const Combination<float>&, int);
template void combine<double>(const Combination<double>&, int);
#define NEURALINV_INSTANTIATE(S) template void correct<S>(const Guesses<S>&, double, int, const Corrected<S>&, int);
NEURALINV_INSTANTIATE(float)
NEURALINV_INSTANTIATE(double)
NEURALINV_INSTANTIATE(Complex<float>)
NEURALINV_INSTANTIATE(Complex<double>)

}  // namespace neuralinv
