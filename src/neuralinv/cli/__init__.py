"""The `neuralinv` command: one module for each subcommand, which parses and calls public functions, and nothing
else.
"""

from __future__ import annotations

from typing import Annotated

import typer

from neuralinv.cli import bench, bench_block_tridiagonal, bench_surrogate, demo  # noqa: F401 - the latter add commands
from neuralinv.cli._console import forgive_characters
from neuralinv.cli._errors import without_traceback
from neuralinv.cli.advise import advise
from neuralinv.cli.evaluate import evaluate
from neuralinv.cli.fit import fit
from neuralinv.cli.generate import generate
from neuralinv.cli.invert import invert
from neuralinv.cli.study import study
from neuralinv.cli.train import train
from neuralinv.cli.verify import verify

app = typer.Typer(
    name="neuralinv",
    help="Matrix inverses for machine learning: exact, learned, and every answer with a proven error bound.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
for command in (generate, verify, advise, train, fit, invert, evaluate, study):
    app.command()(without_traceback(command))
app.add_typer(demo.app, name="demo")
app.add_typer(bench.app, name="bench")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"neuralinv {version('neuralinv')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Matrix inverses for machine learning: exact, learned, and every answer with a proven error bound."""


def main() -> None:
    """Run the command line: exit code 0 for success, 1 for a negative answer, 2 for a mistake in the input."""
    forgive_characters()
    app()
