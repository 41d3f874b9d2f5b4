import numpy as np
import pytest
import torch
from torch.autograd import forward_ad

import neuralinv as ni
from neuralinv.families import get_family
from neuralinv.testing import relative_error

DTYPES = [torch.float32, torch.float64, torch.complex64, torch.complex128]


def path(steps: int, n: int, dtype: torch.dtype, *, speed: float = 0.01) -> list[torch.Tensor]:
    """A batch of matrices that moves smoothly, by about this relative change a step."""
    random = torch.Generator().manual_seed(0)
    wide = torch.complex128 if dtype.is_complex else torch.float64
    base = torch.randn(6, n, n, generator=random, dtype=wide) / n**0.5 + 2 * torch.eye(n)
    move = torch.randn(6, n, n, generator=random, dtype=wide) / n**0.5
    return [(base + np.sin(speed * t + 0.3) * move).to(dtype) for t in range(steps)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 5, 33])
def test_every_inverse_of_a_sequence_is_certified(dtype, n):
    inverter = ni.SequenceInverter()
    speed = 0.01 if dtype in (torch.float32, torch.complex64) else 0.0005
    for t, A in enumerate(path(10, n, dtype, speed=speed)):
        result = inverter(A)
        assert result.inverse.dtype == dtype
        assert bool(result.certified.all())
        assert bool((relative_error(A, result.inverse) <= result.error_bound).all())
        assert result.count(ni.Source.EXACT) == (6 if t == 0 else 0)
        assert result.count(ni.Source.FALLBACK) == 0


def test_extrapolation_saves_steps():
    sources, degrees = [], []
    inverter = ni.SequenceInverter(rtol=1e-4)
    for A in path(12, 8, torch.float64, speed=0.002):
        sources.append(int(inverter(A).source[0]))
        degrees.append(inverter._degree)
    assert sources[:2] == [ni.Source.EXACT, ni.Source.REFINED]
    # Once three inverses are known, quadratic extrapolation often suffices; what it leaves is corrected in between.
    assert sources[4:].count(ni.Source.PROPOSED) >= 3
    assert max(degrees) == 3


def test_noise_is_not_extrapolated():
    inverter = ni.SequenceInverter()
    random = torch.Generator().manual_seed(0)
    base = path(1, 8, torch.float64)[0]
    for _ in range(8):
        result = inverter(base + 1e-3 * torch.randn(base.shape, generator=random, dtype=torch.float64))
        assert bool(result.certified.all())
    assert inverter._degree == 0


def test_a_jump_is_inverted_anew():
    inverter = ni.SequenceInverter()
    A = path(3, 6, torch.float64, speed=1e-4)
    inverter(A[0])
    jumped = A[1].clone()
    jumped[2] = -5 * jumped[2].flip(0)
    result = inverter(jumped)
    assert bool(result.certified.all())
    assert result.source.tolist() == [2, 2, 3, 2, 2, 2]
    assert bool((relative_error(jumped, result.inverse) <= result.error_bound).all())


@pytest.mark.parametrize("change", ["shape", "dtype", "reset"])
def test_another_kind_of_batch_starts_from_scratch(change):
    inverter = ni.SequenceInverter()
    A = path(2, 4, torch.float64)
    inverter(A[0])
    if change == "reset":
        inverter.reset()
    following = {"shape": A[1][:3], "dtype": A[1].float(), "reset": A[1]}[change]
    result = inverter(following)
    assert bool((result.source == ni.Source.EXACT).all())
    assert bool(result.certified.all())


@pytest.mark.parametrize("bad", [0.0, torch.nan])
def test_matrices_without_an_inverse(bad):
    A = path(3, 4, torch.float64)
    inverter, lenient = ni.SequenceInverter(), ni.SequenceInverter(on_singular="nan")
    for each in (inverter, lenient):
        each(A[0])
    broken = A[1].clone()
    broken[1] = bad
    with pytest.raises(torch.linalg.LinAlgError, match=r"1 matrix has no certified inverse"):
        inverter(broken)
    result = lenient(broken)
    assert bool(result.inverse[1].isnan().all())
    assert result.count(ni.Status.CERTIFIED) == 5
    for each in (inverter, lenient):  # and it recovers
        assert bool(each(A[2]).certified.all())
        assert bool(each(A[2]).certified.all())


def test_numpy_half_precision_empty_and_shaped_batches():
    inverter = ni.SequenceInverter()
    A = path(2, 4, torch.float64)
    for matrices in A:
        result = inverter(matrices.reshape(2, 3, 4, 4).numpy())
        assert isinstance(result.inverse, np.ndarray)
        assert result.error_bound.shape == (2, 3)
    assert ni.SequenceInverter()(A[0].half()).inverse.dtype == torch.float16
    for shape in ((0, 3, 3), (2, 0, 0)):
        empty = ni.SequenceInverter()
        assert empty(torch.zeros(shape)).inverse.shape == empty(torch.zeros(shape)).inverse.shape == shape
    one = ni.SequenceInverter()
    assert one(A[0][0]).inverse.shape == one(A[1][0]).inverse.shape == (4, 4)


def test_gradients_are_those_of_the_inverse():
    inverter = ni.SequenceInverter()
    A = path(3, 3, torch.float64)
    inverter(A[0])
    inverter(A[1])
    leaf = A[2].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(inverter(leaf).inverse.square().sum(), leaf)
    reference = A[2].clone().requires_grad_()
    (expected,) = torch.autograd.grad(torch.linalg.inv(reference).square().sum(), reference)
    torch.testing.assert_close(gradient, expected)
    assert not inverter._history[0].requires_grad


def test_inside_a_compiled_function():
    inverter, eager = ni.SequenceInverter(), ni.SequenceInverter()

    @torch.compile(backend="aot_eager", fullgraph=True)
    def trace(A: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        result = inverter(2 * A)
        return result.inverse.diagonal(dim1=-2, dim2=-1).sum(-1), result.source

    for A in path(5, 4, torch.float64, speed=1e-4):
        leaf = A.clone().requires_grad_()
        traces, source = trace(leaf)
        expected = eager(2 * A)
        torch.testing.assert_close(traces.detach(), expected.inverse.diagonal(dim1=-2, dim2=-1).sum(-1))
        # The past is kept from call to call, in and out of the graph.
        assert source.tolist() == expected.source.tolist()
        assert int(inverter._degree) == eager._degree
        (gradient,) = torch.autograd.grad(traces.sum(), leaf)
        torch.testing.assert_close(gradient, -2 * torch.linalg.matrix_power(torch.linalg.inv(2 * A), 2).mT)
    assert inverter(2 * A).source.tolist() == eager(2 * A).source.tolist()
    assert inverter.propose() is not None


def test_compiled_functions_name_matrices_without_an_inverse():
    strict, lenient = ni.SequenceInverter(), ni.SequenceInverter(on_singular="nan")

    @torch.compile(backend="aot_eager", fullgraph=True)
    def invert(A: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return strict(A).inverse, A

    @torch.compile(backend="aot_eager", fullgraph=True)
    def invert_leniently(A: torch.Tensor) -> torch.Tensor:
        return lenient(A).inverse

    A = path(1, 4, torch.float64)[0]
    broken = A.clone()
    broken[1] = 0
    with pytest.raises(torch.linalg.LinAlgError, match="1 matrix has no certified inverse"):
        invert(broken)
    assert bool(invert_leniently(broken)[1].isnan().all())
    # Another shape starts from scratch.
    assert invert_leniently(A[:2]).shape == (2, 4, 4)


def test_the_operator_keeps_its_promises():
    A = path(3, 3, torch.float64)
    past = [torch.linalg.inv(A[1]), torch.linalg.inv(A[0])]
    arguments = (A[2].clone().requires_grad_(), past, torch.tensor(1), 1e-10, True)
    torch.library.opcheck(torch.ops.neuralinv.next_in_sequence.default, arguments)


def test_factors_of_a_training_run():
    from neuralinv.families.curvature import record_kronecker_factors

    factors = record_kronecker_factors(12, 40, generator=torch.Generator().manual_seed(0))
    inverter = ni.SequenceInverter(rtol=1e-5)
    answered = 0
    for A in factors.activations:
        result = inverter(A + 0.5 * torch.eye(12))
        assert bool(result.certified)
        answered += int(result.source) == ni.Source.REFINED
    assert answered >= 20


@pytest.mark.parametrize(
    ("keywords", "message"), [({"rtol": 2.0}, r"rtol=2\.0"), ({"on_singular": "pinv"}, "on_singular='pinv'")]
)
def test_bad_arguments(keywords, message):
    with pytest.raises(ValueError, match=message):
        ni.SequenceInverter(**keywords)(torch.eye(2))
    with pytest.raises(ValueError, match="square"):
        ni.SequenceInverter()(torch.ones(2, 3))


def test_the_previous_inverse_as_proposer():
    A = path(3, 5, torch.float64)
    before = torch.linalg.inv(A[0])
    result = ni.certified_inv(A[1], proposer=before)
    assert bool((result.source == ni.Source.REFINED).all())
    assert bool(result.certified.all())
    result = ni.certified_inv(A[0].numpy(), proposer=before.numpy())
    assert bool((result.source == int(ni.Source.PROPOSED)).all())
    poor = before.clone()
    poor[2], poor[3] = torch.nan, 0
    result = ni.certified_inv(A[1].reshape(2, 3, 5, 5), proposer=poor.reshape(2, 3, 5, 5))
    assert result.source.flatten().tolist() == [2, 2, 3, 3, 2, 2]
    broken = A[1].clone()
    broken[0, 0, 0] = torch.nan
    result = ni.certified_inv(broken, proposer=before, on_singular="nan")
    assert result.status.tolist() == [3, 0, 0, 0, 0, 0]
    with pytest.raises(TypeError, match=r"the proposer returned shape \(5, 5\) for matrices of shape \(6, 5, 5\)"):
        ni.certified_inv(A[1], proposer=before[0])
    with pytest.raises(TypeError, match="complex candidates for real matrices"):
        ni.certified_inv(A[1], proposer=before.to(torch.complex128))


def test_a_parametric_family_along_a_path():
    family, inverter = get_family("rbf"), ni.SequenceInverter()
    function = family.matrix_function(20, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    for t in range(8):
        theta = torch.tensor([0.4 + 0.002 * t, 0.1])
        result = inverter(function(theta))
        assert bool(result.certified)
        assert t == 0 or int(result.source) in (ni.Source.PROPOSED, ni.Source.REFINED)


def test_propose_is_what_the_next_call_starts_from() -> None:
    inverter = ni.SequenceInverter()
    assert inverter.propose() is None
    A = 4 * torch.eye(5, dtype=torch.float64).expand(2, 5, 5)
    first = inverter(A).inverse
    guess = inverter.propose()
    assert guess is not None
    assert torch.equal(guess, first)
    # Its memory is the caller's own.
    guess.zero_()
    assert torch.equal(inverter.propose(), first)
    result = inverter(A)
    assert result.source.tolist() == [int(ni.Source.PROPOSED)] * 2
    inverter.reset()
    assert inverter.propose() is None


def test_forward_derivatives_and_transformations() -> None:
    inverter, V = ni.SequenceInverter(), torch.ones(6, 5, 5, dtype=torch.float64)
    for A in path(3, 5, torch.float64):
        with forward_ad.dual_level():
            X = inverter(forward_ad.make_dual(A, V)).inverse
            torch.testing.assert_close(forward_ad.unpack_dual(X).tangent, -(X @ V @ X))
    with pytest.raises(TypeError, match=r"transformed by torch\.func"):
        torch.func.vmap(lambda A: inverter(A).inverse)(A)


def test_inference_mode_ends() -> None:
    inverter = ni.SequenceInverter()
    n = 1030  # beyond the kernel
    A = torch.eye(n) + 0.01 * torch.randn(1, n, n, generator=torch.Generator().manual_seed(0)) / 32
    with torch.inference_mode():
        inverter(A), inverter(A * 1.001)
    for factor in (1.002, 1.003, 1.004):
        assert bool(inverter(A * factor).certified.all())
