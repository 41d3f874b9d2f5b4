"""Check and time everything that runs on a GPU, beside what others offer, in one command:

    python benchmarks/gpu.py                 # all rows that nine minutes allow; writes runs/gpu.json
    python benchmarks/gpu.py --only inv --quick --seconds 120

From the repository it needs torch, Triton, NumPy and SciPy; nothing is built beforehand: Triton compiles the kernels at
their first call, and the C++ core, which is for the CPU, need not be there. CuPy and JAX are measured where installed.

Times are medians between device events (JAX, which has streams of its own: of the host's clock, until the result is
there), after warming up, all implementations in turn; of rivals that take longer than 20 ms, one time. Inputs are fresh
random numbers, in so many sets that together they exceed the L2 cache. Where nothing is waited for, two times of ours
stand beside: the device's alone, from a graph of calls whose results lie apart, as a caller's would who keeps them; and
the host's alone, which is all that counts for few matrices. The share of a copy is the device's.

Every result is checked, and its error stands beside its time. Rows are measured in processes of their own
(``gpu_runner.py``). Without a GPU the command says so and exits with 2; with 1 if a result was wrong or a row failed.
"""

from __future__ import annotations

import argparse
import math
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import torch
from torch import Tensor

import gpu_runner
from gpu_calls import Call, Case, determinant_error, inverse_error, name_of, rival_inverses, solution_error

OURS = "neuralinv"
ROUNDS, SHORTEST = 15, 2e-3  # visits to each implementation; seconds between two events
SLOW, FEW_ROUNDS = 20e-3, 3  # a call that takes so many seconds is made so often, and once if it is a rival's
LATENCY_CALLS = 100  # fewer than a stream's queue holds
DTYPES = (torch.float32, torch.float64)
SIZES, SOME_SIZES, FEW_SIZES = (*range(1, 17), 20, 24, 28, 31, 32), (2, 3, 4, 5, 8, 12, 16, 24, 32), (3, 8, 32)


@dataclass(frozen=True)
class Row:
    """A case, measured: seconds and errors by implementation."""

    work: str
    n: int
    dtype: str
    batch: int
    seconds: dict[str, float]
    errors: dict[str, float]
    allowed_error: float
    share_of_copy: float  # of our time, what a copy of as many bytes takes
    goal: str
    failures: dict[str, str] = field(default_factory=dict)
    device_seconds: float | None = None  # ours, without the host
    host_seconds: float | None = None  # ours, without the device

    @property
    def wrong(self) -> bool:
        return not self.errors.get(OURS, math.inf) <= self.allowed_error


def uniform(*shape: int, dtype: torch.dtype) -> Tensor:
    """Draw numbers between -1 and 1 on the GPU."""
    return torch.rand(*shape, dtype=dtype, device="cuda") * 2 - 1


def beside_a_copy(quick: bool) -> Iterator[Case]:
    """The smallest matrices, so many that the device takes far longer than the host: is memory what limits them?"""
    import neuralinv as ni

    for dtype in DTYPES:
        for n in (2, 3, 4) if quick else (1, 2, 3, 4):
            ours = {OURS: Call(lambda A: ni.inv_ex(A).inverse, captured=True)}
            batch = max(1_000_000, 2**26 // n**2)
            yield _inverse_case("inv beside a copy", n, dtype, batch, ours, "copy ≥ 70 %", rivals=False)


def inverses(quick: bool) -> Iterator[Case]:
    """Batches of inverses: large ones, and small ones, where what counts is the time of a launch."""
    import neuralinv as ni

    few = [(n, 1_000_000) for n in (2, 3, 4)]
    few += [(n, batch) for n in FEW_SIZES for batch in ((1, 1000) if quick else (1, 10, 100, 1000))]
    few += [(n, 1_000_000 if n <= 16 else 200_000) for n in (8, 16, 32)]
    rest = [(n, 1_000_000 if n <= 16 else 200_000) for n in SIZES if n not in (2, 3, 4, 8, 16, 32)]
    for shapes in (few,) if quick else (few, rest):
        for dtype in DTYPES:
            for n, batch in shapes:
                large = "≥ 8×" if n <= 4 else "≥ 6×" if n <= 16 else "≥ 3×"
                ours = {OURS: Call(lambda A: ni.inv_ex(A).inverse, captured=True)}
                yield _inverse_case("inv", n, dtype, batch, ours, "no slower" if batch <= 1000 else large)
                if batch <= 1000:  # both wait for the device to say whether there is an inverse
                    waiting = {OURS: Call(ni.inv), "torch": Call(torch.linalg.inv)}
                    yield _inverse_case("inv or an error", n, dtype, batch, waiting, "no slower", rivals=False)


def certified(quick: bool) -> Iterator[Case]:
    """Inverses with their bounds, beside inverses without."""
    import neuralinv as ni
    from neuralinv.dense import gpu

    for n in FEW_SIZES if quick else SOME_SIZES:
        for dtype, rtol in ((torch.float32, 1e-5), (torch.float64, 1e-10)):
            calls = {
                OURS: Call(lambda A, rtol=rtol: gpu.certified_invert(A, rtol)[0], captured=True),
                f"{OURS} certified_inv": Call(lambda A: ni.certified_inv(A, on_singular="nan").inverse),
            }
            yield _inverse_case("inv with bounds", n, dtype, 100_000, calls)


def larger(quick: bool) -> Iterator[Case]:
    """Beyond the kernels: blocks beside torch's routine, for the table ``kernels/crossover.json``."""
    from neuralinv.dense import blocked

    for n in (64,) if quick else (33, 40, 48, 64, 96, 128, 256):
        for dtype in DTYPES:
            yield _inverse_case("inv by blocks", n, dtype, 4_000_000 // n**2, {OURS: Call(blocked.inverse)})


def solutions(quick: bool) -> Iterator[Case]:
    """One right-hand side, and as many as rows."""
    import neuralinv as ni

    for n in FEW_SIZES if quick else SOME_SIZES:
        for dtype in DTYPES:
            for columns in (1, n):
                batch = 200_000
                yield Case(
                    f"solve, {columns} columns" if columns > 1 else "solve, 1 column",
                    n,
                    _name(dtype),
                    batch,
                    lambda n=n, dtype=dtype, columns=columns, batch=batch: (
                        uniform(batch, n, n, dtype=dtype),
                        uniform(batch, n, columns, dtype=dtype),
                    ),
                    {
                        OURS: Call(lambda A, B: ni.solve_ex(A, B).result, captured=True),
                        "torch": Call(lambda A, B: torch.linalg.solve_ex(A, B).result),
                    },
                    solution_error,
                    batch * (n * n + 2 * n * columns) * dtype.itemsize,
                )


def determinants(quick: bool) -> Iterator[Case]:
    """Logarithms of determinants."""
    import neuralinv as ni

    for n in FEW_SIZES if quick else SOME_SIZES:
        for dtype in DTYPES:
            yield Case(
                "slogdet",
                n,
                _name(dtype),
                200_000,
                lambda n=n, dtype=dtype: (uniform(200_000, n, n, dtype=dtype),),
                {
                    OURS: Call(lambda A: ni.slogdet(A).logabsdet, captured=True),
                    "torch": Call(lambda A: torch.linalg.slogdet(A).logabsdet),
                },
                determinant_error,
                200_000 * n * n * dtype.itemsize,
            )


MAKERS: dict[str, Callable[[bool], Iterator[Case]]] = {
    "inv beside a copy": beside_a_copy,
    "inv": inverses,
    "solve": solutions,
    "slogdet": determinants,
    "inv with bounds": certified,
    "inv by blocks": larger,
}
"""What is measured, the most important first: each takes whether to be quick, and yields cases whose ``work`` begins
as its name does."""


_INFO = 4  # bytes that are written for each matrix besides its inverse


def _inverse_case(
    work: str, n: int, dtype: torch.dtype, batch: int, ours: dict[str, Call], goal: str = "", *, rivals: bool = True
) -> Case:
    return Case(
        work,
        n,
        _name(dtype),
        batch,
        lambda: (uniform(batch, n, n, dtype=dtype),),
        ours | (rival_inverses() if rivals else {}),
        inverse_error,
        batch * (2 * n * n * dtype.itemsize + _INFO),
        goal,
    )


def warm_ups(only: str) -> list[Callable[[], object]]:
    """List calls of all kernels that rows need, the largest first, since they take longest to compile."""
    from neuralinv.kernels import dense

    def call(n: int, dtype: torch.dtype, function: Callable[[Tensor], object]) -> object:
        return function(uniform(64, n, n, dtype=dtype))

    functions: dict[str, list[Callable[[Tensor], object]]] = {
        "inv": [dense.invert],
        "solve": [lambda A: dense.solve(A, A), lambda A: dense.solve(A, A[..., :1])],
        "slogdet": [dense.slogdet],
        "inv with bounds": [lambda A: dense.certified_invert(A, 1e-5)],
    }
    return [
        partial(call, n, dtype, function)
        for n in reversed(SIZES)
        for work, several in functions.items()
        if _asked_for(work, only) and (work == "inv" or n in SOME_SIZES)
        for function in several
        for dtype in DTYPES
    ]


def measure(case: Case, copy_rate: float) -> Row:
    """Check, warm up and time all implementations of a case, in turn."""
    first = case.inputs()
    size = sum(tensor.nbytes for tensor in first)
    cache = torch.cuda.get_device_properties(0).L2_cache_size
    sets = [first, *(case.inputs() for _ in range(max(1, min(255, 2 * cache // size))))]
    errors: dict[str, float] = {}
    failures: dict[str, str] = {}
    seconds: dict[str, float] = {}
    allowed = math.nan
    on_device: float | None = None
    on_host: float | None = None
    prepared: dict[str, list[tuple[Any, ...]]] = {}
    inner: dict[str, int] = {}
    rounds: dict[str, int] = {}
    for name, call in case.calls.items():
        try:
            arguments = [tuple(call.prepare(tensor) for tensor in first)]
            errors[name], allowed = case.error(first, call.collect(call.run(*arguments[0])))
            once = _time(call, arguments, 1, 0)
            if once > SLOW and name != OURS:
                seconds[name] = once
                continue
            arguments += [tuple(call.prepare(tensor) for tensor in tensors) for tensors in sets[1:]]
            for some in arguments:
                call.run(*some)
            once = min(_time(call, arguments, 1, k) for k in range(3))
        except Exception as error:  # a rival that cannot is a row's footnote, not the end of the table
            failures[name] = gpu_runner.explain(error)
            continue
        if call.captured and first[0].is_cuda:
            try:
                on_device, on_host = _time_alone(call, arguments)
            except Exception as error:
                failures[f"{name} in a graph"] = gpu_runner.explain(error)
        prepared[name], inner[name] = arguments, max(1, min(1000, round(SHORTEST / once)))
        rounds[name] = ROUNDS if once <= SLOW else FEW_ROUNDS
    times: dict[str, list[float]] = {name: [] for name in prepared}
    for k in range(ROUNDS):
        for name in list(prepared) if k % 2 == 0 else reversed(list(prepared)):
            if k < rounds[name]:
                times[name].append(_time(case.calls[name], prepared[name], inner[name], k))
    seconds |= {name: statistics.median(found) for name, found in times.items()}
    share = case.moved / copy_rate / (on_device or seconds[OURS]) if OURS in seconds else 0.0
    kind = (case.work, case.n, case.dtype, case.batch)
    return Row(*kind, seconds, errors, allowed, share, case.goal, failures, on_device, on_host)


def _time(call: Call, sets: list[tuple[Any, ...]], inner: int, start: int) -> float:
    """Return seconds of one call, out of ``inner`` on different inputs."""
    torch.cuda.synchronize()
    if call.own_stream:
        began = time.perf_counter()
        for k in range(inner):
            call.run(*sets[(start + k) % len(sets)])
        return (time.perf_counter() - began) / inner
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    before.record()
    for k in range(inner):
        call.run(*sets[(start + k) % len(sets)])
    after.record()
    torch.cuda.synchronize()
    return before.elapsed_time(after) * 1e-3 / inner


def _time_alone(call: Call, sets: list[tuple[Any, ...]]) -> tuple[float, float]:
    """Return seconds of a call on the device alone and on the host alone.

    The device's come from a graph of one call for each set. Its results all stay, so that no call writes what the one
    before has left in the cache. The host's are those until a call returns, while the device has room for more.
    """
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = [call.run(*arguments) for arguments in sets]
    replay = Call(graph.replay)
    inner = max(1, round(SHORTEST / min(_time(replay, [()], 1, 0) for _ in range(3))))
    on_device = statistics.median(_time(replay, [()], inner, 0) for _ in range(ROUNDS)) / len(kept)
    on_host = []
    for _ in range(ROUNDS):
        some = sets[:LATENCY_CALLS]
        torch.cuda.synchronize()
        began = time.perf_counter()
        for arguments in some:
            call.run(*arguments)
        on_host.append((time.perf_counter() - began) / len(some))
    return on_device, statistics.median(on_host)


def measure_copy() -> float:
    """Return bytes per second, read and written together, of a copy of 1 GiB."""
    source = torch.rand(1 << 28, device="cuda")
    target = torch.empty_like(source)
    call = Call(target.copy_)
    _time(call, [(source,)], 3, 0)
    return 2 * source.nbytes / statistics.median(_time(call, [(source,)], 5, 0) for _ in range(ROUNDS))


def show(row: Row) -> str:
    """Write a row of the table."""
    line = name_of(row)
    ours = row.seconds.get(OURS)
    if ours is None:
        return f"{line}  FAILED: {row.failures.get(OURS)}"
    line += f" {ours * 1e6:11.1f} µs"
    if row.device_seconds is not None and row.host_seconds is not None:
        line += f" (device {row.device_seconds * 1e6:.1f}, host {row.host_seconds * 1e6:.1f})"
    line += f"  {row.share_of_copy:5.0%} of copy  error {row.errors[OURS]:.0e}"
    for name, seconds in row.seconds.items():
        if name != OURS:
            line += f"  | {name} {seconds * 1e6:.1f} µs ({seconds / ours:.1f}×), {row.errors[name]:.0e}"
    for name, why in row.failures.items():
        line += f"  | {name} failed: {why[:60]}"
    return line + (f"  | goal {row.goal}" if row.goal else "") + ("  WRONG" if row.wrong else "")


def tasks(make: Callable[[bool], Iterator[Case]], options: argparse.Namespace) -> Sequence[gpu_runner.Task]:
    """List the rows of a group."""
    copy_rate = measure_copy()

    def outcome(case: Case) -> gpu_runner.Outcome:
        torch.cuda.empty_cache()  # what the last row took
        row = measure(case, copy_rate)
        return gpu_runner.Outcome(show(row), asdict(row), good=not row.wrong)

    wanted = (case for case in make(options.quick) if case.work.startswith(options.only))
    return [gpu_runner.Task(name_of(case), partial(outcome, case)) for case in wanted]


def describe_machine() -> dict[str, Any]:
    """Say where it is measured."""
    from neuralinv.kernels import availability

    return {
        "gpu": torch.cuda.get_device_name(0),
        "copy_bytes_per_second": measure_copy(),
        "l2_bytes": torch.cuda.get_device_properties(0).L2_cache_size,
        "torch": torch.__version__,
        "triton": ".".join(map(str, availability.RELEASE or ())),
        "python": platform.python_version(),
    }


def main() -> int:
    """Measure, print the table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="rows whose work begins so, such as inv, solve, slogdet")
    parser.add_argument("--quick", action="store_true", help="fewer sizes")
    gpu_runner.add_arguments(parser, Path("runs/gpu.json"))
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("benchmarks/gpu.py needs a GPU, and torch finds none here; nothing was measured", file=sys.stderr)
        return 2
    from neuralinv.kernels import availability

    if not availability.serves(torch.device("cuda")):
        print(f"benchmarks/gpu.py has nothing to measure: {availability.describe()}", file=sys.stderr)
        return 2
    groups = {name: partial(tasks, make, options) for name, make in MAKERS.items() if _asked_for(name, options.only)}
    benchmark = gpu_runner.Benchmark(groups, describe_machine, partial(warm_ups, options.only), gpu_runner.cuda_works)
    return gpu_runner.run(benchmark, options)


def _asked_for(group: str, only: str) -> bool:
    return group.startswith(only) or only.startswith(group)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


if __name__ == "__main__":
    sys.exit(main())
