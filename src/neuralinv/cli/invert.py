"""`neuralinv invert`: invert a file of matrices with a network, and certify every answer."""

from __future__ import annotations

import time
import warnings
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from numpy.typing import NDArray

from neuralinv.cli._console import console, counting
from neuralinv.cli._outputs import check_outputs
from neuralinv.cli.verify import read_pair
from neuralinv.dense import InverseResult, Source, Status, certified_inv
from neuralinv.io import atomic_path, check_writable, read_matrices, read_parameters, write_matrices
from neuralinv.learned import InverseNetwork, load, load_parametric, packaged

DEFAULT_RTOL = 1e-5


class Certificate(StrEnum):
    """Whether a bound holds for certain."""

    deterministic = "deterministic"
    probabilistic = "probabilistic"


class OnSingular(StrEnum):
    """What to do about matrices without an inverse."""

    nan = "nan"
    error = "error"
    pinv = "pinv"


def invert(
    matrices: Annotated[Path, typer.Argument(metavar="INPUT", help="Matrices: .mx, .npy, .npz, .mtx or .csv.")],
    model: Annotated[
        str | None,
        typer.Option(
            help="Folder of a network, a packaged name (2x2, 3x3, 4x4), a Hugging Face id, or 'exact' for none. "
            "[default: the packaged network that fits]"
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where the inverses go; the suffix says the format. [default: beside INPUT]")
    ] = None,
    target: Annotated[Path | None, typer.Option(help="True inverses to compare with.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="With --target: true against predicted elements (.png, .svg).")
    ] = None,
    rtol: Annotated[
        float | None,
        typer.Option(help="Relative error that certifies; a fit brings its own. [default: 1e-5]", show_default=False),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Per-matrix table of status, source and bound (.csv).")] = None,
    on_singular: Annotated[
        OnSingular,
        typer.Option(help="Matrices without an inverse: write NaN, write the pseudo-inverse, or write nothing at all."),
    ] = OnSingular.nan,
    raw: Annotated[bool, typer.Option("--raw", help="The bare network's answer: no refinement, no guarantee.")] = False,
    parameters: Annotated[
        Path | None,
        typer.Option(help="Parameters of the matrices, .npy or .csv; --model is then a folder of `neuralinv fit`."),
    ] = None,
    certificate: Annotated[
        Certificate, typer.Option(help="With --parameters: probabilistic bounds, wrong with a probability of 1e-10.")
    ] = Certificate.deterministic,
    device: Annotated[str, typer.Option(help="Where the network goes: cpu, cuda, …")] = "cpu",
) -> None:
    """Invert every matrix of INPUT: propose, refine, certify, fall back.

    Exit code 1 if a matrix has no inverse; those are listed, and written as NaN.
    """
    if plot is not None and target is None:
        raise typer.BadParameter("--plot compares with true inverses: give them with --target")
    if raw and report is not None:
        raise typer.BadParameter("--report lists certificates, and --raw makes none")
    if parameters is not None and (raw or model is None):
        raise typer.BadParameter(
            "--parameters goes with --model and a folder that `neuralinv fit` wrote, and not with --raw"
        )
    if parameters is None and certificate is not Certificate.deterministic:
        raise typer.BadParameter("--certificate goes with --parameters")
    if parameters is not None and (rtol is not None or on_singular is OnSingular.pinv or device != "cpu"):
        raise typer.BadParameter(
            "--parameters: a fit certifies at the relative error that it was made for, on the CPU, and knows no "
            "pseudo-inverse; leave out --rtol, --on-singular pinv and --device"
        )
    out = out if out is not None else matrices.with_name(f"{matrices.stem}_inverses{matrices.suffix}")
    check_outputs(
        {"--out": out, "--plot": plot, "--report": report},
        inputs={"INPUT": matrices, "--target": target, "--parameters": parameters},
        plots=("--plot",),
    )
    A = read_matrices(matrices, allow_nonfinite=False)
    check_writable(out, A)
    true = None if target is None else read_pair(matrices, target)[1]
    network = choose_network(model, A, device) if parameters is None else None
    if raw:
        inverse = _propose(network, A)
        write_matrices(out, inverse)
        console.print(f"{len(A):,} unchecked proposals in {out}", markup=False)
        failed = False
    else:
        if parameters is None:
            lenient = "pinv" if on_singular is OnSingular.pinv else "nan"
            result, seconds = invert_with_progress(A, network, DEFAULT_RTOL if rtol is None else rtol, lenient)
        else:
            result, seconds = invert_with_parameters(A, parameters, str(model), certificate.value)
        inverse = result.inverse
        failed = bool(result.count(Status.SINGULAR) or result.count(Status.NONFINITE))
        written = not (failed and on_singular is OnSingular.error)
        if written:  # before anything is printed: what was computed outlives a terminal that is gone
            with counting("writing", len(inverse)) as advance:
                write_matrices(out, inverse, progress=advance)
            if report is not None:
                write_table(report, result)
        console.print(f"{result}\n  {len(A) / seconds:,.0f} matrices/s", markup=False)
        if not written:
            console.print("nothing was written; --on-singular nan or pinv writes the others", markup=False)
            raise typer.Exit(1)
        console.print(f"inverses in {out}", markup=False)
        if report is not None:
            console.print(f"table in {report}", markup=False)
    if true is not None:
        keep = compare_with_target(A, true, inverse)
        if plot is not None and keep is not None:
            from neuralinv.study.plots import save_figure, true_versus_predicted

            save_figure(true_versus_predicted(true[keep], inverse[keep]), plot)
            console.print(f"plot in {plot}", markup=False)
    if failed:
        raise typer.Exit(1)


def choose_network(model: str | None, A: NDArray[Any], device: str) -> InverseNetwork | None:
    """Return the network to propose the inverses of ``(batch, n, n)``; None for the exact kernel."""
    is_complex = np.iscomplexobj(A)
    if is_complex and model not in (None, "exact"):
        raise ValueError(f"--model {model}: networks invert real matrices, and INPUT holds complex ones; leave it out")
    if is_complex or model == "exact":
        if device != "cpu":
            raise ValueError(f"--device {device} is where a network goes, and none is used here; leave it out")
        return None
    if model is None:
        size = A.shape[-1]
        # Without a network of this size, 3×3 blocks.
        model = f"{size}x{size}" if f"{size}x{size}" in packaged() else "3x3"
    return load(model, device=device)


def invert_with_progress(
    A: NDArray[Any], network: InverseNetwork | None, rtol: float, on_singular: str
) -> tuple[InverseResult[Any], float]:
    """Certify with a progress bar; return the result and the seconds it took."""
    with counting("inverting", len(A)) as advance:
        started = time.perf_counter()
        result = certified_inv(
            A,
            network,
            rtol=rtol,
            on_singular=on_singular,  # type: ignore[arg-type]  # one of the two that do not raise
            progress=advance,
        )
        return result, time.perf_counter() - started


def invert_with_parameters(
    A: NDArray[Any], parameters: Path, model: str, certificate: Literal["deterministic", "probabilistic"]
) -> tuple[InverseResult[Any], float]:
    """Certify with a parametric inverse; return the result and the seconds it took."""
    parametric = load_parametric(model)
    theta = read_parameters(parameters)
    expected = str(parametric.dtype).removeprefix("torch.")
    if A.dtype.name != expected:
        raise ValueError(
            f"the matrices are {A.dtype.name} and the fit is for {expected}: convert them, or fit with --dtype"
        )
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the table of sources says it
        result = parametric.inv(A, theta, on_singular="nan", certificate=certificate)
    return result, time.perf_counter() - started


def write_table(path: Path, result: InverseResult[NDArray[Any]]) -> None:
    """Write index, status, source and error bound of every matrix as CSV."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write("index,status,source,error_bound\n")
        rows = zip(result.status.tolist(), result.source.tolist(), result.error_bound.tolist(), strict=True)
        for index, (status, source, bound) in enumerate(rows):
            file.write(f"{index},{Status(status).name},{Source(source).name},{bound!r}\n")


def _propose(network: InverseNetwork | None, A: NDArray[Any]) -> NDArray[Any]:
    if network is None:
        raise typer.BadParameter("--raw asks for a network's answer: real matrices, and no --model exact")
    if A.shape[-1] != network.size:
        raise ValueError(
            f"--raw: the network inverts {network.size}×{network.size} matrices and INPUT holds "
            f"{A.shape[-1]}×{A.shape[-1]} ones; without --raw it is applied to blocks"
        )
    return network.propose(A)


def compare_with_target(A: NDArray[Any], true: NDArray[Any], inverse: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Print R², MSE and MAE against true inverses; return the mask of what could be compared, None for nothing."""
    from neuralinv.study.evaluation import accuracy

    keep: NDArray[np.bool_] = np.isfinite(true).all((1, 2)) & np.isfinite(inverse).all((1, 2))
    if not keep.any():
        console.print("no matrix with both a true and a computed inverse to compare", markup=False)
        return None
    residual = np.linalg.norm(np.eye(A.shape[-1]) - A[keep] @ inverse[keep], axis=(1, 2))
    figures = accuracy(true[keep], inverse[keep], residual)
    console.print(
        f"against the target ({figures.count:,} matrices): R² {figures.r2:.6f}, MSE {figures.mse:.3e}, "
        f"MAE {figures.mae:.3e}",
        markup=False,
    )
    return keep
