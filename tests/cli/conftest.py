"""The command line as a user meets it: exit code, standard output, standard error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from neuralinv.cli import app
from neuralinv.learned import ModelConfig, TrainingConfig
from neuralinv.learned.training import train


@pytest.fixture
def neuralinv() -> Callable[..., Result]:
    """Run `neuralinv` with arguments; a traceback is a failure of the test."""

    def run(*arguments: object, command: typer.Typer = app) -> Result:
        result = CliRunner().invoke(command, [str(a) for a in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def refuses_bench(neuralinv: Callable[..., Result], tmp_path: Path) -> Callable[[list[str], str], None]:
    """Check that `neuralinv bench` exits with 2 and says why; ``{file}`` in an argument is a file, not a folder."""

    def check(arguments: list[str], message: str) -> None:
        file = tmp_path / "file"
        file.write_text("x")
        result = neuralinv("bench", *(argument.format(file=file) for argument in arguments))
        assert result.exit_code == 2
        assert " ".join(message.split()) in " ".join(result.stderr.replace("│", "").split())
        assert "Traceback" not in result.output

    return check


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network for 3×3 matrices, trained for a second or two."""
    folder = tmp_path_factory.mktemp("runs") / "3x3"
    train(ModelConfig(hidden=24), TrainingConfig(steps=300, loss="direction", device="cpu", validations=3), folder)
    return folder


@pytest.fixture
def matrices(tmp_path: Path) -> Path:
    """A file of 200 well-conditioned 3×3 matrices."""
    path = tmp_path / "matrices.npy"
    np.save(path, np.random.default_rng(0).uniform(-1, 1, size=(200, 3, 3)) + 2 * np.eye(3))
    return path
