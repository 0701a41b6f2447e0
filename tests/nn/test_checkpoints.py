"""Weights files: what is read, what is refused, what was not provided."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tlresearch.config.errors import ConfigError
from tlresearch.nn.checkpoints import fit_names, load, read


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


@pytest.fixture
def state() -> dict[str, Tensor]:
    return {name: torch.randn_like(t) if t.is_floating_point() else t for name, t in network().state_dict().items()}


def test_one_state_in_every_form(tmp_path: Path, state: dict[str, Tensor]) -> None:
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "b.pth")
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "c.pt")
    torch.save({"model": {f"module.{name}": t for name, t in state.items()}}, tmp_path / "d.bin")
    for file in sorted(tmp_path.iterdir()):
        found = read(file)
        assert found.keys() == state.keys(), file
        assert all(torch.equal(found[name], state[name]) for name in state), file


def test_a_folder_gives_its_weights_file_safetensors_first(tmp_path: Path, state: dict[str, Tensor]) -> None:
    save_file(state, tmp_path / "model.safetensors")
    torch.save({"other": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    assert read(tmp_path).keys() == state.keys()
    save_file(state, tmp_path / "second.safetensors")
    with pytest.raises(ConfigError, match=r"model\.safetensors, second\.safetensors"):
        read(tmp_path)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('code was run')",)


def test_pickled_code_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ConfigError, match=r"evil\.pth.*not a plain state dict"):
        read(tmp_path / "evil.pth")


@pytest.mark.parametrize("name", ["broken.pth", "broken.safetensors", "notes.txt"])
def test_what_is_no_weights_file_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises(ConfigError, match=name):
        read(tmp_path / name)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    torch.save([1, 2, 3], tmp_path / "list.pth")
    with pytest.raises(ConfigError, match="not a state dict"):
        read(tmp_path / "list.pth")


def test_loading_gives_the_very_numbers_and_nothing_is_fresh(state: dict[str, Tensor]) -> None:
    net = network()
    assert load(net, {**state, "beyond": torch.zeros(1)}) == frozenset()
    assert all(torch.equal(t, state[name]) for name, t in net.state_dict().items())


def test_missing_tensors_are_named_unless_they_may_be(state: dict[str, Tensor]) -> None:
    without = {name: t for name, t in state.items() if not name.startswith("2.")}
    with pytest.raises(ConfigError, match=r"2 of 9 tensors are missing: 2\.bias, 2\.weight"):
        load(network(), without)
    assert load(network(), without, {"2.weight", "2.bias"}) == {"2.weight", "2.bias"}
    del state["1.num_batches_tracked"]
    assert load(network(), state) == {"1.num_batches_tracked"}


def test_other_shapes_are_named_before_anything_is_loaded(state: dict[str, Tensor]) -> None:
    net = network()
    before = {name: t.clone() for name, t in net.state_dict().items()}
    with pytest.raises(ConfigError, match=r"2\.bias \(5,\) instead of \(2,\)"):
        load(net, {**state, "2.bias": torch.zeros(5)})
    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())


def test_foreign_names_load_in_order_only_if_all_shapes_agree(state: dict[str, Tensor]) -> None:
    foreign = {f"x{i}": t for i, t in enumerate(state.values())}
    fitted = fit_names(network(), foreign)
    assert all(fitted[name] is state[name] for name in state)
    backwards = dict(reversed(foreign.items()))
    assert fit_names(network(), backwards) == backwards
    partly = {**foreign, "0.weight": state["0.weight"]}
    assert fit_names(network(), partly).keys() == partly.keys()
