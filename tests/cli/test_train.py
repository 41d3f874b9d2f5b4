"""`neuralinv train`, `evaluate` and `demo`."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from neuralinv.cli._durations import parse_duration
from neuralinv.learned import load

COMMAND = [sys.executable, "-c", "from neuralinv.cli import main; main()"]


def test_trains_what_was_asked_for(neuralinv, tmp_path: Path) -> None:
    out = tmp_path / "net"
    result = neuralinv(
        "train", "--out", out, "--size", 2, "--arch", "mlp", "--hidden", 8, "--depth", 1, "--members", 2, "--steps", 5,
        "--batch-size", 16, "--low", 0, "--high", 3, "--min-abs-det", 0.1, "--loss", "two_sided",
        "--schedule", "cosine", "--learning-rate", 1e-3, "--seed", 3, "--device", "cpu", "--precision", "64-true",
    )  # fmt: skip
    assert result.exit_code == 0
    assert "trained 2×2 mlp ×2 for 5 steps" in result.stdout
    assert "hardly any of its proposals can be refined" in result.stdout
    config = load(out).config
    assert (config.architecture, config.size, config.hidden, config.members, config.high) == ("mlp", 2, 8, 2, 3.0)
    text = (out / "config.toml").read_text()
    for line in ('loss = "two_sided"', 'schedule = "cosine"', "min_abs_det = 0.1", 'precision = "64-true"', "seed = 3"):
        assert line in text


def test_does_not_overwrite_unasked(neuralinv, trained: Path) -> None:
    result = neuralinv("train", "--out", trained, "--steps", 1)
    assert result.exit_code == 2
    assert "pass --resume, --overwrite or another --out" in result.stderr


def test_a_divergence_is_an_error(neuralinv, tmp_path: Path) -> None:
    result = neuralinv(
        "train", "--steps", 10, "--learning-rate", 1e30, "--size", 2, "--device", "cpu", "--out", tmp_path
    )
    assert result.exit_code == 2
    assert "no longer finite after step" in result.stderr
    assert "mean ‖I − AX‖_F" not in result.stdout
    assert not (tmp_path / "config.toml").exists()


def test_resume_takes_no_other_settings(neuralinv, trained: Path) -> None:
    result = neuralinv("train", "--out", trained, "--resume", "--learning-rate", 1)
    assert result.exit_code == 2
    assert "leave out --learning-rate" in " ".join(result.stderr.replace("│", "").split())


def test_control_c_saves_and_says_how_to_resume(neuralinv, tmp_path: Path) -> None:
    out = tmp_path / "net"
    arguments = ["train", "--out", str(out), "--size", "2", "--steps", "1500", "--batch-size", "32", "--device", "cpu"]
    process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    while not (out / "config.toml").exists():  # the first validation
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    stdout, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"neuralinv train --out {out} --resume" in stdout
    resumed = neuralinv("train", "--out", out, "--resume")
    assert resumed.exit_code == 0
    assert "for 1,500 steps" in resumed.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", 0], "size = 0"),
        (["--arch", "tree"], "unknown architecture 'tree'"),
        (["--arch", "[/b]"], "unknown architecture '[/b]'"),
        (["--budget", "9" * 400 + "s"], "is no duration"),
        (["--budget", "soon"], "'soon' is no duration; write 90s, 1.5m or 2h"),
        (["--steps", 3, "--budget", "3s"], "either steps or a wall-clock budget"),
        (["--steps", 3, "--low", 2], "low < high"),
        (["--steps", 3, "--loss", "hinge"], "unknown loss 'hinge'"),
        (["--steps", 3, "--device", "abacus"], "device 'abacus'"),
        (["--steps", 3, "--min-abs-det", 1e9], "lower it"),
        (["--resume"], "nothing to resume"),
    ],
    ids=str,
)
def test_mistakes(neuralinv, tmp_path: Path, arguments, message) -> None:
    result = neuralinv("train", "--out", tmp_path / "net", *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", "").split())
    assert not (tmp_path / "net" / "config.toml").exists()


def test_durations() -> None:
    assert [parse_duration(text) for text in ("90s", "1.5m", "2h", "7", "3 min")] == [90, 90, 7200, 7, 180]


def test_evaluate_prints_accuracy_by_condition_number(neuralinv, trained: Path, tmp_path: Path) -> None:
    out, plot, elements = tmp_path / "e.json", tmp_path / "p.svg", tmp_path / "q.png"
    result = neuralinv(
        "evaluate", "--model", trained, "--count", 500, "--out", out, "--plot", plot, "--plot-elements", elements
    )
    assert result.exit_code == 0
    assert "below 1" in result.stdout
    figures = json.loads(out.read_text())
    assert figures["overall"]["count"] == 500
    assert sum(entry["count"] for entry in figures["bins"]) == 500
    assert plot.read_text().startswith("<?xml")
    assert elements.read_bytes().startswith(b"\x89PNG")


def test_evaluate_on_a_file(neuralinv, trained: Path, matrices: Path, tmp_path: Path) -> None:
    assert neuralinv("evaluate", "--model", trained, "--matrices", matrices).exit_code == 0
    np.save(tmp_path / "singular.npy", np.zeros((2, 3, 3)))
    result = neuralinv("evaluate", "--model", trained, "--matrices", tmp_path / "singular.npy")
    assert result.exit_code == 2
    assert "no invertible matrix" in result.stderr
    np.save(tmp_path / "large.npy", np.eye(4)[None])
    result = neuralinv("evaluate", "--model", trained, "--matrices", tmp_path / "large.npy")
    assert result.exit_code == 2
    assert "inverts 3×3 matrices" in result.stderr
    np.save(tmp_path / "complex.npy", 1j * np.eye(3)[None])
    result = neuralinv("evaluate", "--model", trained, "--matrices", tmp_path / "complex.npy")
    assert result.exit_code == 2
    assert "networks invert real ones" in " ".join(result.stderr.split())


def test_evaluate_writes_json_whatever_the_figures(neuralinv, trained: Path, tmp_path: Path) -> None:
    for scale in (1e-200, 1e-150, 1e150, 1e200):
        np.save(tmp_path / "a.npy", scale * np.eye(3)[None])
        result = neuralinv(
            "evaluate", "--model", trained, "--matrices", tmp_path / "a.npy", "--out", tmp_path / "e.json"
        )
        assert result.exit_code == 0
        text = (tmp_path / "e.json").read_text()
        assert "NaN" not in text
        assert "Infinity" not in text
        r2 = json.loads(text)["overall"]["r2"]
        assert r2 == pytest.approx(1, abs=0.1) or (r2 is None and scale in (1e-200, 1e200))  # no answer: no figure


def test_demo_runs_the_whole_path(neuralinv, tmp_path: Path) -> None:
    out = tmp_path / "demo"
    for again in ([], ["--overwrite"]):  # a second demo replaces the first
        result = neuralinv("demo", "--out", out, "--budget", "1s", *again)
        assert result.exit_code == 0
    assert len(list((out / "network" / "logs" / "csv").iterdir())) == 1  # or the report would draw both trainings
    tail = result.stdout.splitlines()[-5:]
    assert [line.split()[0] for line in tail] == ["certified", "proposed", "refined", "fell", "report"]
    assert "10,000 of 10,000" in tail[0]
    assert tail[-1].split()[-1] == str(out / "report.html")
    page = (out / "report.html").read_text()
    assert "10,000 of 10,000 inverses are proved right" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert page.count("data:image/svg+xml;base64,") == 5
    A, X = np.load(out / "matrices.npy"), np.load(out / "inverses.npy")
    assert np.abs(A @ X - np.eye(3)).max() < 1e-4
    assert len((out / "certificates.csv").read_text().splitlines()) == 10_001


@pytest.mark.parametrize("name", ["network/config.toml", "network/resume.ckpt", "matrices.npy", "report.html"])
def test_demo_deletes_nothing_unasked(neuralinv, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    result = neuralinv("demo", "--out", tmp_path, "--budget", "1s")
    assert result.exit_code == 2
    assert "exists already; pass --overwrite or another --out" in " ".join(result.stderr.split())
    assert path.read_text() == "mine"
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]


@pytest.mark.parametrize(
    "command",
    ["", "generate", "verify", "train", "invert", "evaluate", "demo", "demo vae", "bench", "bench dense", "bench tune"],
)
def test_help_on_every_level(neuralinv, command: str) -> None:
    result = neuralinv(*command.split(), "--help")
    assert result.exit_code == 0
    assert "Usage" in result.stdout


def test_version(neuralinv) -> None:
    result = neuralinv("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith("neuralinv 0.")


def test_a_bug_keeps_its_traceback() -> None:
    code = "import sys, neuralinv.cli as c; sys.modules['neuralinv.cli.verify'].read_pair = None; c.main()"
    environment = {**os.environ, "COLUMNS": "200"}
    process = subprocess.run(
        [sys.executable, "-c", code, "verify", "a", "b"], capture_output=True, text=True, env=environment, check=False
    )
    assert process.returncode == 1
    assert "TypeError" in process.stderr


def test_demo_vae_trains_compares_and_draws(neuralinv, tmp_path: Path) -> None:
    result = neuralinv("demo", "vae", "--out", tmp_path, "--steps", 4, "--window", 30, "--compare", 2)
    assert result.exit_code == 0
    assert "trained         4 steps of T = 30" in result.stdout
    assert "ms; loop: " in result.stdout
    assert str(tmp_path / "attractor.png") in result.stdout
    assert set(json.loads((tmp_path / "run.json").read_text())["backends"]) == {"auto", "loop"}
    looped = neuralinv("demo", "vae", "--out", tmp_path, "--steps", 1, "--window", 30, "--backend", "loop")
    assert looped.exit_code == 0
    assert "step time       loop: " in looped.stdout


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [("--device", "nowhere", "device 'nowhere' cannot be used"), ("--backend", "triton", "method='triton' takes")],
)
def test_demo_vae_names_what_it_cannot_use(neuralinv, tmp_path: Path, option: str, value: str, message: str) -> None:
    result = neuralinv("demo", "vae", "--out", tmp_path, "--steps", 1, "--window", 30, option, value)
    assert result.exit_code == 2
    assert message in result.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["vae", "--steps", 0], "Invalid value for '--steps'"),
        (["vae", "--window", 6000], "window = 6000 exceeds the training path of 5000 time steps"),
        (["vae", "--backend", "abacus"], "'abacus' is not one of"),
        (["vae", "--out", "/dev/null/vae"], "/dev/null"),
        (["--seed", 3, "vae"], "--seed is not for vae; see neuralinv demo vae --help"),
        (["gan"], "No such command 'gan'"),
    ],
    ids=str,
)
def test_mistakes_in_demos(neuralinv, arguments, message) -> None:
    result = neuralinv("demo", *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", "").split())
