// The block-tridiagonal kernels for Python: checks sizes, releases the GIL, nothing else.
// neuralinv/block_tridiagonal/kernels.py calls it, with the addresses of contiguous arrays.
#include <nanobind/nanobind.h>

#include "neuralinv/block_tridiagonal_dispatch.hpp"

namespace nb = nanobind;
namespace bt = neuralinv::block_tridiagonal;

namespace {

using Address = std::uintptr_t;
using Size = std::int64_t;

template <class T>
T* at(Address address) {
    return reinterpret_cast<T*>(address);
}

bt::Problem problem(Size sequences, Size steps, Size n, int threads) {
    if (sequences < 0 || steps < 1 || n < 1 || n > 1 << 15)
        throw nb::value_error("expected sequences >= 0, steps >= 1 and 1 <= n <= 32768");
    return {sequences, steps, n, threads};
}

template <class T>
Size factor(Size sequences, Size steps, Size n, int threads, Address D, Address B, Address L, Address C, Address info) {
    const bt::Problem p = problem(sequences, steps, n, threads);
    nb::gil_scoped_release release;
    return bt::factor<T>(p, at<T>(D), at<T>(B), at<T>(L), at<T>(C), at<std::int64_t>(info));
}

template <class T>
void factor_rev(Size sequences, Size steps, Size n, int threads, Address L, Address C, Address L_bar, Address C_bar,
                Address D_bar, Address B_bar) {
    const bt::Problem p = problem(sequences, steps, n, threads);
    nb::gil_scoped_release release;
    bt::factor_rev<T>(p, at<T>(L), at<T>(C), at<T>(L_bar), at<T>(C_bar), at<T>(D_bar), at<T>(B_bar));
}

template <class T>
void solve(Size sequences, Size steps, Size n, int threads, Size k, bool transposed, Address L, Address C, Address b,
           Address x) {
    const bt::Problem p = problem(sequences, steps, n, threads);
    nb::gil_scoped_release release;
    bt::solve<T>(p, k, transposed, at<T>(L), at<T>(C), at<T>(b), at<T>(x));
}

template <class T>
void solve_rev(Size sequences, Size steps, Size n, int threads, Size k, bool transposed, Address L, Address C,
               Address x, Address x_bar, Address L_bar, Address C_bar, Address b_bar) {
    const bt::Problem p = problem(sequences, steps, n, threads);
    nb::gil_scoped_release release;
    bt::solve_rev<T>(p, k, transposed, at<T>(L), at<T>(C), at<T>(x), at<T>(x_bar), at<T>(L_bar), at<T>(C_bar),
                     at<T>(b_bar));
}

template <class T>
void inverse_blocks(Size sequences, Size steps, Size n, int threads, Address L, Address C, Address diagonal,
                    Address below) {
    const bt::Problem p = problem(sequences, steps, n, threads);
    nb::gil_scoped_release release;
    bt::inverse_blocks<T>(p, at<T>(L), at<T>(C), at<T>(diagonal), at<T>(below));
}

template <class T>
void inverse_blocks_rev(Size sequences, Size steps, Size n, int threads, Address L, Address C, Address diagonal,
                        Address below, Address diagonal_bar, Address below_bar, Address L_bar, Address C_bar) {
    const bt::Problem p = problem(sequences, steps, n, threads);
    nb::gil_scoped_release release;
    bt::inverse_blocks_rev<T>(p, at<T>(L), at<T>(C), at<T>(diagonal), at<T>(below), at<T>(diagonal_bar),
                              at<T>(below_bar), at<T>(L_bar), at<T>(C_bar));
}

template <class T>
Size factor_entries(Size sequences, Size steps, Size n, int threads) {
    return bt::factor_entries<T>(problem(sequences, steps, n, threads));
}

template <class T>
Size solve_system(Size sequences, Size steps, Size n, int threads, Size k, Address D, Address B, Address b, Address x,
                  Address logs, Address info, Address factors) {
    const bt::Problem p = problem(sequences, steps, n, threads);
    nb::gil_scoped_release release;
    return bt::solve_system<T>(p, k, at<T>(D), at<T>(B), at<T>(b), at<T>(x), at<T>(logs), at<std::int64_t>(info),
                               at<T>(factors));
}

template <class T>
void solve_system_rev(Size sequences, Size steps, Size n, int threads, Size k, Address factors, Address x, Address x_bar,
                      Address logs_bar, Address D_bar, Address B_bar, Address b_bar) {
    const bt::Problem p = problem(sequences, steps, n, threads);
    nb::gil_scoped_release release;
    bt::solve_system_rev<T>(p, k, at<T>(factors), at<T>(x), at<T>(x_bar), at<T>(logs_bar), at<T>(D_bar), at<T>(B_bar),
                            at<T>(b_bar));
}

template <class T>
void log_diagonal(Size sequences, Size steps, Size n, int threads, Address L, Address result) {
    const bt::Problem p = problem(sequences, steps, n, threads);
    nb::gil_scoped_release release;
    bt::log_diagonal<T>(p, at<T>(L), at<T>(result));
}

template <class T>
void log_diagonal_rev(Size sequences, Size steps, Size n, int threads, Address L, Address result_bar, Address L_bar) {
    const bt::Problem p = problem(sequences, steps, n, threads);
    nb::gil_scoped_release release;
    bt::log_diagonal_rev<T>(p, at<T>(L), at<T>(result_bar), at<T>(L_bar));
}

template <class T>
void bind(nb::module_ m) {
    m.def("factor", &factor<T>);
    m.def("factor_rev", &factor_rev<T>);
    m.def("solve", &solve<T>);
    m.def("solve_rev", &solve_rev<T>);
    m.def("inverse_blocks", &inverse_blocks<T>);
    m.def("inverse_blocks_rev", &inverse_blocks_rev<T>);
    m.def("factor_entries", &factor_entries<T>);
    m.def("solve_system", &solve_system<T>);
    m.def("solve_system_rev", &solve_system_rev<T>);
    m.def("log_diagonal", &log_diagonal<T>);
    m.def("log_diagonal_rev", &log_diagonal_rev<T>);
}

}  // namespace

void bind_block_tridiagonal(nb::module_& m) {
    bind<float>(m.def_submodule("block_tridiagonal_f32"));
    bind<double>(m.def_submodule("block_tridiagonal_f64"));
}
