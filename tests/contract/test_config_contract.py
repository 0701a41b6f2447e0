"""The schema that is read from text is the signature; every shipped YAML composes and says only what is new."""

import inspect
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from tlresearch.config.compose import check, compose
from tlresearch.config.errors import ConfigError
from tlresearch.config.reader import Entry
from tlresearch.config.registry import KINDS, load, shipped, variants
from tlresearch.results import claim_file, claim_runs
from tlresearch.results.claims import LEAST_SEEDS
from tlresearch.results.report import leaves

from . import registered

ENTRIES = [entry for kind in KINDS for entry in registered.entries(kind)]
CLAIMS = sorted((shipped("conf") / "claim").glob("*.yaml"))
FILES = [file for place in ("conf", "sweeps") for file in sorted(shipped(place).rglob("*.yaml")) if file not in CLAIMS]


@pytest.mark.parametrize(
    "entry", [pytest.param(e, marks=registered.about((e.kind, e.name)), id=f"{e.kind}-{e.name}") for e in ENTRIES]
)
def test_schema_is_the_signature(entry: Entry) -> None:
    assert not entry.error, f"{entry.file}:{entry.line}: {entry.error}"
    plugin = load(entry.kind, entry.name)
    parameters = list(inspect.signature(plugin).parameters.values())
    assert entry.wiring == tuple(p.name for p in parameters if p.kind is not p.KEYWORD_ONLY)
    own = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    assert [option.name for option in entry.options] == [p.name for p in own]
    for option, parameter in zip(entry.options, own, strict=True):
        assert option.required == (parameter.default is parameter.empty)
        if not option.required:
            assert json.dumps(option.default) == json.dumps(parameter.default), option.name
    assert entry.summary, f"{entry.kind} {entry.name!r} has no docstring"


def test_every_built_in_kind_has_an_entry() -> None:
    assert {entry.kind for entry in ENTRIES} == set(KINDS)


@pytest.mark.parametrize("file", FILES, ids=lambda file: "-".join(file.parts[-3:]))
def test_every_shipped_file_composes(file: Path) -> None:
    check(compose(*_choice(file)))


@pytest.mark.parametrize("name", [file.stem for file in CLAIMS])
def test_every_run_of_a_claim_composes_and_is_of_one_cell(name: str) -> None:
    claim = claim_file.read(name)
    found = claim_runs.state(claim)
    assert min(len(set(wanted.seeds)) for wanted in found.wanted.values()) >= LEAST_SEEDS
    assert {cell for rule in claim.rules for cell in rule.cells} == set(claim.cells), "every number is asked about"


def test_there_are_claims() -> None:
    assert len(CLAIMS) >= 4


@pytest.mark.parametrize("file", FILES, ids=lambda file: "-".join(file.parts[-3:]))
def test_no_shipped_file_restates_a_default(file: Path) -> None:
    content = OmegaConf.load(file)
    assert OmegaConf.is_dict(content)
    own = {key: value for key, value in leaves(_plain(content)) if key.split(".")[0] not in ("defaults", "hydra")}
    relative = file.relative_to(shipped("conf")) if file.is_relative_to(shipped("conf")) else None
    kind = relative.parts[0] if relative is not None and len(relative.parts) > 1 else ""
    if kind in KINDS:
        bases = [(f"{kind}={next(iter(content.defaults))}",)]
        own = {f"{kind}.{key}": value for key, value in own.items()}
    else:  # a global file may set a key of whatever is chosen beside it
        groups = {key.split(".")[0] for key in own} & KINDS.keys()
        bases = [(), *((f"{group}={name}",) for group in groups for name in _choosable(group))]
    composed = [_values(base) for base in bases]
    for key, value in own.items():
        known = [values.get(key, _NOTHING) for values in composed]
        assert any(before != value for before in known), f"{file.name} restates {key}={value}"


_NOTHING = object()


def _choice(file: Path) -> tuple[list[str], str]:
    """Overrides and configuration name that bring a file in."""
    for place in ("conf", "sweeps"):
        if file.is_relative_to(shipped(place)):
            relative = file.relative_to(shipped(place)).with_suffix("")
    *folders, name = relative.parts
    if not folders:
        return [], name
    group = "/".join(folders)
    if group in KINDS and KINDS[group].multiple:
        return [f"{group}=[{name}]"], "config"
    return [f"{group}={name}" if group in (*KINDS, "preset") else f"+{group}={name}"], "config"


def _choosable(kind: str) -> list[str]:
    return [*(entry.name for entry in registered.entries(kind)), *variants(kind)]


@cache
def _values(overrides: tuple[str, ...]) -> dict[str, Any]:
    """Every leaf by its dotted name, {} where the choice needs more."""
    try:
        return dict(leaves(_plain(compose(list(overrides)))))
    except ConfigError:
        return {}


def _plain(node: Any) -> dict[str, Any]:
    found: dict[str, Any] = OmegaConf.to_container(node)
    return found
