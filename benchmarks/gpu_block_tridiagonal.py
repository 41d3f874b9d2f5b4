"""Block-tridiagonal work on a GPU beside the Python loop on the same GPU: times by device events, and errors.

    python benchmarks/gpu_block_tridiagonal.py    # all rows that nine minutes allow

From the repository it needs what ``gpu.py`` needs; the figures go to ``runs/gpu_block_tridiagonal.json``. Rows are
measured in processes of their own (``gpu_runner.py``), and left out, with the reason, where something is missing.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np
import torch
from torch import Tensor

import gpu_runner
import neuralinv as ni
from neuralinv.bench.block_tridiagonal import socu_rival, torch_loops
from neuralinv.bench.block_tridiagonal.oracle import Truth, find_truth, is_inaccurate, largest_error
from neuralinv.bench.block_tridiagonal.problems import BACKWARD, SOLVE, Problem, make_problem
from neuralinv.bench.block_tridiagonal.rivals import Prepare
from neuralinv.bench.rivals import UnavailableError
from neuralinv.block_tridiagonal.dispatch import Method
from neuralinv.kernels import availability
from neuralinv.study.lorenz_vae import Settings, simulate, train

STEPS = 250
SIZES = (3, 5, 8, 10, 16, 20)
SEQUENCES = 1024
GOALS = {1: 100.0, SEQUENCES: 20.0}
"""By how much the loop is to be slower, by number of sequences."""
VAE_GOAL = 20.0
METHODS: tuple[Method, ...] = ("auto", "cyclic")
_WARM_UP, _REPEATS, _SECONDS = 5, 50, 1.0
"""Calls before times are taken, and times: fewer, where they would take longer than so many seconds."""
_TRAINING_STEPS, _LOOP_STEPS = 50, 10

Work = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes
    ----------
    work, n, batch, dtype
        What was done.
    ours, rival
        Median seconds.
    rival_name
        Beside whom.
    goal
        The quotient that is asked for, or None.
    error, rival_error
        Largest relative errors against float64; of the training step, how far the lower bounds are apart.
    right
        Whether our error is one that the tests allow; of the training step, whether it is a number.
    """

    work: str
    n: int
    batch: int
    dtype: str
    ours: float
    rival: float
    rival_name: str
    goal: float | None
    error: float
    rival_error: float
    right: bool

    def __str__(self) -> str:
        ratio = self.rival / self.ours
        judged = "" if self.goal is None else f"  goal {self.goal:.0f}: {'met' if ratio >= self.goal else 'MISSED'}"
        return (
            f"{self.work:34s} n={self.n:2d} batch={self.batch:5d} {self.dtype:8s} {1e3 * self.ours:9.3f} ms  error "
            f"{self.error:.1e}  {self.rival_name} {1e3 * self.rival:9.2f} ms  error {self.rival_error:.1e}  "
            f"{ratio:7.1f}×{judged}{'' if self.right else '  WRONG'}"
        )


@dataclass(frozen=True)
class Reference:
    """What all methods are compared with: a problem on the device, its truth, and the loop's time and error."""

    device: Problem
    truth: Truth
    loop_seconds: float
    loop_error: float


def groups() -> dict[str, Callable[[], Sequence[gpu_runner.Task]]]:
    """Return what lists the rows, those with a goal first."""

    def several(batch: int, dtype: torch.dtype) -> list[gpu_runner.Task]:
        return [
            _task(f"{method}, n={n}, batch={batch}, {dtype}", partial(measure, n, batch, dtype, method))
            for n in SIZES
            for method in METHODS
        ]

    return {
        "one sequence, float32": partial(several, 1, torch.float32),
        "training step": lambda: [_task("training step of the Lorenz VAE", measure_vae)],
        "many sequences, float32": partial(several, SEQUENCES, torch.float32),
        "one sequence, float64": partial(several, 1, torch.float64),
        "many sequences, float64": partial(several, SEQUENCES, torch.float64),
        "beside socu": _socu_rows,
    }


def _task(name: str, measure_row: Callable[[], Row]) -> gpu_runner.Task:
    def outcome() -> gpu_runner.Outcome:
        row = measure_row()
        return gpu_runner.Outcome(str(row), asdict(row), row.right)

    return gpu_runner.Task(name, outcome)


def _socu_rows() -> list[gpu_runner.Task]:
    try:
        prepare = socu_rival.load()[SOLVE]
    except UnavailableError as error:
        print(f"socu is left out: {error}", file=sys.stderr)
        return []
    return [_task(f"beside socu, n={n}", partial(measure_beside_socu, n, prepare)) for n in SIZES]


def warm_ups() -> list[Callable[[], object]]:
    """List calls of all kernels that rows need, the largest first: some take half a minute to compile."""
    from neuralinv.kernels import block_tridiagonal as kernels

    def call(n: int, dtype: torch.dtype, function: Callable[[Tensor, Tensor, Tensor], object]) -> None:
        for batch in GOALS:  # which decides how sequences share a warp; the length of time does not matter
            shapes = ((3, n, n), (2, n, n), (3, n, 1))
            function(*(torch.ones(batch, *shape, dtype=dtype, device="cuda") for shape in shapes))

    functions: tuple[Callable[[Tensor, Tensor, Tensor], object], ...] = (
        lambda D, B, b: kernels.factor_backward(D, B, D, B),
        lambda D, B, b: kernels.factor(D, B, False),
        lambda D, B, b: kernels.solve_backward(D, B, b, b, False),  # which solves, transposed
        lambda D, B, b: kernels.solve(D, B, b, False),
        lambda D, B, b: kernels.log_diagonal_backward(D, kernels.log_diagonal(D)),
    )
    dtypes = (torch.float32, torch.float64)
    return [partial(call, n, dtype, function) for n in reversed(SIZES) for function in functions for dtype in dtypes]


def measure_beside_socu(n: int, prepare: Prepare) -> Row:
    """Time factor and both solves of one sequence in float32 beside socu, by the host's clock.

    Its launches need not be on torch's stream, where our events are: both wait for the whole device.
    """
    problem = make_problem(STEPS, n, torch.float32)
    truth, device = _true_solution(problem), _on_device(problem)

    def ours() -> tuple[Tensor]:
        F = ni.BlockTridiagonal(device.diag, device.lower).cholesky_ex().factor
        return (F.solve_transpose(F.solve(device.b)),)

    calls = (ours, prepare(device).call)
    seconds = [host_seconds(call) for call in calls]
    errors = [largest_error(truth, SOLVE, [x.cpu() for x in call()]) for call in calls]
    right = not is_inaccurate(errors[0], problem.dtype, problem.condition)
    return Row("factor + both solves", n, 1, "float32", *seconds, "socu", None, *errors, right)


@lru_cache(maxsize=1)
def refer(n: int, batch: int, dtype: torch.dtype) -> Reference:
    """Make a problem, solve it in float64 and by the loop: once for all methods, which come one after another."""
    problem = make_problem(STEPS, n, dtype, batch=batch)
    truth, device = _true_solution(problem), _on_device(problem)
    loop = gradients_of(torch_loops.work_with_inverses, device)
    error = largest_error(truth, BACKWARD, [x.cpu() for x in loop()])
    return Reference(device, truth, device_seconds(loop), error)


def measure(n: int, batch: int, dtype: torch.dtype, method: Method) -> Row:
    """Time factor, two solves, log-determinant and gradients, with ``method`` and with the loop."""
    reference = refer(n, batch, dtype)
    device = reference.device

    def ours(D: Tensor, B: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        F = ni.BlockTridiagonal(D, B, method=method).cholesky_ex().factor  # nothing waits for the GPU
        return F.solve_transpose(F.solve(b)), 2 * F.logdet()

    call = gradients_of(ours, device)
    error = largest_error(reference.truth, BACKWARD, [x.cpu() for x in call()])
    name = ni.BlockTridiagonal(device.diag, device.lower, method=method).explain_dispatch().split(":")[0]
    return Row(
        f"forward + backward, {name}",
        n,
        batch,
        str(dtype).removeprefix("torch."),
        device_seconds(call),
        reference.loop_seconds,
        "torch loop",
        GOALS[batch] if method == "auto" else None,
        error,
        reference.loop_error,
        not is_inaccurate(error, dtype, device.condition),
    )


def measure_vae() -> Row:
    """Time the whole training step of the Lorenz example with the kernels and with the loop."""
    settings = Settings(path=4 * STEPS, window=STEPS)
    observations = torch.as_tensor(simulate(settings.path).observations, dtype=settings.dtype, device="cuda")
    train(observations, settings, "auto", stop_after=_WARM_UP)
    _, ours = train(observations, settings, "auto", stop_after=_TRAINING_STEPS)
    _, loop = train(observations, settings, "loop", stop_after=_LOOP_STEPS)
    apart = float(np.abs(ours.elbo[: len(loop.elbo)] - loop.elbo).max())
    kind = ("training step of the Lorenz VAE", settings.latent, 1, "float32")
    times = (ours.step_seconds, loop.step_seconds)
    return Row(*kind, *times, "loop", VAE_GOAL, apart, 0.0, math.isfinite(apart))


def gradients_of(work: Work, problem: Problem) -> Callable[[], Sequence[Tensor]]:
    """Return the call that is timed: work and gradients."""
    leaves = [x.clone().requires_grad_() for x in (problem.diag, problem.lower, problem.b)]

    def call() -> Sequence[Tensor]:
        x, logdet = work(*leaves)
        return torch.autograd.grad((problem.weights * x).sum() + logdet.sum(), leaves)

    return call


def device_seconds(call: Callable[[], object]) -> float:
    """Return the median time of a call between events on the device, the launches included."""

    def once() -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        call()
        end.record()
        end.synchronize()
        return 1e-3 * start.elapsed_time(end)

    call()
    repeats = max(1, min(_REPEATS, int(_SECONDS / once())))
    for _ in range(min(_WARM_UP, repeats)):
        call()
    return statistics.median(once() for _ in range(repeats))


def host_seconds(call: Callable[[], object]) -> float:
    """Return the median time of a call and of what it started, by the host's clock."""
    times = []
    for _ in range(_WARM_UP + _REPEATS):
        torch.cuda.synchronize()
        before = time.perf_counter()
        call()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - before)
    return statistics.median(times[_WARM_UP:])


def _true_solution(problem: Problem) -> Truth:
    truth = find_truth(problem)
    if truth is None:
        raise RuntimeError(f"T = {STEPS} has a truth to compare with, but none was found")
    return truth


def _on_device(problem: Problem) -> Problem:
    return Problem(*(x.cuda() for x in (problem.diag, problem.lower, problem.b, problem.weights)), problem.condition)


def describe_machine() -> dict[str, Any]:
    """Say where it is measured."""
    return {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "steps": STEPS}


def main() -> int:
    """Measure every row and print it; without a GPU, say so."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    gpu_runner.add_arguments(parser, Path("runs/gpu_block_tridiagonal.json"))
    options = parser.parse_args()
    if not torch.cuda.is_available() or not availability.serves(torch.device("cuda")):
        print(f"nothing was measured: {availability.describe()}", file=sys.stderr)
        return 2
    benchmark = gpu_runner.Benchmark(groups(), describe_machine, warm_ups, gpu_runner.cuda_works)
    return gpu_runner.run(benchmark, options)


if __name__ == "__main__":
    sys.exit(main())
