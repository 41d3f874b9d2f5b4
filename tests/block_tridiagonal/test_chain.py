"""Gaussian Markov chains against dense multivariate normal laws in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Independent, MultivariateNormal, kl_divergence

import neuralinv as ni
from neuralinv.block_tridiagonal.conformance import random_precision

METHODS = ["native", "cyclic", "loop"]


def normal(*shape: int, seed: int = 3) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def chain(*batch: int, steps: int, n: int, form: str = "mean", seed: int = 0, **options: Any) -> ni.GaussianMarkovChain:
    M = ni.BlockTridiagonal(*random_precision(*batch, steps=steps, n=n, seed=seed), **options)
    return ni.GaussianMarkovChain(M, **{form: normal(*batch, steps, n, seed=seed + 1)})


def oracle(q: ni.GaussianMarkovChain) -> MultivariateNormal:
    """The same law over flattened paths."""
    M = q.precision.to_dense()
    if "mean" in q.__dict__:
        return MultivariateNormal(q.mean.flatten(-2), precision_matrix=M)
    mean = torch.linalg.solve(M, q.information.flatten(-2)[..., None])[..., 0]
    return MultivariateNormal(mean, precision_matrix=M)


def blocks_of(dense: Tensor, steps: int, n: int, lag: int) -> Tensor:
    """Blocks (t + lag, t) of ``(*batch, T n, T n)``."""
    grid = dense.unflatten(-1, (steps, n)).unflatten(-3, (steps, n))
    index = torch.arange(steps - lag)
    return grid[..., index + lag, :, index, :].movedim(0, -3)


@pytest.mark.parametrize("form", ["mean", "information"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("batch", [(), (3,), (2, 3)], ids=str)
def test_everything_against_a_dense_law(batch: tuple[int, ...], method: str, form: str) -> None:
    q = chain(*batch, steps=5, n=3, form=form, method=method)
    p = oracle(q)
    assert q.batch_shape == batch
    assert q.event_shape == (5, 3)
    torch.testing.assert_close(q.mean.flatten(-2), p.mean)
    torch.testing.assert_close(q.information, q.precision.matmul(q.mean[..., None])[..., 0])
    torch.testing.assert_close(q.mode, q.mean)
    torch.testing.assert_close(q.variance.flatten(-2), p.variance)
    torch.testing.assert_close(q.stddev.flatten(-2), p.stddev)
    torch.testing.assert_close(q.entropy(), p.entropy())
    torch.testing.assert_close(q.marginal_covariances, blocks_of(p.covariance_matrix, 5, 3, 0))
    torch.testing.assert_close(q.lag_one_covariances, blocks_of(p.covariance_matrix, 5, 3, 1))
    for sample_shape in ((), (1,), (4,), (2, 4)):
        value = normal(*sample_shape, *batch, 5, 3)
        torch.testing.assert_close(q.log_prob(value), p.log_prob(value.flatten(-2)))


@settings(max_examples=30, deadline=None)
@given(
    batch=st.lists(st.integers(1, 3), max_size=2),
    samples=st.lists(st.integers(1, 3), max_size=2),
    steps=st.integers(1, 4),
    n=st.integers(1, 4),
    form=st.sampled_from(["mean", "information"]),
    method=st.sampled_from(METHODS),
)
def test_samples_of_any_shape_follow_the_factor(
    batch: list[int], samples: list[int], steps: int, n: int, form: str, method: str
) -> None:
    # Equal to μ + F⁻ᵀ ε for the same noise, whatever coincides: T, n, the batch, the number of samples.
    q = chain(*batch, steps=steps, n=n, form=form, method=method)
    torch.manual_seed(5)
    drawn = q.rsample(torch.Size(samples))
    torch.manual_seed(5)
    noise = torch.randn(*samples, *batch, steps, n, dtype=torch.float64)
    assert drawn.shape == noise.shape
    root = torch.linalg.cholesky(q.precision.to_dense())
    expected = oracle(q).mean + torch.linalg.solve(root.mT, noise.flatten(-2)[..., None])[..., 0]
    torch.testing.assert_close(drawn.flatten(-2), expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(q.log_prob(drawn), oracle(q).log_prob(drawn.flatten(-2)), rtol=1e-9, atol=1e-9)


def test_samples_do_not_depend_on_what_was_asked_before() -> None:
    first, second = chain(2, steps=4, n=3, form="information"), chain(2, steps=4, n=3, form="information")
    assert second.mean.shape == (2, 4, 3)
    for sample_shape in ((), (3,)):
        torch.manual_seed(1)
        before = first.rsample(sample_shape)
        torch.manual_seed(1)
        torch.testing.assert_close(before, second.rsample(sample_shape))


@pytest.mark.parametrize("form", ["mean", "information"])
@pytest.mark.parametrize("method", METHODS)
def test_gradients(method: str, form: str) -> None:
    D, B = random_precision(steps=3, n=2)
    value = normal(3, 2, seed=9)

    def everything(D: Tensor, B: Tensor, given: Tensor) -> tuple[Tensor, ...]:
        M = ni.BlockTridiagonal((D + D.mT) / 2, B, method=method)
        q = ni.GaussianMarkovChain(M, **{form: given})
        p = ni.GaussianMarkovChain(2 * M, mean=given**2)
        torch.manual_seed(0)
        samples = q.rsample((2,))
        return (
            samples, q.rsample(), q.log_prob(value), q.entropy(), q.mean, q.information, q.variance, q.stddev,
            q.marginal_covariances, q.lag_one_covariances, kl_divergence(p, q), kl_divergence(q, p),
        )  # fmt: skip

    arguments = tuple(x.requires_grad_() for x in (D, B, normal(3, 2)))
    assert torch.autograd.gradcheck(everything, arguments, fast_mode=True)


@pytest.mark.parametrize("batches", [((), ()), ((3,), (3,)), ((), (3,)), ((2, 1), (3,))], ids=str)
def test_divergences(batches: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    p = chain(*batches[0], steps=4, n=3, form="information")
    q = chain(*batches[1], steps=4, n=3, seed=8)
    torch.testing.assert_close(kl_divergence(p, q), kl_divergence(oracle(p), oracle(q)))
    assert kl_divergence(p, q).shape == torch.broadcast_shapes(*batches)
    torch.testing.assert_close(kl_divergence(p, p), torch.zeros(batches[0], dtype=torch.float64))
    with pytest.raises(ValueError, match=r"events \(4, 3\) and \(3, 3\); expected the same"):
        kl_divergence(p, chain(steps=3, n=3))
    with pytest.raises(ValueError, match=r"batch shapes \(5,\) and \(7,\); expected shapes that broadcast"):
        kl_divergence(chain(5, steps=4, n=3), chain(7, steps=4, n=3))


@pytest.mark.parametrize("form", ["mean", "information"])
def test_one_precision_for_many_means(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    D, B = random_precision(steps=3, n=3)
    given = normal(3, 3, 3)
    q = ni.GaussianMarkovChain(ni.BlockTridiagonal(D, B), **{form: given})
    each = [ni.GaussianMarkovChain(ni.BlockTridiagonal(D, B), **{form: x}) for x in given]
    assert q.factor.diag.shape == (3, 3, 3)  # of the one precision
    value = normal(3, 3, 3, seed=4)
    for name in ("mean", "information", "variance", "marginal_covariances", "lag_one_covariances"):
        torch.testing.assert_close(getattr(q, name), torch.stack([getattr(c, name) for c in each]))
    torch.testing.assert_close(q.entropy(), torch.stack([c.entropy() for c in each]))
    torch.testing.assert_close(
        q.log_prob(value), torch.stack([c.log_prob(v) for c, v in zip(each, value, strict=True)])
    )
    wide = normal(3, 3, 3, 3, seed=6)  # T = n = the batch = the number of samples
    expected = torch.stack([c.log_prob(v) for c, v in zip(each, wide.unbind(1), strict=True)], 1)
    torch.testing.assert_close(q.log_prob(wide), expected)


def test_the_factor_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    original = ni.BlockTridiagonal.cholesky
    monkeypatch.setattr(ni.BlockTridiagonal, "cholesky", lambda self: calls.append(self) or original(self))
    q = chain(2, steps=4, n=2, form="information")
    assert not calls
    value = q.rsample((3,))
    q.log_prob(value), q.entropy(), q.mean, q.variance, q.lag_one_covariances, kl_divergence(q, q)
    q.expand((5, 2)).rsample()
    assert len(calls) == 1


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("form", ["mean", "information"])
def test_expand(form: str, asked: bool) -> None:
    q = chain(3, steps=4, n=2, form=form)
    if asked:
        q.entropy(), q.mean, q.variance
    wide = q.expand((2, 3))
    assert wide.batch_shape == (2, 3)
    assert type(wide) is ni.GaussianMarkovChain
    value = normal(5, 2, 3, 4, 2)
    dense = oracle(q).expand((2, 3))
    torch.testing.assert_close(wide.log_prob(value), dense.log_prob(value.flatten(-2)))
    torch.testing.assert_close(wide.entropy(), dense.entropy())
    torch.testing.assert_close(wide.mean.flatten(-2), dense.mean)
    torch.testing.assert_close(wide.variance.flatten(-2), dense.variance)
    assert wide.rsample((7,)).shape == (7, 2, 3, 4, 2)
    torch.testing.assert_close(kl_divergence(wide, q.expand((1, 3))), torch.zeros(2, 3, dtype=torch.float64))
    independent = Independent(q, 1)  # what torch's other distributions ask of one
    torch.testing.assert_close(independent.log_prob(value[0]), q.log_prob(value[0]).sum(-1))


def test_float32_and_no_gradients() -> None:
    D, B = (x.float().requires_grad_() for x in random_precision(2, steps=4, n=3))
    q = ni.GaussianMarkovChain(ni.BlockTridiagonal(D, B), torch.zeros(2, 4, 3))
    assert q.sample().dtype == torch.float32
    assert not q.sample((2,)).requires_grad
    # The factor that sample() computed under no_grad serves later gradients.
    assert torch.autograd.grad(q.entropy().sum(), D)[0].abs().sum() > 0
    assert q.has_rsample
    assert repr(q) == "GaussianMarkovChain(batch=(2,), T=4, n=3, torch.float32)"


@pytest.mark.parametrize("form", ["mean", "information"])
@pytest.mark.parametrize("method", METHODS)
def test_inference_mode(method: str, form: str) -> None:
    D, B = (torch.nn.Parameter(x) for x in random_precision(steps=3, n=2))
    value = normal(3, 2, seed=9)
    asked: dict[str, Callable[[ni.GaussianMarkovChain], Tensor]] = {
        "sample": lambda q: q.sample(),
        "log_prob": lambda q: q.log_prob(value),
        "entropy": lambda q: q.entropy(),
        "factor": lambda q: q.factor.diag,
        "covariances": lambda q: q.marginal_covariances,
        "mean": lambda q: q.mean,
        "divergence": lambda q: kl_divergence(q, q.expand(())),
    }

    def law(D: Tensor, B: Tensor) -> ni.GaussianMarkovChain:
        given = normal(3, 2)
        return ni.GaussianMarkovChain(ni.BlockTridiagonal(D, B, method=method), **{form: given})  # type: ignore[arg-type]

    def gradients(q: ni.GaussianMarkovChain) -> list[Tensor]:
        results = q.log_prob(value), q.entropy(), q.variance, q.factor.lower
        return [torch.autograd.grad(x.sum(), D, retain_graph=True)[0] for x in results]

    expected = {name: ask(law(D, B)) for name, ask in asked.items()}
    for name, ask in asked.items():
        before = law(D, B)
        with torch.inference_mode():
            inside = law(D, B)
            computed = law(D * 1, B * 1)  # as networks compute them
            for q in (before, inside, computed):
                found = ask(q)
                if name != "sample":
                    torch.testing.assert_close(found, expected[name])
        # What was kept serves derivatives afterwards.
        for q in (before, inside):
            for ours, theirs in zip(gradients(q), gradients(law(D, B)), strict=True):
                torch.testing.assert_close(ours, theirs)
    with torch.inference_mode():
        trained = torch.nn.Parameter(normal(3, 2))
        M = ni.BlockTridiagonal(D * 1, B * 1, method=method)  # type: ignore[arg-type]
        torch.testing.assert_close(ni.GaussianMarkovChain(M, **{form: trained}).entropy(), expected["entropy"])


@pytest.mark.parametrize("form", ["mean", "information"])
@pytest.mark.parametrize("method", METHODS)
def test_laws_of_an_empty_batch(method: str, form: str) -> None:
    q = chain(0, steps=3, n=2, form=form, method=method)
    assert q.rsample((2,)).shape == (2, 0, 3, 2)
    assert q.sample((0,)).shape == (0, 0, 3, 2)
    assert q.log_prob(q.sample((2, 5))).shape == (2, 5, 0)
    assert q.entropy().shape == kl_divergence(q, q).shape == (0,)
    assert q.mean.shape == q.variance.shape == (0, 3, 2)


def test_under_autocast() -> None:
    D, B = (x.float() for x in random_precision(2, steps=4, n=3))
    value = normal(2, 4, 3).float()

    def results() -> list[Tensor]:
        q = ni.GaussianMarkovChain(ni.BlockTridiagonal(D, B), value)
        p = ni.GaussianMarkovChain(ni.BlockTridiagonal(2 * D, B), information=value)
        return [q.information, q.log_prob(value + 1), kl_divergence(p, q), p.mean, p.log_prob(value)]

    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = results()
    for ours, theirs in zip(inside, results(), strict=True):
        assert ours.dtype == torch.float32
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("method", METHODS)
def test_single_precision(method: str) -> None:
    q = chain(2, steps=30, n=4, form="information", method=method)
    D, B = (x.float() for x in (q.precision.diag, q.precision.lower))
    single = ni.GaussianMarkovChain(ni.BlockTridiagonal(D, B, method=method), information=q.information.float())
    value = normal(3, 2, 30, 4)
    for ours, exact in (
        (single.mean, q.mean),
        (single.variance, q.variance),
        (single.lag_one_covariances, q.lag_one_covariances),
        (single.entropy(), q.entropy()),
        (single.log_prob(value.float()), q.log_prob(value)),
        (kl_divergence(single, single.expand((2,))), torch.zeros(2)),
    ):
        assert ours.dtype == torch.float32
        scale = max(1.0, float(exact.abs().max()))
        torch.testing.assert_close(ours.double(), exact.double(), rtol=0, atol=2e-4 * scale)


def test_under_compile_and_function_transforms() -> None:
    D, B = random_precision(3, steps=4, n=2)
    h = normal(3, 4, 2)

    def total(D: Tensor, B: Tensor, h: Tensor) -> Tensor:
        q = ni.GaussianMarkovChain(ni.BlockTridiagonal(D, B), information=h, validate_args=False)
        return q.mean.sum() + q.entropy().sum() + q.log_prob(h).sum()

    expected = total(D, B, h)
    torch.testing.assert_close(torch.compile(total, fullgraph=True, backend="aot_eager")(D, B, h), expected)
    torch.testing.assert_close(torch.func.vmap(total)(D, B, h).sum(), expected)
    leaf = h.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(total(D, B, leaf), leaf)
    torch.testing.assert_close(torch.func.grad(total, argnums=2)(D, B, h), gradient)


def test_what_does_not_fit_is_explained() -> None:
    D, B = random_precision(2, steps=4, n=3)
    M, mean = ni.BlockTridiagonal(D, B), torch.zeros(2, 4, 3, dtype=torch.float64)
    with pytest.raises(ValueError, match="exactly one of mean and information"):
        ni.GaussianMarkovChain(M)
    with pytest.raises(ValueError, match="exactly one of mean and information"):
        ni.GaussianMarkovChain(M, mean, information=mean)
    with pytest.raises(TypeError, match="expected a BlockTridiagonal of torch tensors"):
        ni.GaussianMarkovChain(D, mean)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected a BlockTridiagonal of torch tensors"):
        ni.GaussianMarkovChain(ni.BlockTridiagonal(D.numpy(), B.numpy()), mean)
    with pytest.raises(TypeError, match="mean is a ndarray; expected a torch tensor"):
        ni.GaussianMarkovChain(M, mean.numpy())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"mean is torch\.float32 and the precision torch\.float64"):
        ni.GaussianMarkovChain(M, mean.float())
    with pytest.raises(ValueError, match=r"information has shape \(2, 3, 4\); expected \(\*batch, 4, 3\)"):
        ni.GaussianMarkovChain(M, information=mean.mT)
    with pytest.raises(ValueError, match=r"mean has batch shape \(3,\) and the precision \(2,\)"):
        ni.GaussianMarkovChain(M, mean.new_zeros(3, 4, 3))
    with pytest.raises(ValueError, match="Expected parameter mean"):
        ni.GaussianMarkovChain(M, mean * torch.nan, validate_args=True)
    with pytest.raises(ValueError, match="Expected parameter information"):
        ni.GaussianMarkovChain(M, information=mean * torch.nan, validate_args=True)
    assert bool(ni.GaussianMarkovChain(M, mean * torch.nan, validate_args=False).sample().isnan().all())
    q = ni.GaussianMarkovChain(M, mean, validate_args=True)
    with pytest.raises(ValueError, match="must match event_shape"):
        q.log_prob(mean.mT)
    with pytest.raises(ValueError, match="not broadcastable with batch_shape"):
        q.log_prob(mean.new_zeros(3, 4, 3))
    with pytest.raises(ValueError, match="within the support"):
        q.log_prob(mean * torch.nan)
    singular = ni.GaussianMarkovChain(ni.BlockTridiagonal(-D, B), mean)
    with pytest.raises(torch.linalg.LinAlgError, match=r"sequence 0\): at time step 0, pivot 1 of 3"):
        singular.entropy()


@pytest.mark.parametrize("first", ["log_prob", "entropy", "mean"])
@pytest.mark.parametrize("form", ["mean", "information"])
def test_densities_and_means_need_no_factor(form: str, first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: ni.BlockTridiagonal) -> None:
        raise AssertionError("factored")

    monkeypatch.setattr(ni.BlockTridiagonal, "cholesky", refuse)
    D, B = random_precision(2, steps=3, n=2)
    value = normal(2, 3, 2, seed=9)

    def asked(D: Tensor, B: Tensor, given: Tensor) -> tuple[Tensor, ...]:
        q = ni.GaussianMarkovChain(ni.BlockTridiagonal((D + D.mT) / 2, B), **{form: given})
        answers = {
            "log_prob": lambda: q.log_prob(value), "entropy": q.entropy, "mean": lambda: q.mean,
        }  # fmt: skip
        answers[first]()
        return tuple(answer() for answer in answers.values())

    def exact(D: Tensor, B: Tensor, given: Tensor) -> tuple[Tensor, ...]:
        M = ni.BlockTridiagonal((D + D.mT) / 2, B).to_dense()
        flat = given.flatten(-2)
        mean = flat if form == "mean" else torch.linalg.solve(M, flat[..., None])[..., 0]
        law = MultivariateNormal(mean, precision_matrix=M)
        return law.log_prob(value.flatten(-2)), law.entropy(), mean.unflatten(-1, (3, 2))

    arguments = [x.requires_grad_() for x in (D, B, normal(2, 3, 2))]
    ours, expected = asked(*arguments), exact(*arguments)
    torch.testing.assert_close(ours, expected)
    weights = [normal(*x.shape, seed=5) for x in ours]
    for mine, truth in zip(
        torch.autograd.grad(ours, arguments, weights), torch.autograd.grad(expected, arguments, weights), strict=True
    ):
        torch.testing.assert_close(mine, truth)
