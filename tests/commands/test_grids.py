"""Sweeps of several grids, through the real command line; the runs themselves are not made."""

import pytest
from omegaconf import OmegaConf

GRIDS = """
defaults: [config, _self_]
hydra:
  sweeper:
    grids:
      - seed: 7
      - seed: 1,2
        method: "[],[probe]"
      - seed: 2,3
        method: "[probe]"
"""


@pytest.fixture
def sweep(run, executed, folder):
    (folder / "grids.yaml").write_text(GRIDS)

    def sweep(*arguments):
        code, out, err = run("train", "-m", "-cd", ".", "-cn", "grids", *arguments)
        assert code == 0, err
        return [(config["seed"], list(config["method"])) for config, _ in executed], out

    return sweep


def test_grids_are_run_one_by_one_and_nothing_twice(sweep):
    runs, out = sweep()
    assert runs == [(7, []), (1, []), (1, ["probe"]), (2, []), (2, ["probe"]), (3, ["probe"])]
    assert out.splitlines()[-2].startswith("[6/6")


def test_the_command_line_takes_the_place_of_an_axis(sweep):
    """The first grid has no axis of its own then, and goes."""
    assert sweep("seed=5")[0] == [(5, []), (5, ["probe"])]


def test_another_axis_multiplies_every_grid(sweep):
    runs, out = sweep("method=[]", "steps=1,2")
    assert runs == [(7, []), (7, []), (1, []), (1, []), (2, []), (2, []), (3, []), (3, [])]
    assert "[1/8] seed=7 method=[] steps=1" in out


def test_without_grids_it_is_hydras_own(run, executed):
    assert run("train", "-m", "seed=1,2", "steps=3")[0] == 0
    assert [overrides for _, overrides in executed] == [["seed=1", "steps=3"], ["seed=2", "steps=3"]]


def test_submitit_starts_no_more_local_processes_than_there_are_cores(monkeypatch):
    from hydra_plugins.hydra_submitit_launcher.config import LocalQueueConf, SlurmQueueConf

    from hydra_plugins.tlresearch import GridSweeper, os

    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    sweeper = GridSweeper(None)
    for launcher, at_once in ((LocalQueueConf, 3), (SlurmQueueConf, None)):
        sweeper.config = OmegaConf.create({"hydra": {"launcher": OmegaConf.structured(launcher)}})
        assert sweeper._at_once() == at_once
