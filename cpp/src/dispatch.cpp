// Choice of the instruction set, and of the number of threads.
#include "neuralinv/dispatch.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <mutex>
#include <stdexcept>

#include "kernels.hpp"
#include "scratch.hpp"
#include "targets.hpp"
#include "thread_pool.hpp"

namespace neuralinv {

NEURALINV_TARGETS(Kernels, kernels)

namespace {

bool machine_has([[maybe_unused]] const std::string& name) {
#if defined(__x86_64__)
    __builtin_cpu_init();  // libgcc asks the operating system, too, whether it saves the wide registers
    if (name == "avx512")
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
    if (name == "avx2") return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
    return true;
}

std::vector<const Kernels*> available() {
    std::vector<const Kernels*> found;
    for (const Kernels* kernels : kernels_targets)
        if (machine_has(kernels->name)) found.push_back(kernels);
    return found;
}

const Kernels* choose() {
    const std::vector<const Kernels*> found = available();
    const char* wanted = std::getenv("NEURALINV_ISA");
    if (wanted == nullptr || *wanted == '\0') return found.front();
    std::string names;
    for (const Kernels* kernels : found) {
        if (std::string(wanted) == kernels->name) return kernels;
        names += std::string(names.empty() ? "" : ", ") + kernels->name;
    }
    throw std::runtime_error("NEURALINV_ISA=" + std::string(wanted) + " is not available; this machine has " + names);
}

const Kernels& chosen() {
    static const Kernels* const kernels = choose();  // an exception leaves it unset: the next call throws again
    return *kernels;
}

// Waking a thread takes some microseconds: below this many multiplications one thread does the work.
constexpr double work_for_threads = 1 << 16;

// Share matrices 0..count-1 among threads. range(begin, end) returns its first failure; entries: touched for each matrix,
// multiplications: done for each; fills: a tile that is not full takes as long as one that is.
template <class Range>
FirstFailure share(std::int64_t count, double entries, double multiplications, std::int64_t tile, bool fills, int threads,
                   const Range& range) {
    // Moving an entry costs about as much as 16 multiplications; eight of either take place at once.
    const double work = double(count) * (multiplications + 16.0 * entries) / 8.0;
    if (count == 0) return {-1, success};
    if (threads <= 1 || count == 1 || work < work_for_threads) return range(0, count);

    // Pieces of whole tiles, several for each thread so that one that was interrupted does not hold up the others.
    const std::int64_t wanted = std::int64_t(threads) * 8;
    std::int64_t length = (count + wanted - 1) / wanted;
    if (length > tile)
        length = (length + tile - 1) / tile * tile;
    else if (fills)
        length = std::min(tile, (count + threads - 1) / threads);
    FirstFailure first{-1, success};
    std::mutex mutex;
    auto run_piece = [&](std::int64_t piece) {
        const std::int64_t begin = piece * length, end = begin + length < count ? begin + length : count;
        const FirstFailure failure = range(begin, end);
        if (failure.index < 0) return;
        const std::lock_guard<std::mutex> lock(mutex);
        if (first.index < 0 || failure.index < first.index) first = failure;
    };
    parallel_for(threads, (count + length - 1) / length, run_piece);
    return first;
}

// Of a matrix that several threads work on, each has at least so many columns.
constexpr std::int64_t columns_each = 64;

int team_size(std::int64_t n, int threads) { return int(std::min<std::int64_t>(threads, n / columns_each)); }

// How many matrices, from the first on, are shared among threads as whole ones. The rest would keep only some of them busy: where
// it takes less time so, all work on one after the other.
std::int64_t shared_whole(std::int64_t count, std::int64_t n, Structure structure, std::int64_t smallest, int threads) {
    if (structure == Structure::positive) smallest = smallest_positive_for_teams;
    if (threads <= 1 || n < smallest || count >= 8 * std::int64_t(threads)) return count;
    const std::int64_t rest = count % threads;
    // A team of m threads is about 3m/4 times as fast as one.
    return rest > 0 && 4 * rest <= 3 * std::int64_t(team_size(n, threads)) ? count - rest : count;
}

// The first logarithm that is no number, or +∞.
template <class T>
FirstFailure first_odd(const T* logabsdet, std::int64_t begin, std::int64_t end) {
    for (std::int64_t b = begin; b < end; ++b)
        if (!(logabsdet[b] < std::numeric_limits<T>::infinity())) return {b, success};
    return {-1, success};
}

template <class S>
std::int64_t tile() {
    return chosen().vector_bytes / std::int64_t(sizeof(RealOf<S>));
}

// Operations of a complex number for each of a real one.
template <class S>
constexpr double effort = sizeof(S) == sizeof(RealOf<S>) ? 1 : 4;

// Share the matrices of A among threads, range(begin, end), and those that are left over, if they are large, one after the other among
// all: in_teams(kernels, begin, members). smallest: general matrices that are large. Returns the first failure.
template <class S, class Range, class InTeams>
FirstFailure share_all(const MatrixBatch<S>& A, Structure structure, std::int64_t smallest, double entries, double multiplications, int threads,
                       const Range& range, const InTeams& in_teams) {
    const std::int64_t whole = effort<S> == 1 ? shared_whole(A.count, A.n, structure, smallest, threads) : A.count;
    const FirstFailure first = share(whole, entries, multiplications, tile<S>(), structure == Structure::positive, threads, range);
    if constexpr (effort<S> == 1)
        if (whole < A.count) {
            const FirstFailure later = in_teams(chosen().team<S>(structure), whole, team_size(A.n, threads));
            return first.index >= 0 ? first : later;
        }
    return first;
}

}  // namespace

const Kernels& kernels_in_use() { return chosen(); }

template <class S>
FirstFailure invert(const MatrixBatch<S>& A, Structure structure, S* X, Status* info, int threads) {
    InvertRange<S> kernel = chosen().general<S>().invert;
    if constexpr (effort<S> == 1)
        if (structure == Structure::positive) kernel = chosen().positive<S>().invert;
    const double n = double(A.n);
    prefer_large_pages(X, A.count * A.n * A.n);
    return share_all(
        A, structure, smallest_inverse_for_teams, n * n, effort<S> * n * n * n, threads,
        [&](std::int64_t begin, std::int64_t end) { return kernel(A, begin, end, X, info); },
        [&](const auto& team, std::int64_t begin, int members) { return team.invert(A, begin, A.count, X, info, members); });
}

template <class S>
FirstFailure solve(const MatrixBatch<S>& A, const RightSides<S>& B, Structure structure, S* X, Status* info, int threads) {
    SolveRange<S> kernel = chosen().general<S>().solve;
    if constexpr (effort<S> == 1)
        if (structure == Structure::positive) kernel = chosen().positive<S>().solve;
    const double n = double(A.n), k = double(B.columns);
    prefer_large_pages(X, A.count * A.n * B.columns);
    return share_all(
        A, structure, smallest_for_teams, n * (n + k), effort<S> * n * n * (n / 2 + k), threads,
        [&](std::int64_t begin, std::int64_t end) { return kernel(A, B, begin, end, X, info); },
        [&](const auto& team, std::int64_t begin, int members) { return team.solve(A, B, begin, A.count, X, info, members); });
}

template <class S>
FirstFailure slogdet(const MatrixBatch<S>& A, Structure structure, S* sign, RealOf<S>* logabsdet, int threads) {
    const double n = double(A.n);
    return share_all(
        A, structure, smallest_for_teams, n * n, effort<S> * n * n * n / 2, threads,
        [&](std::int64_t begin, std::int64_t end) -> FirstFailure {
            if constexpr (effort<S> == 1)
                if (structure == Structure::positive)
                    return chosen().positive<S>().slogdet(A, begin, end, sign, logabsdet, nullptr);
            chosen().general<S>().slogdet(A, begin, end, sign, logabsdet);
            return first_odd(logabsdet, begin, end);
        },
        [&](const auto& team, std::int64_t begin, int members) {
            const FirstFailure failed = team.slogdet(A, begin, A.count, sign, logabsdet, members);
            return structure == Structure::positive ? failed : first_odd(logabsdet, begin, A.count);
        });
}

template <class T>
Certified certified_invert(const MatrixBatch<T>& A, T* X, Status* info, double tolerance, double* bounds, int threads,
                           Labels labels) {
    const CertifiedInvertRange<T> kernel = chosen().certified_invert<T>();
    bool missed = false;
    const double n = double(A.n);
    prefer_large_pages(X, A.count * A.n * A.n);
    const FirstFailure first =
        share(A.count, 2 * n * n, 3 * n * n * n, tile<T>(), false, threads, [&](std::int64_t begin, std::int64_t end) {
            for (std::int8_t* const label : {labels.status, labels.source})
                if (label != nullptr) std::memset(label + begin, 0, std::size_t(end - begin));
            return kernel(A, begin, end, X, info, tolerance, bounds, &missed);
        });
    return {first, !missed};
}

#define NEURALINV_INSTANTIATE(S)                                                                              \
    template FirstFailure invert<S>(const MatrixBatch<S>&, Structure, S*, Status*, int);                      \
    template FirstFailure solve<S>(const MatrixBatch<S>&, const RightSides<S>&, Structure, S*, Status*, int); \
    template FirstFailure slogdet<S>(const MatrixBatch<S>&, Structure, S*, RealOf<S>*, int);
NEURALINV_INSTANTIATE(float)
NEURALINV_INSTANTIATE(double)
NEURALINV_INSTANTIATE(Complex<float>)
NEURALINV_INSTANTIATE(Complex<double>)
template Certified certified_invert<float>(const MatrixBatch<float>&, float*, Status*, double, double*, int, Labels);
template Certified certified_invert<double>(const MatrixBatch<double>&, double*, Status*, double, double*, int, Labels);

std::string instruction_set() { return chosen().name; }

std::vector<std::string> available_instruction_sets() {
    std::vector<std::string> names;
    for (const Kernels* kernels : available()) names.emplace_back(kernels->name);
    return names;
}

}  // namespace neuralinv
