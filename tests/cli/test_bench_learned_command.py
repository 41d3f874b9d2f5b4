"""`neuralinv bench learned`: what it prints and writes; no time is asserted."""

import json

from neuralinv.bench import learned, learned_parametric
from neuralinv.bench.learned_rows import WORKS, Settings


def test_command(neuralinv, monkeypatch, tmp_path):
    monkeypatch.setattr(learned, "_ROOT_SIZES", (8,))
    monkeypatch.setattr(learned, "BATCH_ELEMENTS", 4096)
    monkeypatch.setattr(learned, "_SEQUENCE_ELEMENTS", 4096)
    monkeypatch.setattr(learned, "_FEWEST_SNAPSHOTS", 64)
    monkeypatch.setattr(learned_parametric, "BATCH_ELEMENTS", 4096)
    monkeypatch.setattr(learned_parametric, "_SNAPSHOTS", 64)
    out, plot = tmp_path / "figures.json", tmp_path / "ratios.png"
    works = ",".join(WORKS)
    result = neuralinv(
        "bench", "learned", "--families", "poisson", "--sizes", 5, "--seconds", 0.001, "--threads", 1, "--cells", 2,
        "--json", out, "--plot", plot, "--works", works,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    for text in ("parametric", "poisson", "sequence", "N.–S. 24", "eigh", "goal", "pays after", "projection"):
        assert text in result.stdout
    assert max(map(len, result.stdout.splitlines()[:-1])) <= 120
    assert plot.read_bytes().startswith(b"\x89PNG")
    document = json.loads(out.read_text())
    assert document["machine"]["threads"] == 1
    assert {row["work"] for row in document["rows"]} == set(WORKS)
    by_work = {work: [row for row in document["rows"] if row["work"] == work] for work in WORKS}
    assert [row["case"] for row in by_work["probable"]] == ["poisson f32", "poisson f64"]
    assert [row["case"] for row in by_work["neumatc"]] == ["vs NumPy", "vs all", "p vs NumPy", "p vs all"]
    assert set(by_work["neumatc"][0]["rivals"]) == {"numpy", "ni.inv", "ni.certified_inv"}
    assert [row["unit"] for row in by_work["coefficients"]] == ["residual"]
    rows = Settings(families=("poisson",), sizes=(5,))
    assert learned.row_count(rows) == len(document["rows"])
    wrong = neuralinv("bench", "learned", "--families", "gaussian")
    assert wrong.exit_code == 2
    assert "unknown 'gaussian'" in wrong.stderr
    wrong = neuralinv("bench", "learned", "--cells", 0)
    assert wrong.exit_code == 2
    assert "--cells" in wrong.stderr
    wrong = neuralinv("bench", "learned", "--plot", tmp_path / "ratios.txt")
    assert wrong.exit_code == 2
    assert "unknown format" in " ".join(wrong.stderr.replace("│", " ").split())  # long paths break the line
