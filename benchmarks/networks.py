"""Measure the networks: accuracy reached against training time, and the speed of proposals.

    python benchmarks/networks.py training --sizes 2,3,4,5,6,7,8 --budgets 10,30,90 --json out.json
    python benchmarks/networks.py proposals --model 3x3

Every speed stands beside the accuracy measured in the same run. Run nothing else on the machine meanwhile.
"""

from __future__ import annotations

import json
import platform
import tempfile
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch.utils.benchmark import Timer

import neuralinv as ni
from neuralinv.families import get_family
from neuralinv.learned import InverseNetwork, ModelConfig, TrainingConfig
from neuralinv.learned.training import train
from neuralinv.study.evaluation import evaluate

app = typer.Typer(help=__doc__, no_args_is_help=True)
console = Console(highlight=False, width=140)
UNSEEN = 10_000


def unseen(size: int, min_abs_det: float, seed: int = 20_261) -> torch.Tensor:
    """Draw float32 matrices that no training has seen."""
    generator = torch.Generator().manual_seed(seed)
    return get_family("uniform").sample(
        UNSEEN, size, generator=generator, dtype=torch.float32, device="cpu", min_abs_det=min_abs_det
    )


def machine() -> dict[str, Any]:
    """Describe where the figures come from."""
    return {
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


@app.command()
def training(
    sizes: Annotated[str, typer.Option(help="Matrix sizes.")] = "2,3,4,5,6,7,8",
    budgets: Annotated[str, typer.Option(help="Seconds of training.")] = "10,30,90",
    architectures: Annotated[str, typer.Option(help="Architectures.")] = "gated",
    out: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
) -> None:
    """Train from scratch for each size and budget, and measure on 10,000 unseen matrices with |det| > 0.1 and on
    unfiltered ones.
    """
    rows = []
    for architecture in architectures.split(","):
        for size in map(int, sizes.split(",")):
            for budget in map(float, budgets.split(",")):
                rows.append(_train_and_measure(architecture, size, budget))
                console.print(rows[-1])
    table = Table(
        "arch",
        "n",
        "seconds",
        "samples/s",
        "MSE",
        "MAE",
        "median ‖I−AX‖",
        "largest",
        "below 1",
        "unfiltered: below 1",
        "certified",
        "fell back",
    )
    for r in rows:
        table.add_row(
            r["architecture"], str(r["size"]), f"{r['seconds']:.0f}", f"{r['samples_per_second']:,.0f}",
            f"{r['mse']:.1e}",
            f"{r['mae']:.1e}", f"{r['median_residual']:.1e}", f"{r['largest_residual']:.1e}", f"{r['below_one']:.2%}",
            f"{r['unfiltered_below_one']:.2%}", f"{r['certified']:.2%}", f"{r['fallback']:.2%}",
        )  # fmt: skip
    console.print(table)
    if out is not None:
        out.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=2))


def _train_and_measure(architecture: str, size: int, budget: float) -> dict[str, Any]:
    model = ModelConfig(architecture=architecture, size=size)
    settings = TrainingConfig(budget=budget, loss=TrainingConfig.default_loss(architecture), device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        outcome = train(model, settings, Path(folder))
    filtered = evaluate(outcome.network, unseen(size, 0.1)).overall
    A = unseen(size, 0.0)
    unfiltered = evaluate(outcome.network, A).overall
    result = ni.certified_inv(A, outcome.network, on_singular="nan")
    return {
        "architecture": architecture,
        "size": size,
        "seconds": outcome.elapsed,
        "samples_per_second": outcome.samples_per_second,
        "parameters": sum(p.numel() for p in outcome.network.parameters()),
        "mse": filtered.mse,
        "mae": filtered.mae,
        "median_residual": filtered.residual[0],
        "largest_residual": filtered.residual[-1],
        "below_one": filtered.share_below_one,
        "unfiltered_below_one": unfiltered.share_below_one,
        "certified": result.count(ni.Status.CERTIFIED) / UNSEEN,
        "fallback": result.count(ni.Source.FALLBACK) / UNSEEN,
    }


@app.command()
def proposals(model: Annotated[str, typer.Option(help="Name or folder of a network.")] = "3x3") -> None:
    """Time one proposal, a million of them, and a million certified inverses."""
    network = ni.learned.load(model)
    A = unseen(network.size, 0.1)
    million = A.repeat(100, 1, 1)
    accuracy = evaluate(network, A).overall
    table = Table("what", "median", "per matrix")
    for name, statement, batch in (
        ("one proposal", "network.propose(A)", A[0]),
        ("1,000,000 proposals", "network.propose(A)", million),
        ("1,000,000 certified inverses", "ni.certified_inv(A, network)", million),
        ("1,000,000 exact inverses, certified", "ni.certified_inv(A)", million),
        ("1,000,000 exact inverses, torch.linalg.inv", "torch.linalg.inv(A)", million),
    ):
        seconds = _median_seconds(statement, network, batch)
        count = 1 if batch.ndim == 2 else len(batch)
        table.add_row(name, f"{seconds:.3g} s", f"{1e9 * seconds / count:,.0f} ns")
    console.print(machine())
    console.print(table)
    console.print(f"accuracy of the proposals: MSE {accuracy.mse:.1e}, residuals up to {accuracy.residual[-1]:.1e}")


def _median_seconds(statement: str, network: InverseNetwork, A: torch.Tensor) -> float:
    timer = Timer(
        statement, globals={"network": network, "A": A, "ni": ni, "torch": torch}, num_threads=torch.get_num_threads()
    )
    return timer.blocked_autorange(min_run_time=2.0).median


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    app()
