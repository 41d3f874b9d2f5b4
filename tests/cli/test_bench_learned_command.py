"""`neuralinv bench learned`: what it prints and writes; no time is asserted."""

import json

from neuralinv.bench import learned


def test_command(neuralinv, monkeypatch, tmp_path):
    monkeypatch.setattr(learned, "_ROOT_SIZES", (8,))
    monkeypatch.setattr(learned, "_BATCH_ELEMENTS", 4096)
    monkeypatch.setattr(learned, "_FEWEST_SNAPSHOTS", 64)
    out, plot = tmp_path / "figures.json", tmp_path / "ratios.png"
    result = neuralinv(
        "bench",
        "learned",
        "--families",
        "poisson",
        "--sizes",
        5,
        "--seconds",
        0.001,
        "--threads",
        1,
        "--json",
        out,
        "--plot",
        plot,
    )
    assert result.exit_code == 0, result.output
    for text in ("parametric", "poisson", "sequence", "N.–S. 24", "eigh", "goal", "pays after"):
        assert text in result.stdout
    assert max(map(len, result.stdout.splitlines()[:-1])) <= 120
    assert plot.read_bytes().startswith(b"\x89PNG")
    document = json.loads(out.read_text())
    assert document["machine"]["threads"] == 1
    assert {row["work"] for row in document["rows"]} == set(learned.WORKS)
    wrong = neuralinv("bench", "learned", "--families", "gaussian")
    assert wrong.exit_code == 2
    assert "unknown 'gaussian'" in wrong.stderr
    wrong = neuralinv("bench", "learned", "--plot", tmp_path / "ratios.txt")
    assert wrong.exit_code == 2
    assert "unknown format" in wrong.stderr
