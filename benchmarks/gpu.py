"""Check and time everything that runs on a GPU, beside what others offer, in one command:

    python benchmarks/gpu.py                 # all rows; writes runs/gpu.json
    python benchmarks/gpu.py --only inv --quick

From the repository it needs torch, Triton, NumPy and SciPy; nothing is built beforehand: Triton compiles the kernels at
their first call, and the C++ core, which is for the CPU, need not be there. CuPy and JAX are measured where installed.

Times are medians between device events (JAX, which has streams of its own: of the host's clock, until the result is
there), after warming up, all implementations in turn. Inputs are fresh random numbers, in so many sets that together
they exceed the L2 cache. Every result is checked, and its error stands beside its time. Without a GPU the command says
so and exits with 2; with 1 if a result was wrong.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # JAX would take the memory of all others
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import torch
from torch import Tensor

OURS = "neuralinv"
ROUNDS, SHORTEST = 15, 2e-3  # visits to each implementation; seconds between two events


@dataclass(frozen=True)
class Call:
    """An implementation: ``prepare`` turns a tensor into what ``run`` takes, ``collect`` its result into a tensor."""

    run: Callable[..., Any]
    prepare: Callable[[Tensor], Any] = lambda tensor: tensor
    collect: Callable[[Any], Tensor] = lambda result: result
    own_stream: bool = False  # device events of torch do not see it


@dataclass(frozen=True)
class Case:
    """One row: something to compute, by several implementations.

    ``inputs`` draws arguments; ``error`` tells how far a result is from the truth, and what is allowed.
    """

    work: str
    n: int
    dtype: str
    batch: int
    inputs: Callable[[], tuple[Tensor, ...]]
    calls: Mapping[str, Call]
    error: Callable[[tuple[Tensor, ...], Tensor], tuple[float, float]]
    moved: int  # bytes that must be read and written
    goal: str = ""


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

    @property
    def wrong(self) -> bool:
        return not self.errors.get(OURS, math.inf) <= self.allowed_error


def uniform(*shape: int, dtype: torch.dtype) -> Tensor:
    """Draw numbers between -1 and 1 on the GPU."""
    return torch.rand(*shape, dtype=dtype, device="cuda") * 2 - 1


def inverse_error(inputs: tuple[Tensor, ...], X: Tensor) -> tuple[float, float]:
    """Return the largest error of some inverses, in units of what is allowed for its condition number."""
    from neuralinv.testing import TOLERANCE, condition_number, relative_error

    A, X = inputs[0][:500].cpu(), X[:500].cpu()
    return float((relative_error(A, X) / condition_number(A)).max()), TOLERANCE[A.dtype]


def solution_error(inputs: tuple[Tensor, ...], X: Tensor) -> tuple[float, float]:
    """Return the largest residual relative to ‖A‖ ‖x‖."""
    from neuralinv.testing import TOLERANCE

    A, B, wide = inputs[0][:500].double(), inputs[1][:500].double(), X[:500].double()
    size = torch.linalg.matrix_norm(A) * torch.linalg.matrix_norm(wide)
    return float((torch.linalg.matrix_norm(A @ wide - B) / size).max()), TOLERANCE[X.dtype]


def determinant_error(inputs: tuple[Tensor, ...], logarithm: Tensor) -> tuple[float, float]:
    """Return the largest error of some logarithms, in units of the condition number."""
    from neuralinv.testing import TOLERANCE, condition_number

    A = inputs[0][:500].cpu()
    off = (logarithm[:500].cpu().double() - torch.linalg.slogdet(A.double()).logabsdet).abs()
    return float((off / condition_number(A)).max()), 10 * TOLERANCE[A.dtype]


def rival_inverses(dtype: torch.dtype) -> dict[str, Call]:
    """Return inverses by others, of those that are installed."""
    calls = {"torch": Call(lambda A: torch.linalg.inv_ex(A).inverse)}
    try:
        import cupy

        calls["cupy"] = Call(cupy.linalg.inv, cupy.from_dlpack, torch.from_dlpack)
    except ImportError:
        pass
    try:
        import jax

        if jax.default_backend() == "gpu":
            run = jax.jit(jax.numpy.linalg.inv)

            def prepare(A: Tensor) -> Any:
                jax.config.update("jax_enable_x64", True)  # this process measures, and has no other user
                return jax.dlpack.from_dlpack(A)

            calls["jax"] = Call(lambda A: run(A).block_until_ready(), prepare, torch.from_dlpack, own_stream=True)
    except (ImportError, RuntimeError):
        pass
    return calls


def inverses(quick: bool) -> Iterator[Case]:
    """Batches of inverses: large ones, then small ones, where what counts is the time of a launch."""
    import neuralinv as ni

    sizes = (2, 3, 4, 8, 16, 32) if quick else (*range(1, 17), 20, 24, 28, 31, 32)
    shapes = [(n, 1_000_000 if n <= 16 else 200_000) for n in sizes]
    shapes += [(n, batch) for n in (3, 8, 32) for batch in ((1, 1000) if quick else (1, 10, 100, 1000))]
    for dtype in (torch.float32, torch.float64):
        for n, batch in shapes:
            large = "copy ≥ 70 %, ≥ 8×" if n <= 4 else "≥ 6×" if n <= 16 else "≥ 3×"
            yield _inverse_case("inv", n, dtype, batch, {OURS: Call(lambda A: ni.inv_ex(A).inverse)}, large)


def certified(quick: bool) -> Iterator[Case]:
    """Inverses with their bounds, beside inverses without."""
    import neuralinv as ni
    from neuralinv.dense import gpu

    for n in (3, 8, 32) if quick else (2, 3, 4, 5, 8, 12, 16, 24, 32):
        for dtype, rtol in ((torch.float32, 1e-5), (torch.float64, 1e-10)):
            calls = {
                OURS: Call(lambda A, rtol=rtol: gpu.certified_invert(A, rtol)[0]),
                f"{OURS} certified_inv": Call(lambda A: ni.certified_inv(A, on_singular="nan").inverse),
            }
            yield _inverse_case("inv with bounds", n, dtype, 100_000, calls)


def larger(quick: bool) -> Iterator[Case]:
    """Beyond the kernels: blocks beside torch's routine, for the table ``kernels/crossover.json``."""
    from neuralinv.dense import blocked

    for n in (64,) if quick else (33, 40, 48, 64, 96, 128, 256):
        for dtype in (torch.float32, torch.float64):
            yield _inverse_case("inv by blocks", n, dtype, 4_000_000 // n**2, {OURS: Call(blocked.inverse)})


def solutions(quick: bool) -> Iterator[Case]:
    """One right-hand side, and as many as rows."""
    import neuralinv as ni

    for n in (3, 8, 32) if quick else (2, 3, 4, 5, 8, 12, 16, 24, 32):
        for dtype in (torch.float32, torch.float64):
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
                        OURS: Call(lambda A, B: ni.solve_ex(A, B).result),
                        "torch": Call(lambda A, B: torch.linalg.solve_ex(A, B).result),
                    },
                    solution_error,
                    batch * (n * n + 2 * n * columns) * dtype.itemsize,
                )


def determinants(quick: bool) -> Iterator[Case]:
    """Logarithms of determinants."""
    import neuralinv as ni

    for n in (3, 8, 32) if quick else (2, 3, 4, 5, 8, 12, 16, 24, 32):
        for dtype in (torch.float32, torch.float64):
            yield Case(
                "slogdet",
                n,
                _name(dtype),
                200_000,
                lambda n=n, dtype=dtype: (uniform(200_000, n, n, dtype=dtype),),
                {
                    OURS: Call(lambda A: ni.slogdet(A).logabsdet),
                    "torch": Call(lambda A: torch.linalg.slogdet(A).logabsdet),
                },
                determinant_error,
                200_000 * n * n * dtype.itemsize,
            )


MAKERS: list[Callable[[bool], Iterator[Case]]] = [inverses, certified, solutions, determinants, larger]
"""What is measured: each takes whether to be quick, and yields cases. Append to it."""


def _inverse_case(work: str, n: int, dtype: torch.dtype, batch: int, ours: dict[str, Call], goal: str = "") -> Case:
    return Case(
        work,
        n,
        _name(dtype),
        batch,
        lambda: (uniform(batch, n, n, dtype=dtype),),
        ours | rival_inverses(dtype),
        inverse_error,
        2 * batch * n * n * dtype.itemsize,
        "no slower" if batch <= 1000 and goal else goal,
    )


def measure(case: Case, copy_rate: float) -> Row:
    """Check, warm up and time all implementations of a case, in turn."""
    first = case.inputs()
    size = sum(tensor.nbytes for tensor in first)
    cache = torch.cuda.get_device_properties(0).L2_cache_size
    sets = [first, *(case.inputs() for _ in range(min(255, 2 * cache // size)))]
    errors: dict[str, float] = {}
    failures: dict[str, str] = {}
    allowed = math.nan
    prepared: dict[str, list[tuple[Any, ...]]] = {}
    inner: dict[str, int] = {}
    for name, call in case.calls.items():
        try:
            arguments = [tuple(call.prepare(tensor) for tensor in tensors) for tensors in sets]
            errors[name], allowed = case.error(first, call.collect(call.run(*arguments[0])))
            for some in arguments:
                call.run(*some)
            once = min(_time(call, arguments, 1, 0) for _ in range(3))
        except Exception as error:  # a rival that cannot is a row's footnote, not the end of the table
            failures[name] = f"{type(error).__name__}: {error}".splitlines()[0]
            continue
        prepared[name], inner[name] = arguments, max(1, min(1000, round(SHORTEST / once)))
    times: dict[str, list[float]] = {name: [] for name in prepared}
    for k in range(ROUNDS):
        for name in list(prepared) if k % 2 == 0 else reversed(list(prepared)):
            times[name].append(_time(case.calls[name], prepared[name], inner[name], k))
    seconds = {name: statistics.median(found) for name, found in times.items()}
    share = case.moved / copy_rate / seconds[OURS] if OURS in seconds else 0.0
    return Row(case.work, case.n, case.dtype, case.batch, seconds, errors, allowed, share, case.goal, failures=failures)


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


def measure_copy() -> float:
    """Return bytes per second, read and written together, of a copy of 1 GiB."""
    source = torch.rand(1 << 28, device="cuda")
    target = torch.empty_like(source)
    call = Call(target.copy_)
    _time(call, [(source,)], 3, 0)
    return 2 * source.nbytes / statistics.median(_time(call, [(source,)], 5, 0) for _ in range(ROUNDS))


def show(row: Row) -> str:
    """Write a row of the table."""
    line = f"{row.work:18s} {row.n:4d} {row.dtype:8s} {row.batch:9,d}"
    ours = row.seconds.get(OURS)
    if ours is None:
        return f"{line}  FAILED: {row.failures.get(OURS)}"
    line += f" {ours * 1e6:11.1f} µs  {row.share_of_copy:5.0%} of copy  error {row.errors[OURS]:.0e}"
    for name, seconds in row.seconds.items():
        if name != OURS:
            line += f"  | {name} {seconds * 1e6:.1f} µs ({seconds / ours:.1f}×), {row.errors[name]:.0e}"
    for name, why in row.failures.items():
        line += f"  | {name} failed: {why[:60]}"
    return line + (f"  | goal {row.goal}" if row.goal else "") + ("  WRONG" if row.wrong else "")


def main() -> int:
    """Measure, print the table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="rows whose work begins so, such as inv, solve, slogdet")
    parser.add_argument("--quick", action="store_true", help="fewer sizes")
    parser.add_argument("--json", type=Path, default=Path("runs/gpu.json"), help="where the figures go")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("benchmarks/gpu.py needs a GPU, and torch finds none here; nothing was measured", file=sys.stderr)
        return 2
    from neuralinv.io.atomic import atomic_path
    from neuralinv.kernels import availability

    if not availability.serves(torch.device("cuda")):
        print(f"benchmarks/gpu.py has nothing to measure: {availability.describe()}", file=sys.stderr)
        return 2
    copy_rate = measure_copy()
    machine = {
        "gpu": torch.cuda.get_device_name(0),
        "copy_bytes_per_second": copy_rate,
        "l2_bytes": torch.cuda.get_device_properties(0).L2_cache_size,
        "torch": torch.__version__,
        "triton": ".".join(map(str, availability.RELEASE or ())),
        "python": platform.python_version(),
    }
    print(f"{machine['gpu']}, torch {torch.__version__}: a copy reads and writes {copy_rate / 1e12:.2f} TB/s")
    rows: list[Row] = []
    for make in MAKERS:
        for case in make(options.quick):
            if not case.work.startswith(options.only):
                continue
            rows.append(measure(case, copy_rate))
            print(show(rows[-1]), flush=True)
            torch.cuda.empty_cache()
            with atomic_path(options.json) as temporary:  # after each row: a run may be cut short
                temporary.write_text(json.dumps({"machine": machine, "rows": [asdict(row) for row in rows]}, indent=1))
    wrong = [row for row in rows if row.wrong]
    print(f"{len(rows)} rows, {len(wrong)} with an error larger than allowed; figures in {options.json}")
    return 1 if wrong else 0


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


if __name__ == "__main__":
    sys.exit(main())
