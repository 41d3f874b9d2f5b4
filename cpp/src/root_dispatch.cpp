// Choice of the instruction set, threads over matrices, scratch memory.
#include "neuralinv/root_dispatch.hpp"

#include <type_traits>

#include "kernels.hpp"
#include "root_kernels.hpp"
#include "shared_work.hpp"
#include "targets.hpp"

namespace neuralinv {

NEURALINV_TARGETS(RootTarget, root)

namespace {

template <class T>
const RootKernels<T>& kernels() {
    static const RootTarget* const target = target_in_use(root_targets);  // an exception leaves it unset
    if constexpr (std::is_same_v<T, float>)
        return target->f32;
    else
        return target->f64;
}

// run(begin, end, memory) for matrices of which each takes so many products of n×n matrices.
template <class Run>
void over_batch(std::int64_t count, std::int64_t n, double products, std::int64_t bytes, int threads, const Run& run) {
    if (count == 0) return;
    over_matrices(count, bytes, threads_for(products * double(count) * double(n) * double(n) * double(n), threads), 8, run);
}

}  // namespace

template <class T>
void survey(const Survey<T>& s, int threads) {
    over_batch(s.count, s.n, 8 / double(s.n), kernels<T>().survey_bytes(s.n), threads,
               [&](std::int64_t begin, std::int64_t end, std::byte* memory) { kernels<T>().survey(s, begin, end, memory); });
}

template <class T>
void sum_inverses(ShiftedInverses<T> sum, int threads) {
    sum.invert = kernels_in_use().positive<T>().invert;
    prefer_large_pages(sum.X, sum.count * sum.n * sum.n);
    over_batch(sum.count, sum.n, 0.5 * double(sum.terms), kernels<T>().shifted_bytes(sum.n), threads,
               [&](std::int64_t begin, std::int64_t end, std::byte* memory) { kernels<T>().sum_shifted(sum, begin, end, memory); });
}

template <class T>
void correct_roots(const RootResidual<T>& residual, int threads) {
    over_batch(residual.count, residual.n, 3, kernels<T>().root_bytes(residual.n), threads,
               [&](std::int64_t begin, std::int64_t end, std::byte* memory) { kernels<T>().correct(residual, begin, end, memory); });
}

template <class T>
void pivot_signs(const PivotSigns<T>& signs, int threads) {
    over_batch(signs.count, signs.n, 0.2, 0, threads,
               [&](std::int64_t begin, std::int64_t end, std::byte*) { kernels_in_use().positive<T>().pivot_signs(signs, begin, end); });
}

#define NEURALINV_INSTANTIATE(T)                               \
    template void survey<T>(const Survey<T>&, int);            \
    template void sum_inverses<T>(ShiftedInverses<T>, int);    \
    template void correct_roots<T>(const RootResidual<T>&, int); \
    template void pivot_signs<T>(const PivotSigns<T>&, int);
NEURALINV_INSTANTIATE(float)
NEURALINV_INSTANTIATE(double)

}  // namespace neuralinv
