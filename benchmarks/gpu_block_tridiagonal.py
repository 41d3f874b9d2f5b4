"""Block-tridiagonal work on a GPU beside the Python loop on the same GPU: times by device events, and errors.

``rows()`` gives functions that measure a row each, so that other tables can hold them, too. Alone:
``python benchmarks/gpu_block_tridiagonal.py``. A row is left out, with its reason, where something is missing.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

import neuralinv as ni
from neuralinv.bench.block_tridiagonal import socu_rival, torch_loops
from neuralinv.bench.block_tridiagonal.oracle import find_truth, largest_error
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
_WARM_UP, _REPEATS, _LOOP_REPEATS = 5, 50, 5

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

    def __str__(self) -> str:
        ratio = self.rival / self.ours
        judged = "" if self.goal is None else f"  goal {self.goal:.0f}: {'met' if ratio >= self.goal else 'MISSED'}"
        return (
            f"{self.work:34s} n={self.n:2d} batch={self.batch:5d} {self.dtype:8s} {1e3 * self.ours:9.3f} ms  error "
            f"{self.error:.1e}  {self.rival_name} {1e3 * self.rival:9.2f} ms  error {self.rival_error:.1e}  "
            f"{ratio:7.1f}×{judged}"
        )


def rows() -> Iterator[Callable[[], Row]]:
    """Yield what measures a row each."""
    for dtype in (torch.float32, torch.float64):
        for batch in GOALS:
            for n in SIZES:
                for method in ("auto", "cyclic"):
                    yield partial(measure, n, batch, dtype, method)
    yield from _socu_rows()
    yield measure_vae


def _socu_rows() -> Iterator[Callable[[], Row]]:
    try:
        prepare = socu_rival.load()[SOLVE]
    except UnavailableError as error:
        print(f"socu is left out: {error}", file=sys.stderr)
        return
    for n in SIZES:
        yield partial(measure_beside_socu, n, prepare)


def measure_beside_socu(n: int, prepare: Prepare) -> Row:
    """Time factor and both solves of one sequence in float32 beside socu, by the host's clock.

    Its launches need not be on torch's stream, where our events are: both wait for the whole device.
    """
    problem = make_problem(STEPS, n, torch.float32)
    truth = find_truth(problem)
    if truth is None:
        raise RuntimeError(f"T = {STEPS} has a truth to compare with, but none was found")
    device = Problem(*(x.cuda() for x in (problem.diag, problem.lower, problem.b, problem.weights)), problem.condition)

    def ours() -> tuple[Tensor]:
        F = ni.BlockTridiagonal(device.diag, device.lower).cholesky_ex().factor
        return (F.solve_transpose(F.solve(device.b)),)

    calls = (ours, prepare(device).call)
    seconds = [host_seconds(call) for call in calls]
    errors = [largest_error(truth, SOLVE, [x.cpu() for x in call()]) for call in calls]
    return Row("factor + both solves", n, 1, "float32", *seconds, "socu", None, *errors)


def measure(n: int, batch: int, dtype: torch.dtype, method: Method) -> Row:
    """Time factor, two solves, log-determinant and gradients, with ``method`` and with the loop."""
    problem = make_problem(STEPS, n, dtype, batch=batch)
    truth = find_truth(problem)
    device = Problem(*(x.cuda() for x in (problem.diag, problem.lower, problem.b, problem.weights)), problem.condition)

    def ours(D: Tensor, B: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        F = ni.BlockTridiagonal(D, B, method=method).cholesky_ex().factor  # nothing waits for the GPU
        return F.solve_transpose(F.solve(b)), 2 * F.logdet()

    seconds, errors = [], []
    for work, repeats in ((ours, _REPEATS), (torch_loops.work_with_inverses, _LOOP_REPEATS)):
        call = gradients_of(work, device)
        if truth is None:
            raise RuntimeError(f"T = {STEPS} has a truth to compare with, but none was found")
        errors.append(largest_error(truth, BACKWARD, [x.cpu() for x in call()]))
        seconds.append(device_seconds(call, repeats))
    name = ni.BlockTridiagonal(device.diag, device.lower, method=method).explain_dispatch().split(":")[0]
    goal = GOALS[batch] if method == "auto" else None
    dtype_name = str(dtype).removeprefix("torch.")
    return Row(f"forward + backward, {name}", n, batch, dtype_name, *seconds, "torch loop", goal, *errors)


def measure_vae() -> Row:
    """Time the whole training step of the Lorenz example with the kernels and with the loop."""
    settings = Settings(path=4 * STEPS, window=STEPS)
    observations = torch.as_tensor(simulate(settings.path).observations, dtype=settings.dtype, device="cuda")
    train(observations, settings, "auto", stop_after=_WARM_UP)
    _, ours = train(observations, settings, "auto", stop_after=10 * _LOOP_REPEATS)
    _, loop = train(observations, settings, "loop", stop_after=2 * _LOOP_REPEATS)
    apart = float(np.abs(ours.elbo[: len(loop.elbo)] - loop.elbo).max())
    times = (ours.step_seconds, loop.step_seconds)
    return Row("training step of the Lorenz VAE", settings.latent, 1, "float32", *times, "loop", VAE_GOAL, apart, 0.0)


def gradients_of(work: Work, problem: Problem) -> Callable[[], Sequence[Tensor]]:
    """Return the call that is timed: work and gradients."""
    leaves = [x.clone().requires_grad_() for x in (problem.diag, problem.lower, problem.b)]

    def call() -> Sequence[Tensor]:
        x, logdet = work(*leaves)
        return torch.autograd.grad((problem.weights * x).sum() + logdet.sum(), leaves)

    return call


def device_seconds(call: Callable[[], object], repeats: int) -> float:
    """Return the median time of a call between events on the device, the launches included."""
    for _ in range(_WARM_UP):
        call()
    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        call()
        end.record()
        end.synchronize()
        times.append(1e-3 * start.elapsed_time(end))
    return statistics.median(times)


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


def main() -> int:
    """Measure every row and print it; without a GPU, say so."""
    if not torch.cuda.is_available() or not availability.serves(torch.device("cuda")):
        print(f"nothing was measured: {availability.describe()}", file=sys.stderr)
        return 1
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, T = {STEPS}")
    for row in rows():
        print(row(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
