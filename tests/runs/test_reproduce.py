"""`tlresearch reproduce` from a claim's file to its verdict, on runs of a few steps."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tlresearch import Run
from tlresearch.commands.main import main

SWEEP = """
defaults: [config, {override backbone: mlp}, _self_]
steps: 60
evaluate_every: 60
progress: false
accelerator: cpu
hydra:
  sweeper:
    params:
      dataset.labels_per_class: 2,40
      seed: 0,1,2
"""
CLAIM = {
    "title": "More labels are better",
    "paper": "Nobody, 2020",
    "table": "none",
    "unit": "percent",
    "source": "made up",
    "protocol": "Few steps.",
    "sweep": "labels",
    "cells": {
        "few": {"value": 55, "where": {"dataset.labels_per_class": 2}},
        "many": {"value": 90, "where": {"dataset.labels_per_class": 40}},
    },
    "holds": [{"gap": ["many", "few"], "tolerance": 25}],
}


@pytest.fixture
def claim(folder: Path) -> Callable[..., str]:
    """claim(title=…) writes the claim and its sweep and returns the file's name."""

    def write(**changes: object) -> str:
        (folder / "labels.yaml").write_text(SWEEP)
        (folder / "mine.yaml").write_text(yaml.safe_dump({**CLAIM, **changes}))
        return "mine.yaml"

    return write


@pytest.fixture
def reproduce(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """reproduce("mine.yaml") → exit code, stdout, stderr."""

    def call(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main(["reproduce", *arguments])
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return call


def as_json(out: str) -> dict:
    (found,) = json.loads(out)
    return found


def test_what_is_missing_is_run_once_and_judged(claim, reproduce, folder) -> None:
    code, out, err = reproduce(claim())
    assert code == 0, err
    assert out.startswith("mine: reproduced (all 1 hold)")
    assert "6 runs: 6 done" in err and len(list((folder / "runs").iterdir())) == 6
    code, again, err = reproduce("mine.yaml")
    assert (code, again, err) == (0, out, "")
    code, out, _ = reproduce("mine.yaml", "--format", "json")
    found = as_json(out)
    assert (found["verdict"], found["missing"], found["stale"]) == ("reproduced", 0, 0)
    for name, labels in (("few", 2), ("many", 40)):
        cell = found["cells"][name]
        runs = {seed: Run.load(folder / "runs" / identity) for seed, identity in cell["identities"].items()}
        assert {run.config["dataset"]["labels_per_class"] for run in runs.values()} == {labels}
        assert cell["values"] == {seed: pytest.approx(100 * run.value) for seed, run in runs.items()}
        assert cell["n"] == 3 and cell["mean"] == pytest.approx(sum(cell["values"].values()) / 3)
        assert cell["half"] > 0 and cell["selection"] == "validation"


def test_only_what_is_missing_is_run(claim, reproduce, train, folder) -> None:
    name = claim()
    made = train(
        "backbone=mlp", "steps=60", "evaluate_every=60", "dataset.labels_per_class=2", "seed=1", "epochs=20"
    ).run
    before = (made.folder / "run.json").stat().st_mtime_ns
    code, _, err = reproduce(name)
    assert code == 0 and "5 of 6 runs are missing" in err and "5 done, 1 found done" in err
    assert (made.folder / "run.json").stat().st_mtime_ns == before


def test_falsified_values_change_the_verdict(claim, reproduce) -> None:
    reproduce(claim())
    cells = CLAIM["cells"]
    for few, many, expected in ((90, 90, "direction"), (95, 60, "not reproduced"), (10, 99, "direction only")):
        changed = {"few": {**cells["few"], "value": few}, "many": {**cells["many"], "value": many}}
        _, out, _ = reproduce(claim(cells=changed))
        verdict = out.partition(" (")[0].removeprefix("mine: ")
        assert verdict != "reproduced" and (many == few or verdict == expected), out


def test_too_few_seeds_are_no_verdict(claim, reproduce) -> None:
    code, out, _ = reproduce(claim(), "seed=0,1")
    assert code == 0 and out.startswith("mine: not run (partial: of 3 seeds there are few 2, many 2)")
    assert "gap" not in out
    _, out, err = reproduce("mine.yaml", "dry_run=true")
    assert "not run (partial: " in out and "6 runs: 4 done, 2 to do" in err


def test_another_protocol_is_said_to_be_one(claim, reproduce) -> None:
    name = claim()
    code, out, _ = reproduce(name, "steps=30", "evaluate_every=30", "store=elsewhere")
    assert code == 0
    assert ", protocol changed (" in out.splitlines()[0] and "changed    steps=30: not the protocol" in out
    _, out, _ = reproduce(name, "dry_run=true", "store=elsewhere")
    assert out.startswith("mine: not run (of 3 seeds there are few 0, many 0)")


def test_code_that_changed_makes_it_stale(claim, reproduce, monkeypatch) -> None:
    reproduce(claim())
    monkeypatch.setattr("tlresearch.results.runs.source_hashes", lambda config: {"tlresearch": "other"})
    code, out, err = reproduce("mine.yaml")
    assert (code, err) == (0, "")
    assert out.startswith("mine: reproduced, stale (") and "6 of 6 runs done, 6 stale" in out


def test_markdown_is_written_with_its_command(claim, reproduce, folder) -> None:
    code, out, _ = reproduce(claim(), "--format", "markdown", "--output", "docs/mine.md", "data_dir=.")
    assert (code, out) == (0, "docs/mine.md\n")
    text = (folder / "docs" / "mine.md").read_text()
    assert "Written by `tlresearch reproduce mine data_dir=. --format markdown`" in text
    assert "| [mine](#mine) | **reproduced** | all 1 hold | 6 of 6 runs done |" in text
    assert "- holds: gap: many − few: published +35.00, measured +" in text


def test_a_failed_run_is_told_by_the_exit_code(claim, reproduce, plugin) -> None:
    plugin(
        "broken.py",
        '''
        from tlresearch import Method, register

        @register("method", "broken")
        class Broken(Method):
            """Fails."""

            def on_stage_start(self, model, stage, batches):
                raise RuntimeError("out of order")
        ''',
    )
    code, out, err = reproduce(claim(), "method=[broken]")
    assert code == 1 and "out of order" in err and out.startswith("mine: not run")


@pytest.mark.parametrize(
    ("changes", "overrides", "told"),
    [
        (
            {"data": ["mnist/raw", "labels.yaml"]},
            [],
            "data_dir: None: claim 'mine' reads mnist/raw, which is not there",
        ),
        ({"data": ["mnist"]}, ["data_dir=gone"], "data_dir: 'gone': claim 'mine' reads mnist, which is not there"),
        ({"sweep": "lables"}, [], "unknown config 'lables'"),
        ({"holds": []}, [], "mine.yaml.holds: missing or empty"),
        ({}, ["stepz=3"], "stepz: unknown key; did you mean 'steps'"),
        ({"cells": {"few": CLAIM["cells"]["few"]}, "holds": [{"value": "few", "tolerance": 1}]}, [], "is of no cell"),
        ({"cells": {**CLAIM["cells"], "none": {"value": 1, "where": {"seed": 9}}}}, [], "is of cell 'none'"),
        ({"cells": {**CLAIM["cells"], "all": {"value": 1, "where": {}}}}, [], "is of the cells all, few"),
    ],
)
def test_mistakes_are_one_message_and_write_nothing(claim, reproduce, folder, changes, overrides, told) -> None:
    code, out, err = reproduce(claim(**changes), *overrides)
    assert (code, out) == (2, "")
    assert told in err and err.startswith("error: ") and "Traceback" not in err
    assert not (folder / "runs").exists()


def test_shipped_claims_are_listed_without_running(reproduce, folder) -> None:
    code, out, _ = reproduce()
    lines = out.splitlines()
    assert code == 0 and lines[0].split() == ["claim", "verdict", "runs", "title"]
    assert [line.split()[0] for line in lines[1:]] == ["dann_mnist_m", "few_shot_cr", "lora_sst2", "split_mnist"]
    assert all(" not run " in line for line in lines[1:]) and not list(folder.iterdir())


def test_other_mistakes(reproduce) -> None:
    assert "unknown claim 'split'; did you mean 'split_mnist'" in reproduce("split")[2]
    assert "leave one of the two out" in reproduce("split_mnist", "--all")[2]
    assert "format: 'pdf': unknown" in reproduce("--format", "pdf")[2]


def test_of_several_the_one_without_data_does_not_stop_the_others(reproduce) -> None:
    code, out, err = reproduce("split_mnist", "few_shot_cr", "data_dir=nowhere")
    assert code == 2 and err.count("error: data_dir: 'nowhere'") == 2
    assert "split_mnist: not run" in out and "few_shot_cr: not run" in out
