"""Measure exact inverses of batches of small matrices beside ``torch.linalg.inv``, accuracy beside speed.

    python benchmarks/dense.py --sizes 2,3,4,8,16,32 --threads 2 --json out.json

Run nothing else on the machine meanwhile.
"""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.benchmark import Timer

import neuralinv as ni
from neuralinv.dense import native
from neuralinv.families import get_family

SIZES = "1,2,3,4,5,6,7,8,9,10,12,14,16,17,20,24,28,32"
JUDGED = 10_000  # matrices whose accuracy is measured


def main(
    sizes: Annotated[str, typer.Option(help="Matrix sizes.")] = SIZES,
    batch: Annotated[int, typer.Option(help="Matrices in a call.")] = 10_000,
    threads: Annotated[int, typer.Option(help="Threads for both; 0: as many as torch takes.")] = 0,
    seconds: Annotated[float, typer.Option(help="Shortest time to measure each.")] = 0.5,
    out: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
) -> None:
    """Print nanoseconds for each matrix, the ratio to torch, and the errors of both."""
    if threads:
        torch.set_num_threads(threads)
    machine = {
        "machine": platform.machine(),
        "instruction set": native.instruction_set(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    rows = []
    table = Table("dtype", "n", "ns", "torch ns", "ratio", "median error", "torch", "largest error", "torch")
    for dtype in (torch.float32, torch.float64):
        for n in map(int, sizes.split(",")):
            row = measure(n, dtype, batch, seconds)
            rows.append(row)
            table.add_row(
                row["dtype"], str(n),
                *(f"{figure:.1f}" for figure in (row["ns"], row["torch_ns"], row["torch_ns"] / row["ns"])),
                *(f"{row[key]:.1e}" for key in ("median", "torch_median", "largest", "torch_largest")),
            )  # fmt: skip
    console = Console(highlight=False, width=120)
    console.print(machine)
    console.print(table)
    if out is not None:
        out.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2))


def measure(n: int, dtype: torch.dtype, batch: int, seconds: float) -> dict[str, Any]:
    """Time one size on uniform matrices from [−1, 1], and judge what both return."""
    generator = torch.Generator().manual_seed(n)
    A = get_family("uniform").sample(batch, n, generator=generator, dtype=dtype, device="cpu")
    ours, theirs = error(A, ni.inv(A)), error(A, torch.linalg.inv(A))
    return {
        "dtype": str(dtype).removeprefix("torch."),
        "n": n,
        "batch": batch,
        "ns": 1e9 * median_seconds("ni.inv(A)", A, seconds) / batch,
        "torch_ns": 1e9 * median_seconds("torch.linalg.inv(A)", A, seconds) / batch,
        "median": float(ours.median()),
        "largest": float(ours.max()),
        "torch_median": float(theirs.median()),
        "torch_largest": float(theirs.max()),
    }


def error(A: Tensor, X: Tensor) -> Tensor:
    """Relative error against float64; for float64 the residual, relative to ‖A‖ ‖X‖, stands for it."""
    A, X = A[:JUDGED], X[:JUDGED]
    norm = torch.linalg.matrix_norm
    if A.dtype == torch.float64:
        return norm(torch.eye(A.shape[-1], dtype=A.dtype) - A @ X) / (norm(A) * norm(X))
    true = torch.linalg.inv(A.double())
    return norm(true - X) / norm(true)


def median_seconds(statement: str, A: Tensor, seconds: float) -> float:
    """Median time of a statement."""
    timer = Timer(statement, globals={"A": A, "ni": ni, "torch": torch}, num_threads=torch.get_num_threads())
    return timer.blocked_autorange(min_run_time=seconds).median


if __name__ == "__main__":
    typer.run(main)
