"""Runs through the real command, in a working folder of their own."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from tlresearch import Run

FAST = ("backbone=mlp", "epochs=1", "progress=false", "accelerator=cpu")


class Result(NamedTuple):
    """What one command left: exit code, what it printed, the runs it named."""

    code: int
    out: str
    err: str

    @property
    def runs(self) -> list[Run]:
        return [Run.load(line.split("  ")[0]) for line in self.out.splitlines() if "  test." in line]

    @property
    def run(self) -> Run:
        assert self.code == 0, self.err
        (run,) = self.runs
        return run


@pytest.fixture(autouse=True)
def folder(own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder; nothing of the user's is seen or written."""
    for name in ("TLRESEARCH_PLUGINS", "WANDB_API_KEY", "NETRC", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Processes that are compared add up in the same order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def train(capfd: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """train("seed=1") → the Result of `tlresearch train` in this process; small and quick unless told otherwise."""
    from tlresearch.commands.main import main

    def call(*overrides: str) -> Result:
        given = {override.partition("=")[0] for override in overrides}
        defaults = [override for override in FAST if override.partition("=")[0] not in given]
        capfd.readouterr()
        code = main(["train", *defaults, *overrides])
        captured = capfd.readouterr()
        return Result(code, captured.out, captured.err)

    return call


@pytest.fixture
def start(train: Callable[..., Result]) -> Callable[..., Result]:
    """start(source, "seed=1"): a run from a source, whose one step is too small to change any weight."""

    def call(source: object, *overrides: str) -> Result:
        return train("optimizer=sgd", "optimizer.lr=1e-30", "steps=1", f"init_from={source}", *overrides)

    return call


@pytest.fixture
def logits() -> Callable[[Run], torch.Tensor]:
    """logits(run) → its answers to the same four images of a digit (4, 10); it is loaded anew."""

    def answer(run: Run) -> torch.Tensor:
        x = torch.randint(256, (4, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
        with torch.no_grad():
            return Run.load(run.folder).model(x).logits["digit"]

    return answer


@pytest.fixture
def refused(folder: Path, train: Callable[..., Result]) -> Callable[..., str]:
    """refused("epochs=0") → the message; the command ended with 2, said one thing and wrote nothing at all."""

    def call(*overrides: str) -> str:
        before = snapshot(folder)
        result = train(*overrides)
        assert result.code == 2, result
        assert result.out == ""
        assert "Traceback" not in result.err
        assert result.err.startswith("error: ")
        assert result.err.count("\n") == 1, result.err
        assert snapshot(folder) == before
        return result.err.removeprefix("error: ").rstrip()

    return call


@pytest.fixture
def history() -> Callable[[Path], list[dict[str, float]]]:
    """history(folder) → the lines of a run, without the speed, which no two runs share."""

    def read(folder: Path) -> list[dict[str, float]]:
        rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
        return [{k: v for k, v in row.items() if k != "train/rows_per_second"} for row in rows]

    return read


@pytest.fixture
def tensors() -> Callable[..., dict[str, torch.Tensor]]:
    """tensors(run, "model.safetensors") → the file's tensors by name, read by safetensors itself."""
    from safetensors.torch import load_file

    return lambda run, name="model.safetensors": load_file(run.folder / name)


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder below, with size and time of change."""
    paths = sorted(folder.rglob("*"))
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) if p.is_file() else (0, 0) for p in paths}


@pytest.fixture
def forgotten() -> Iterator[None]:
    """Nothing is left in memory of other tests' runs."""
    from tlresearch.training.memory import memory

    memory.clear()
    yield
    memory.clear()
