"""Plugins that exist only here, in a folder of their own and with a cache of their own."""

from collections.abc import Callable
from pathlib import Path

import pytest

TOYS = """
    from typing import Any, Literal

    from tlresearch import Dataset, Method, register


    @register("method", "toy_low")
    class Low(Method):
        '''Low rank.'''

        def __init__(self, *, rank: int = 8, alpha: float | None = None, targets: tuple[str, ...] = ("*",),
                     init: Literal["zeros", "random"] = "zeros", extra: dict[str, Any] = {}) -> None:
            if rank == 13:
                raise ValueError("unlucky")
            self.rank, self.alpha, self.targets, self.init, self.extra = rank, alpha, targets, init, extra

        def trainable(self, model, clock):
            return []


    @register("method", "toy_penalty")
    class Penalty(Method):
        '''No opinion on what trains.'''

        conflicts = frozenset({"toy_rival"})

        def __init__(self, *, strength: float = 1.0, verbose: bool = False) -> None:
            self.strength = strength


    @register("method", "toy_rival")
    class Rival(Method):
        '''Takes nothing.'''


    @register("dataset", "toy_rows")
    class Rows(Dataset):
        '''Needs a path.'''

        def __init__(self, sampling, *, path: str, rows: int = 3) -> None:
            self.sampling, self.path, self.rows = sampling, path, rows


    @register("dataset", "toy_cut")
    class Cut(Dataset):
        '''Over a base.'''

        def __init__(self, sampling, *, base: str = "toy_rows", base_arguments: dict[str, Any] = {}) -> None:
            pass


    @register("schedule", "toy_flat")
    def flat(clock, *, factor: float = 1.0):
        '''A constant.'''
        return factor
"""


@pytest.fixture(autouse=True)
def elsewhere(own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, a cache with the index alone, no plugins from outside."""
    monkeypatch.delenv("TLRESEARCH_PLUGINS", raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


@pytest.fixture
def toys(plugin: Callable[[str, str], Path]) -> Path:
    return plugin("toys.py", TOYS)
