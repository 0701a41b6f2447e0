"""What is built in is also used: every method, optimizer, schedule, head and pooling is in a run that is shipped."""

import pytest
from omegaconf import OmegaConf

from tlresearch.config.compose import composed_sweep
from tlresearch.config.registry import shipped

from . import registered

SWEEPS = [file.stem for file in sorted(shipped("sweeps").glob("*.yaml")) if "hydra" in OmegaConf.load(file)]
"""The others run the grids of one of these on other data."""
RATE = ("optimizer.lr=1e-3",)
"""In place of a sweep's own rates, so that each of its arms is composed once."""


@pytest.fixture(scope="module")
def used() -> set[tuple[str, str]]:
    found = set()
    for config in (config for sweep in SWEEPS for config in composed_sweep(sweep, RATE)):
        found |= {(kind, config[kind]["name"]) for kind in ("optimizer", "schedule", "head")}
        found |= {("method", name) for name in config["method"]}
        found |= {("pooling", config["head"]["pooling"])}
    return found


@pytest.mark.parametrize("kind", ["method", "optimizer", "schedule", "head"])
def test_every_built_in_part_is_in_a_shipped_sweep(kind, used):
    built_in = {entry.name for entry in registered.entries(kind) if entry.origin == "built-in"}
    assert built_in, "nothing to look for"
    assert not built_in - {name for of, name in used if of == kind}


def test_every_pooling_is_in_a_shipped_sweep(used):
    assert {"max", "attention", "gem"} <= {name for of, name in used if of == "pooling"}
