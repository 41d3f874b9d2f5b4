"""The judge of block-tridiagonal benchmarks, and that every rival gives the right answer; no time is asserted."""

from __future__ import annotations

import sys
from functools import partial

import pytest
import torch
from torch import Tensor

from neuralinv.bench.block_tridiagonal import conditioning, goals, kalman, memory, rivals, scaling, speed, vae
from neuralinv.bench.block_tridiagonal.oracle import Truth, find_truth, is_inaccurate, largest_error
from neuralinv.bench.block_tridiagonal.problems import BACKWARD, FACTOR, FORWARD, SOLVE, WORKS, Problem, make_problem
from neuralinv.bench.block_tridiagonal.scipy_rival import band
from neuralinv.bench.rivals import OURS, Prepared, UnavailableError
from neuralinv.block_tridiagonal.conformance import Case, dense

# Each compiles for seconds.
COMPILED = {"jax", "tinygp", "socu"}
LOADED, _ = rivals.load_rivals(list(rivals.RIVALS))


CASES = [
    pytest.param(name, batch, dtype, marks=pytest.mark.slow if name in COMPILED and slow else ())
    for name in (OURS, *rivals.RIVALS)
    for batch, dtype, slow in (
        (None, torch.float32, name == "tinygp"),
        (None, torch.float64, name != "tinygp"),
        (3, torch.float32, True),
        (3, torch.float64, True),
    )
]


@pytest.mark.parametrize(("name", "batch", "dtype"), CASES, ids=str)
def test_every_rival_agrees_with_the_oracle(name: str, batch: int | None, dtype: torch.dtype) -> None:
    if name not in LOADED:
        pytest.skip(f"{name} is not installed")
    problem = make_problem(6, 3, dtype, batch=batch)
    truth = find_truth(problem)
    assert truth is not None
    judged = 0
    for work, prepare in LOADED[name].items():
        try:
            prepared = prepare(problem)
        except UnavailableError:
            continue
        for _ in range(2):  # nothing of the first call is left in the second
            error = largest_error(truth, work, prepared.collect(prepared.call()))
            assert error < (2e-6 if dtype == torch.float32 else 4e-15), work
        judged += 1
    assert judged >= (0 if batch else 2)  # some take one sequence alone


def truth_by_autograd(problem: Problem) -> Truth:
    """Differentiate dense linear algebra: another way than the oracle's formulas."""
    D, B, b = (x.clone().requires_grad_() for x in (problem.diag, problem.lower, problem.b))
    steps, n = problem.steps, problem.n
    M = torch.zeros(steps * n, steps * n, dtype=torch.float64)
    for t in range(steps):
        M = M + torch.nn.functional.pad((D[t] + D[t].mT) / 2, (t * n, (steps - 1 - t) * n) * 2)
        if t + 1 < steps:
            block = torch.nn.functional.pad(B[t], (t * n, (steps - 1 - t) * n, (t + 1) * n, (steps - 2 - t) * n))
            M = M + block + block.mT
    torch.testing.assert_close(M.detach(), dense(Case("", problem.diag, problem.lower)))
    x = torch.linalg.solve(M, b.flatten()).reshape(b.shape)
    logdet = torch.linalg.slogdet(M).logabsdet
    gradients = torch.autograd.grad((problem.weights * x).sum() + logdet, (D, B, b))
    return Truth(None, x.detach(), logdet.detach(), gradients)


def test_the_oracle_is_right() -> None:
    problem = make_problem(5, 3, torch.float64)
    oracle, truth = find_truth(problem), truth_by_autograd(problem)
    assert oracle is not None
    torch.testing.assert_close(oracle.solution, truth.solution)
    torch.testing.assert_close(oracle.logdet, truth.logdet)
    for ours, theirs in zip(oracle.gradients, truth.gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_beyond_dense_matrices_the_loop_is_the_oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = make_problem(5, 3, torch.float64, batch=4)
    by_dense = find_truth(problem)
    monkeypatch.setattr("neuralinv.bench.block_tridiagonal.oracle.LARGEST_DENSE", 4)
    by_loop = find_truth(problem)
    assert by_dense is not None
    assert by_loop is not None
    torch.testing.assert_close(by_loop.solution, by_dense.solution)
    torch.testing.assert_close(by_loop.gradients[1], by_dense.gradients[1])
    assert by_loop.sequences == by_dense.sequences == 2
    monkeypatch.setattr("neuralinv.bench.block_tridiagonal.oracle._MOST_STEPS", 4)
    assert find_truth(problem) is None


def test_disturbed_answers_are_found() -> None:
    problem = make_problem(5, 2, torch.float64)
    truth = find_truth(problem)
    assert truth is not None
    assert largest_error(truth, SOLVE, (truth.solution * 1.01,)) == pytest.approx(0.01)
    assert largest_error(truth, FORWARD, (truth.solution, truth.logdet + 2 * truth.logdet.abs())) > 0.1
    diag, lower, b = truth.gradients
    one_triangle = diag.tril() + diag.tril(-1)  # all of the gradient to the triangle that is read
    assert largest_error(truth, BACKWARD, (one_triangle, lower, b)) < 1e-15
    for k in range(3):
        wrong = [part * (1.01 if k == j else 1) for j, part in enumerate(truth.gradients)]
        assert largest_error(truth, BACKWARD, wrong) == pytest.approx(0.01)
    assert largest_error(truth, SOLVE, (truth.solution * torch.nan,)) == float("inf")
    assert is_inaccurate(1e-3, torch.float32, 10)
    assert is_inaccurate(float("nan"), torch.float32, 10)
    assert not is_inaccurate(1e-6, torch.float32, 10)


def test_the_band_is_that_of_the_matrix() -> None:
    problem = make_problem(4, 3, torch.float64)
    M, ab = dense(Case("", problem.diag, problem.lower)), torch.from_numpy(band(problem))
    assert ab.shape == (6, 12)
    for d in range(6):
        torch.testing.assert_close(ab[d, : 12 - d], M.diagonal(-d))
        assert not ab[d, 12 - d :].any()


def row(work: str, steps: int, n: int, batch: int | None, **seconds: float) -> speed.Row:
    figures = {name.replace("_", "-"): speed.Figure(s, s, s, 1e-7) for name, s in seconds.items()}
    return speed.Row(work, steps, n, batch, "float32", figures, False)


def test_goals_are_judged_by_their_worst_row() -> None:
    rows = [
        row(BACKWARD, 250, 3, None, neuralinv=1.0, torch_loop=150.0),
        row(BACKWARD, 250, 10, None, neuralinv=1.0, torch_loop=99.0),
        row(BACKWARD, 1000, 10, None, neuralinv=1.0, torch_loop=151.0),
        row(BACKWARD, 250, 10, 64, neuralinv=1.0, torch_loop=21.0, jax=7.0),
        row(FACTOR, 250, 10, None, neuralinv=1.0, scipy=2.0),
    ]
    found = {(v.title, v.against): v for v in goals.judge(rows, None, None)}
    met = {key: (verdict.met, min(verdict.ratios)) for key, verdict in found.items()}
    assert met == {
        ("factor + 2 solves + logdet, forward + backward, T = 250", "torch-loop"): (False, 99.0),
        ("the same, T = 1000", "torch-loop"): (True, 151.0),
        ("batch, forward + backward, for each sequence", "torch-loop"): (True, 21.0),
        ("batch, forward + backward, for each sequence", "jax"): (False, 7.0),
        ("factor; factor + both solves; forward, one sequence", "scipy"): (True, 2.0),
    }
    used = memory.Memory(100, 2, "float32", 1000, 4100)
    step = vae.VaeStep(250, 3, 1.0, 11.0, 0.0)
    assert [v.met for v in goals.judge([], used, step)] == [True, False]


def test_a_failing_rival_is_named_and_the_rest_is_measured() -> None:
    def broken(problem: Problem) -> Prepared:
        raise RuntimeError("out of order")

    settings = speed.Settings(((4, 2),), 2, (torch.float32,), (), 1, 0.001, 10)
    able = {OURS: LOADED[OURS], "torch-loop": {FORWARD: broken}, "torch-triangular": LOADED["torch-triangular"]}
    outcome = speed.measure(settings, able)
    assert outcome.missing == {
        "torch-loop, forward, T = 4, n = 2": "out of order",
        "torch-loop, forward, T = 4, n = 2, batch 2": "out of order",
    }
    assert [(r.work, r.batch) for r in outcome.rows] == [*((w, None) for w in WORKS), (FORWARD, 2), (BACKWARD, 2)]
    assert all(next(iter(r.figures)) == OURS and not r.inaccurate for r in outcome.rows)
    with pytest.raises(RuntimeError, match="out of order"):
        speed.measure(settings, {OURS: {**LOADED[OURS], FORWARD: broken}})


def test_an_inaccurate_answer_of_ours_is_marked() -> None:
    def wrong(problem: Problem) -> Prepared:
        right = LOADED[OURS][FORWARD](problem)

        def collect(value: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return tuple(1.001 * x for x in value)

        return Prepared(right.call, collect)

    settings = speed.Settings(((4, 2),), 0, (torch.float32,), (), 1, 0.001, 10)
    rows = speed.measure(settings, {OURS: {**LOADED[OURS], FORWARD: wrong}}).rows
    assert [r.work for r in rows if r.inaccurate] == [FORWARD]


def test_slow_implementations_drop_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "_PATIENCE", 1e-9)
    monkeypatch.setattr(scaling, "STEPS", (2, 4))
    able = {name: LOADED[name] for name in (OURS, "torch-triangular")}
    samples = scaling.measure_scaling(able, torch.float32, longest=4, largest=2, threads=1, seconds=0.001)
    assert {(s.name, s.steps) for s in samples if s.n == 10} == {(OURS, 2), (OURS, 4), ("torch-triangular", 2)}
    assert {(s.work, s.n) for s in samples if s.steps == 250} == {(w, n) for w in (FORWARD, BACKWARD) for n in (1, 2)}


def test_long_calls_are_timed_once_and_compiled_rivals_asked_at_every_second_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scaling, "_LONG", 0.0)
    monkeypatch.setattr(scaling, "STEPS", (2, 4, 6))
    calls: list[tuple[str, int]] = []

    def prepare(name: str, problem: Problem) -> Prepared:
        return Prepared(lambda: calls.append((name, problem.steps)))

    able = {name: {FORWARD: partial(prepare, name)} for name in (OURS, "jax")}
    said: list[str] = []
    samples = scaling.measure_scaling(
        able, torch.float32, longest=6, largest=1, threads=1, seconds=0.001, announce=said.append
    )
    assert [(s.name, s.steps) for s in samples if s.n == 10] == [
        (OURS, 2),
        ("jax", 2),
        (OURS, 4),
        (OURS, 6),
        ("jax", 6),
    ]
    assert calls[:8] == [(name, steps) for name, steps in (
        (OURS, 2), ("jax", 2), (OURS, 4), (OURS, 6),
    ) for _ in range(2)]  # fmt: skip
    assert said[:2] == ["measuring neuralinv, T = 2, n = 10", "compiling jax, T = 2, n = 10"]
    assert len(said) == len(calls) / 2


def test_conditioning_says_when_there_is_no_answer() -> None:
    able = {name: LOADED[name] for name in (OURS, "scipy")}
    rows = conditioning.measure_conditioning(able, (torch.float32, torch.float64))
    assert [r.dtype for r in rows] == ["float32"] * 6 + ["float64"] * 6
    for r in rows:
        if r.certified is not None and r.certified_error is not None:
            assert r.certified_error <= r.certified
        forward = r.forward[OURS]
        if forward is not None and r.condition < float("inf"):
            assert forward < (1e-6 if r.dtype == "float32" else 1e-14) * r.condition
    assert rows[5].forward[OURS] is None  # κ = 1e10 in float32
    assert rows[5].status == "SINGULAR"
    assert rows[-1].condition > 1e9
    assert rows[-1].forward[OURS] is not None


def test_memory_is_that_of_another_process() -> None:
    used = memory.measure_memory(2000, 8, "float32")
    numbers = 2 * (2000 * 64 + 1999 * 64 + 2000 * 8)
    assert used.inputs_and_gradients == 4 * numbers
    assert used.peak > 0
    with pytest.raises(ValueError, match=r"peak memory could not be measured: .*float7"):
        memory.measure_memory(10, 2, "float7")


def test_torch_kf_finds_the_same_posterior() -> None:
    try:
        module = kalman.load()
    except UnavailableError as error:
        pytest.skip(str(error))
    row = kalman.measure_smoother(module, 12, 3, 2, torch.float64, threads=1, seconds=0.001)
    assert row.our_error < 1e-13
    assert row.their_error < 1e-11


@pytest.mark.parametrize("package", ["jax", "tinygp.solvers.quasisep.core", "warp", "torch_kf"])
def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    name = {"jax": "jax", "warp": "socu", "torch_kf": "torch-kf"}.get(package, "tinygp")
    with pytest.raises(UnavailableError, match=f"not installed: pip install {name}"):
        (kalman.load if name == "torch-kf" else rivals.RIVALS[name].load)()


def test_unknown_rival() -> None:
    with pytest.raises(ValueError, match="unknown rival 'matlab'; known are torch-loop"):
        rivals.load_rivals(["matlab"])


def test_the_example_trains_the_same_with_both() -> None:
    step = vae.measure_vae(2, window=20, threads=1)
    assert step.difference < 1e-3
    assert step.ratio > 0
