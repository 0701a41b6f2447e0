"""What is built in is also used: every method, optimizer, schedule, head and pooling is in a sweep that is shipped."""

import re
from collections.abc import Iterator

from omegaconf import OmegaConf

from tlresearch.config.registry import shipped

from . import registered

KINDS = ("method", "optimizer", "schedule", "head")
POOLINGS = {("head.pooling", name) for name in ("max", "attention", "gem")}
"""mean and cls are what auto, the default, comes to."""


def choices() -> Iterator[tuple[str, str]]:
    """Key and value of the defaults and the axes of every sweep; pipelines' runs choose nothing of their own here."""
    for file in (shipped("conf") / "config.yaml", *shipped("sweeps").glob("*.yaml")):
        content = OmegaConf.to_container(OmegaConf.load(file))
        defaults = [item for item in content["defaults"] if isinstance(item, dict)]
        sweeper = content.get("hydra", {}).get("sweeper", {}) if file.parent.name == "sweeps" else {}
        for axes in (*defaults, sweeper.get("params", {}), *sweeper.get("grids", ())):
            for key, value in axes.items():
                yield key.removeprefix("override "), str(value)


def test_every_built_in_part_is_in_a_shipped_sweep():
    used = {(key, name) for key, value in choices() for name in re.findall(r"\w+", value)}
    built_in = {
        (kind, entry.name) for kind in KINDS for entry in registered.entries(kind) if entry.origin == "built-in"
    }
    assert {kind for kind, _ in built_in} == set(KINDS)
    assert not (built_in | POOLINGS) - used
