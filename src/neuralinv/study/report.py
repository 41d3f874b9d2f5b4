"""The report of an inversion: one self-contained HTML page, for people who look rather than read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import torch
from numpy.typing import NDArray

from neuralinv.dense import InverseResult, Source, Status
from neuralinv.io import atomic_path
from neuralinv.learned import InverseNetwork
from neuralinv.study import plots
from neuralinv.study.evaluation import evaluate
from neuralinv.study.training_log import read_validation_log

_WORST = 10
_TRUTH = 1e-15
"""Relative error of LAPACK's float64 inverses, per unit of condition number."""


@dataclass(frozen=True)
class _Picture:
    title: str
    caption: str
    image: str


def write_report(
    path: Path,
    A: NDArray[Any],
    network: InverseNetwork,
    result: InverseResult[NDArray[Any]],
    seconds: float,
    training_folder: Path | None = None,
) -> None:
    """Write the report of inverting ``A`` ``(count, n, n)`` with ``network``.

    Parameters
    ----------
    path
        The HTML file.
    A, network, result
        The matrices, the network that proposed, and what :func:`neuralinv.certified_inv` made of it.
    seconds
        How long the inversion took.
    training_folder
        Where ``neuralinv train`` left its logs; adds the course of the training.

    Raises
    ------
    FileError
        If the file cannot be written.
    """
    evaluation = evaluate(network, torch.from_numpy(A))
    invertible = evaluation.invertible
    true, status = evaluation.true, result.status[invertible]
    inverse, bound = result.inverse[invertible], result.error_bound[invertible]
    true_error = np.linalg.norm(true - inverse, axis=(1, 2)) / np.linalg.norm(true, axis=(1, 2))
    certified_residual = np.linalg.norm(np.eye(A.shape[-1]) - A[invertible] @ inverse, axis=(1, 2))

    pictures = [
        _Picture(
            "Every proved bound holds",
            "Each point is one matrix: the relative error that was proved before anybody knew the truth, over the true "
            "error against LAPACK in float64. No point may lie below the line.",
            plots.as_data_uri(plots.bound_versus_error(bound, true_error, status, result.rtol)),
        ),
        _Picture(
            "The network alone, and after certification",
            "The worse a matrix is conditioned, the harder it is for a network. Residuals below 1 are refined; the "
            "others are recomputed exactly.",
            plots.as_data_uri(plots.residual_by_condition(evaluation, refined=certified_residual)),
        ),
        _Picture(
            "How far the proofs reach",
            "The distribution of the proved relative errors.",
            plots.as_data_uri(plots.histogram_of_bounds(result.error_bound, result.rtol)),
        ),
        _Picture(
            "What the bare network predicts",
            "Every element of every inverse, before any refinement.",
            plots.as_data_uri(plots.true_versus_predicted(evaluation.true, evaluation.predicted)),
        ),
    ]
    curve = None if training_folder is None else read_validation_log(training_folder)
    if curve is not None:
        pictures.append(
            _Picture(
                "How the training went",
                "Mean residual on matrices that the network never trained on.",
                plots.as_data_uri(plots.training_curve(*curve)),
            )
        )
    worst = np.argsort(-np.nan_to_num(result.error_bound, posinf=np.finfo(float).max))[:_WORST]
    condition = np.linalg.cond(A[worst])
    page = _TEMPLATES.get_template("report.html.j2").render(
        count=len(A),
        n=A.shape[-1],
        rtol=result.rtol,
        certified=result.count(Status.CERTIFIED),
        # LAPACK's inverse, which stands for the truth, has an error of its own.
        violations=int((true_error > bound + _TRUTH * evaluation.condition).sum()),
        statuses=[(s, result.count(s)) for s in Status],
        status_help=_STATUS_HELP,
        sources=[(s, result.count(s)) for s in Source if s != Source.EXACT],
        source_help=_SOURCE_HELP,
        per_second=len(A) / seconds,
        bins=evaluation.bins,
        overall=evaluation.overall,
        parameters=sum(p.numel() for p in network.parameters()),
        config=network.config,
        pictures=pictures,
        worst=[
            {
                "index": int(i),
                "condition": c,
                "status": Status(result.status[i]).name,
                "source": Source(result.source[i]).name,
                "bound": float(result.error_bound[i]),
            }
            for i, c in zip(worst, condition, strict=True)
        ],
    )
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


_STATUS_HELP = {
    Status.CERTIFIED: "the relative error is proved to be within the tolerance",
    Status.ILL_CONDITIONED: "proved invertible; the bound holds but exceeds the tolerance",
    Status.SINGULAR: "singular to working precision: written as NaN",
    Status.NONFINITE: "the input held NaN or infinity: written as NaN",
}
_SOURCE_HELP = {
    Source.PROPOSED: "the network's answer, certified as it came",
    Source.REFINED: "the network's answer after Newton–Schulz steps",
    Source.FALLBACK: "recomputed by exact elimination",
}
_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("neuralinv.study"), autoescape=True, trim_blocks=True, lstrip_blocks=True
)
