"""What is built in is also used: every method, optimizer, schedule, head and pooling is in a run that is shipped."""

from omegaconf import OmegaConf

from tlresearch.config.compose import composed_sweep
from tlresearch.config.registry import shipped

from . import registered

SWEEPS = [file.stem for file in sorted(shipped("sweeps").glob("*.yaml")) if "hydra" in OmegaConf.load(file)]
"""The others run the grids of one of these on other data."""
RATE = ("optimizer.lr=1e-3",)
"""In place of a sweep's own rates, so that each of its arms is composed once."""
POOLINGS = {("pooling", name) for name in ("auto", "max", "attention", "gem")}
"""mean and cls are what auto comes to."""


def test_every_built_in_part_is_in_a_shipped_sweep():
    used = set()
    for config in (config for sweep in SWEEPS for config in composed_sweep(sweep, RATE)):
        used |= {(kind, config[kind]["name"]) for kind in ("optimizer", "schedule", "head")}
        used |= {("method", name) for name in config["method"]} | {("pooling", config["head"]["pooling"])}
    kinds = ("method", "optimizer", "schedule", "head")
    built_in = {
        (kind, entry.name) for kind in kinds for entry in registered.entries(kind) if entry.origin == "built-in"
    }
    assert {kind for kind, _ in built_in} == set(kinds)
    assert not (built_in | POOLINGS) - used
