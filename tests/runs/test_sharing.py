"""Several sweeps on one store at once share the work, and kill -9 at any moment costs nothing but the time."""

import importlib.util
import os
import random
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from sharing import WITNESS, Terminal, axis, family, nobody_left, rows, said, together, total

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None or importlib.util.find_spec("hydra_plugins.hydra_ray_launcher") is None,
    reason="ray and hydra-ray-launcher are not installed",
)
LAUNCHERS = ["basic", "joblib", "submitit_local", pytest.param("ray", marks=needs_ray)]


@pytest.fixture
def witness(folder, plugin, tmp_path, monkeypatch):
    """The file that the plugin `witness` writes to; whoever is left at the end is ended."""
    plugin("witness.py", WITNESS)
    monkeypatch.setenv("RAY_DISABLE_IMPORT_WARNING", "1")
    yield tmp_path / "witness"
    for process in family(tmp_path / "witness"):
        process.kill()


@pytest.fixture
def undisturbed(train, tmp_path, monkeypatch):
    """undisturbed(12) → the rows of that sweep when nothing happens to it."""

    def make(runs):
        monkeypatch.setenv("WITNESS", str(tmp_path / "witness of another"))
        result = train("-m", "dataset.labels_per_class=10", *axis(runs), "store=undisturbed")
        assert result.code == 0, result.err
        monkeypatch.delenv("WITNESS")
        return rows("undisturbed")

    return make


def numbers(line):
    """The last line of a sweep as {what: how many}."""
    runs, _, rest = line.partition(": ")
    return {"runs": int(runs.split()[0]), **{p.split(" ", 1)[1]: int(p.split()[0]) for p in rest.split(", ")}}


def test_two_terminals_share_one_sweep(witness, undisturbed):
    expected = undisturbed(6)
    terminals = [Terminal(*axis(6), witness=witness, pause=0.02) for _ in range(2)]
    ends = [terminal.end() for terminal in terminals]
    assert [code for code, _ in ends] == [0, 0], ends
    sums = [numbers(total(err)) for _, err in ends]
    assert [sum["runs"] for sum in sums] == [6, 6]
    assert sum(found.get("done", 0) for found in sums) == 6, sums
    assert rows("runs") == expected
    assert sorted(tag for tag, _, what in said(witness) if what == "start") == list(range(6))
    assert together(witness) == set()
    assert not list(Path("runs").glob("*/lock*"))


@pytest.mark.parametrize(
    ("launcher", "runs", "kills"),
    [
        ("basic", 4, 1),
        *(
            pytest.param(*getattr(launcher, "values", [launcher]), 12, 10, marks=[pytest.mark.slow, *marks])
            for launcher in LAUNCHERS
            for marks in [getattr(launcher, "marks", [])]
        ),
    ],
)
def test_killed_at_random_moments_and_started_again(witness, undisturbed, launcher, runs, kills):
    expected = undisturbed(runs)
    moments = random.Random(os.environ.get("KILLS", "0"))
    overrides = [*axis(runs), f"hydra/launcher={launcher}"]
    for number in range(kills):
        before = len(said(witness))
        terminal = Terminal(*overrides, witness=witness, pause=0.02)
        end = time.monotonic() + moments.choice([30, 30, 30, 2])  # mostly while it trains, sometimes while it starts
        while len(said(witness)) == before and time.monotonic() < end and terminal.process.poll() is None:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 1.5))
        terminal.kill(everything=number % 2 == 0)
    code, err = Terminal(*overrides, witness=witness).end()
    assert code == 0, err
    assert numbers(total(err))["runs"] == runs
    assert rows("runs") == expected, "each once, and equal to the undisturbed ones to the last bit"
    assert together(witness) == set(), "what outlived its parent trained on beside its successor"
    starts = [tag for tag, _, what in said(witness) if what == "start"]
    assert set(starts) == set(range(runs))
    if launcher != "joblib":  # whose orphans are idle by now, and end after five minutes without work
        assert nobody_left(witness, 120), "whoever outlived its parent ends by itself"
    wrote = len(said(witness))
    code, err = Terminal(*overrides, witness=witness).end()
    assert (code, total(err)) == (0, f"{runs} runs: {runs} found done")
    assert len(said(witness)) == wrote, "what is done is not run again"
