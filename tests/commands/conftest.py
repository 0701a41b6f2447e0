"""A working folder of its own, with one toy plugin, and a runner that trains nothing."""

import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from tlresearch.results.claim import RunFailed

TOY = '''
from tlresearch import Method, register

@register("method", "toy_low")
class Low(Method):
    """Low rank.

    rank: of the update, at least 1.
    """

    conflicts = frozenset({"dann"})

    def __init__(self, *, rank: int = 8, alpha: float | None = None) -> None: ...
'''


@pytest.fixture(autouse=True)
def folder(own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder; its plugins/ holds the toy."""
    monkeypatch.delenv("TLRESEARCH_PLUGINS", raising=False)
    work = tmp_path / "work"
    (work / "plugins").mkdir(parents=True)
    (work / "plugins/toy.py").write_text(TOY)
    monkeypatch.chdir(work)
    return work


class FakeRun:
    folder, metric = Path("runs/0123"), "test.accuracy"

    def __init__(self, value: float) -> None:
        self.value, self.reused = value, False


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict, list[str]]]:
    """Every call of `execute`; seed=13 fails as a run may, seed=14 is interrupted, seed=15 failed before."""
    calls = []
    runner = types.ModuleType("tlresearch.runner")

    def execute(config: DictConfig, overrides: list[str], *, wait: bool = False) -> FakeRun:
        calls.append((OmegaConf.to_container(config), overrides))
        if config.seed == 13:
            raise ZeroDivisionError("the loss is gone")
        if config.seed == 14:
            raise KeyboardInterrupt
        if config.seed == 15:
            raise RunFailed("runs/15 failed before")
        return FakeRun(config.seed / 4)

    monkeypatch.setattr("tlresearch.commands.details.show", lambda run: None)
    runner.execute = execute
    monkeypatch.setitem(sys.modules, "tlresearch.runner", runner)
    return calls


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """run("list", "method") → exit code, stdout, stderr of the command in this process."""
    from tlresearch.commands.main import main

    def call(*arguments: str) -> tuple[int, str, str]:
        code = main(list(arguments))
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return call
