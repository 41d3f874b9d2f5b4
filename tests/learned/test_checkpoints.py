"""Model folders: what is saved comes back, and nothing in them is trusted."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import neuralinv as ni
from neuralinv.families import Range
from neuralinv.io import FileError
from neuralinv.learned import (
    ConfigError,
    InverseNetwork,
    ModelConfig,
    ParametricInverse,
    TrainingConfig,
    hub,
    load_parametric,
    save_parametric,
)
from neuralinv.learned.checkpoints import load_network, save_network

PACKAGED = ["2x2", "3x3", "4x4"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = InverseNetwork(ModelConfig(size=3, hidden=8, members=2))
    save_network(network, tmp_path, training=TrainingConfig(steps=1), measured={"mse": 1.5})
    return tmp_path


def test_what_is_saved_comes_back(folder: Path) -> None:
    torch.manual_seed(0)
    network = InverseNetwork(ModelConfig(size=3, hidden=8, members=2))
    loaded = load_network(folder)
    assert loaded.config == network.config
    assert not loaded.training
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    A = torch.eye(3) + 0.1
    assert torch.equal(loaded.propose(A), network.propose(A))
    assert "mse = 1.5" in (folder / "config.toml").read_text()


def test_loading_leaves_the_random_state_alone(folder: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    load_network(folder)
    assert torch.equal(torch.rand(1), expected)


def test_saving_fewer_members_leaves_no_others_behind(folder: Path) -> None:
    save_network(InverseNetwork(ModelConfig(size=3, hidden=8)), folder)
    assert [path.name for path in sorted(folder.glob("*.safetensors"))] == ["member-0.safetensors"]


def test_names_folders_and_repositories(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ni.learned.packaged() == PACKAGED
    assert ni.learned.load(folder).size == 3
    assert ni.learned.load(str(folder) + "/").size == 3
    monkeypatch.setattr(hub, "_download", lambda repo_id: folder if repo_id == "somebody/network" else None)
    assert ni.learned.load("somebody/network").size == 3


def test_the_hub_is_asked_for_the_files_of_a_network_and_no_others(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}

    def snapshot_download(repo_id: str, *, allow_patterns: list[str]) -> str:
        asked[repo_id] = allow_patterns
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert ni.learned.load("somebody/network").size == 3
    assert asked == {"somebody/network": ["config.toml", "member-*.safetensors"]}


def test_a_repository_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot_download(repo_id: str, **arguments: object) -> str:
        raise OSError("no route to host\nand more")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    with pytest.raises(FileError, match=r"somebody/network: no folder.*did not deliver it \(no route to host\)"):
        ni.learned.load("somebody/network")


@pytest.mark.parametrize("name", ["nothing", "a b/c", "../up/there/x", ""])
def test_names_that_are_nothing(name: str) -> None:
    with pytest.raises(FileError, match=r"no such"):
        ni.learned.load(name or "definitely missing")


CONFIG = "config.toml"
MEMBER = "member-1.safetensors"


def write(text: str | bytes):
    return lambda path: path.write_bytes(text.encode() if isinstance(text, str) else text)


def retouch(**changes: torch.Tensor | None):
    def change(path: Path) -> None:
        weights = load_file(path)
        for name, value in changes.items():
            name = name.replace("__", ".")
            if value is None:
                del weights[name]
            else:
                weights[name] = value
        save_file(weights, path)

    return change


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        (CONFIG, Path.unlink, "no such file"),
        (CONFIG, write("[model"), "not valid TOML"),
        (CONFIG, write(b"\xff\xfe"), "not UTF-8 text"),
        (CONFIG, write("a = " + "[" * 1000), "nested too deeply"),
        (CONFIG, write("a." * 600 + "a = 1"), "a line is longer than 1,024 characters"),
        (CONFIG, write("[model]\nlow = -1" + "0" * 400), "low = a whole number of 1,3.. bits should be of type float"),
        (CONFIG, write("[model]\nsize = 0x1" + "0" * 1000), "size = a whole number of 4,001 bits"),
        (CONFIG, write("[model]\nsize = 1" + "0" * 900), "size = a whole number of 2,9.. bits"),
        (CONFIG, write("x = 1"), r"no \[model\] table"),
        (CONFIG, write("model = 3"), r"no \[model\] table"),
        (CONFIG, write("[model]\nsize = 10000000000"), "size = 10000000000"),
        (CONFIG, write("[model]\nsize = '3'"), "size = '3' should be of type int"),
        (CONFIG, write("[model]\nsize = true"), "size = True should be of type int"),
        (CONFIG, write("[model]\nhidden = 1000000000"), "hidden = 1000000000"),
        (CONFIG, write("[model]\ndepth = 1000000000"), "depth = 1000000000"),
        (CONFIG, write("[model]\nshape = 3"), "unknown setting 'shape'"),
        (CONFIG, write("[model]\narchitecture = 'tree'"), "unknown architecture 'tree'"),
        (CONFIG, write("[model]\nmembers = 9"), "tensor 'enter|belong|missing|asks for"),
        (CONFIG, write("#" * (1 << 21)), "larger than 64 KiB"),
        (MEMBER, Path.unlink, "missing"),
        (MEMBER, write(b""), "not a whole safetensors file"),
        (MEMBER, write(b"\xff" * 100), "not a whole safetensors file"),
        (MEMBER, lambda path: path.write_bytes(path.read_bytes()[:-9]), "not a whole safetensors file"),
        (MEMBER, retouch(architecture__leave__bias=None), "'architecture.leave.bias' does not belong"),
        (MEMBER, retouch(extra=torch.zeros(1)), "'extra' does not belong"),
        (MEMBER, retouch(architecture__leave__bias=torch.zeros(1, 10)), r"is F32 of shape \(1, 10\)"),
        (MEMBER, retouch(architecture__leave__bias=torch.zeros(1, 9, dtype=torch.int32)), "is I32"),
        (MEMBER, retouch(architecture__leave__bias=torch.full((1, 9), torch.nan)), "holds NaN or infinity"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_damage_is_told_in_one_line(folder: Path, file: str, damage, message: str) -> None:
    damage(folder / file)
    with pytest.raises(FileError, match=message) as caught:
        load_network(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pickles_are_not_read(folder: Path) -> None:
    torch.save({}, folder / MEMBER)
    with pytest.raises(FileError, match="not a whole safetensors file"):
        load_network(folder)


def test_an_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="not a folder"):
        save_network(InverseNetwork(ModelConfig(hidden=4)), tmp_path / "file" / "net")


def test_a_full_disk_leaves_the_old_network_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(FileError, match="disk is full"):
        save_network(InverseNetwork(ModelConfig(size=3, hidden=8, members=2)), folder)
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_copies_work_from_anywhere(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "copy"
    shutil.copytree(folder, elsewhere)
    assert load_network(elsewhere).size == 3


def test_hostile_configurations_of_parametric_inverses(tmp_path: Path) -> None:
    save_parametric(ParametricInverse({"a": Range(0.0, 1.0), "b": Range(0.0, 1.0)}, 2, 4, 3), tmp_path)
    config = tmp_path / CONFIG
    text = config.read_text()
    for old, new, message in (
        ("degree = 3", "degree = 4096", r"more than 2\^20 polynomials"),
        ("rtol = 1e-06", "rtol = 1" + "0" * 400, "too large"),
        ("low = 0.0", "low = -1" + "0" * 400, "too large"),
        ("rank = 4", "rank = 1" + "0" * 5000, "a line is longer"),
        ("[parametric]", "a = " + "[" * 1000 + "\n[parametric]", "nested too deeply"),
        ("[parametric]", "a." * 60_000 + "a = 1\n[parametric]", "a line is longer"),
        ("[parametric]", "splits = [[1]]\ncells = [[1], [2]]\n[parametric]", "not the configuration"),
        ("[parametric]", "cells = [1]\n[parametric]", "not the configuration"),
    ):
        assert old in text
        config.write_text(text.replace(old, new))
        with pytest.raises(FileError, match=message) as caught:
            load_parametric(tmp_path)
        assert str(config) in str(caught.value)


@pytest.mark.parametrize("device", ["abacus", "meta", "hpu", ""])
def test_devices_that_cannot_be_used(folder: Path, tmp_path: Path, device: str) -> None:
    save_parametric(ParametricInverse({"a": Range(0.0, 1.0)}, 2, 1, 1), tmp_path / "fit")
    for load in (load_network, load_parametric):
        with pytest.raises(ConfigError, match=f"device '{device}' cannot be used"):
            load(folder if load is load_network else tmp_path / "fit", device=device)
