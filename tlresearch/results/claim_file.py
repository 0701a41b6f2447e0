"""Claims as files: what a paper says, what must hold of it and the sweep that measures it. YAML, not code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tlresearch.config.errors import ConfigError, Problems, choose, fail, nearest, require
from tlresearch.config.registry import shipped
from tlresearch.results.claims import KINDS, Rule

PERCENT = "percent"
TEXTS = ("title", "paper", "table", "unit", "source", "protocol", "sweep")
KEYS = (*TEXTS, "cells", "holds")
OPTIONAL = {"metric": "test.accuracy", "data": [], "comparable": True}


class Published(NamedTuple):
    """A number of the paper's table. where: key → value of the runs that measure it, `method` a list of names."""

    value: float
    where: dict[str, Any]


class Claim(NamedTuple):
    """A published result.

    title, paper, table; unit: `percent` (the metric times 100) or the metric's own; source: where the values were seen,
    or that they are from memory; protocol: how it is measured and what was shortened; comparable: whether the values
    may be compared at all, or only their directions; metric: of the runs; data: what must lie below `data_dir`;
    sweep: the name of the configuration that `tlresearch train -m -cn` runs; folder: where that may lie beside the
    shipped ones, None for a shipped claim; cells: name → number.
    """

    name: str
    folder: Path | None
    title: str
    paper: str
    table: str
    unit: str
    source: str
    protocol: str
    sweep: str
    metric: str
    data: tuple[str, ...]
    comparable: bool
    cells: dict[str, Published]
    rules: tuple[Rule, ...]

    @property
    def scale(self) -> float:
        """What the metric is multiplied by to be in the claim's unit."""
        return 100.0 if self.unit == PERCENT else 1.0


def names() -> list[str]:
    """The shipped claims."""
    return sorted(file.stem for file in _home().glob("*.yaml"))


def _home() -> Path:
    return shipped("conf") / "claim"


def read(name: str) -> Claim:
    """A shipped claim by its name, or any by the path of its file; raises ConfigError with all that is wrong in it."""
    file = _home() / f"{name}.yaml"
    if name.endswith((".yaml", ".yml")):
        file = Path(name)
        require(file.is_file(), "CLAIM", name, "an existing file, or the name of a shipped claim")
    elif name not in names():
        raise ConfigError(f"unknown claim {name!r}; {nearest(name, names())}")
    try:
        return parse(file, _load(file))
    except ConfigError as error:
        raise error.below(str(file)) from error


def _load(file: Path) -> Any:
    import yaml

    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"is not readable YAML ({' '.join(str(error).split())[:200]}); mend it") from error


def parse(file: Path, values: Any) -> Claim:
    """The claim in a file's values; raises ConfigError with every mistake under its key."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"holds no keys; a claim has {', '.join(KEYS)}")
    problems, allowed = Problems(), (*KEYS, *OPTIONAL)
    for key in values:
        problems.attempt("", partial(choose, str(key), str(key), allowed))
    for key in KEYS:
        if values.get(key) in (None, "", [], {}):
            problems.add(key, "missing or empty; a claim says all of " + ", ".join(KEYS))
    for key in (*TEXTS, "metric"):
        problems.attempt("", partial(_is, key, values.get(key, ""), str, "a text"))
    data = values.get("data", OPTIONAL["data"])
    problems.attempt("", partial(require, _texts(data), "data", data, "a list of paths below data_dir"))
    comparable = values.get("comparable", OPTIONAL["comparable"])
    problems.attempt("", partial(_is, "comparable", comparable, bool, "true or false"))
    cells = problems.attempt("cells", lambda: _cells(values.get("cells") or {})) or {}
    rules = problems.attempt("holds", lambda: _rules(values.get("holds") or [], cells)) or ()
    problems.raise_any()
    texts: dict[str, Any] = {key: " ".join(values[key].split()) for key in TEXTS}
    rest: dict[str, Any] = {"data": tuple(data), "comparable": comparable, "cells": cells, "rules": rules}
    folder = None if file.parent == _home() else file.parent.absolute()
    return Claim(name=file.stem, folder=folder, metric=values.get("metric", OPTIONAL["metric"]), **texts, **rest)


def _cells(values: Any) -> dict[str, Published]:
    _is("", values, Mapping, "a mapping NAME: {value: NUMBER, where: {KEY: VALUE}}")
    problems, found = Problems(), {}
    for name, cell in values.items():
        made = problems.attempt(str(name), partial(_cell, cell))
        if made is not None:
            found[str(name)] = made
    problems.raise_any()
    return found


def _cell(cell: Any) -> Published:
    form = "{value: NUMBER, where: {KEY: VALUE}}"
    require(isinstance(cell, Mapping) and set(cell) == {"value", "where"}, "", cell, form)
    require(_number(cell["value"]), "value", cell["value"], "the published number")
    _is("where", cell["where"], Mapping, "a mapping from dotted keys to the values of the runs that measure it")
    return Published(float(cell["value"]), dict(cell["where"]))


def _rules(values: Any, cells: Mapping[str, Published]) -> tuple[Rule, ...]:
    _is("", values, list, "a list of rules such as {gap: [dann, source_only], tolerance: 10}")
    problems, found = Problems(), []
    for number, value in enumerate(values):
        found.append(problems.attempt(f"{number}", partial(_rule, value, cells)))
    problems.raise_any()
    return tuple(rule for rule in found if rule is not None)


def _rule(value: Any, cells: Mapping[str, Published]) -> Rule:
    kinds = [kind for kind in KINDS if isinstance(value, Mapping) and kind in value]
    if len(kinds) != 1:
        fail("", value, f"must say one of {', '.join(KINDS)} of cells")
    (kind,) = kinds
    named = [value[kind]] if isinstance(value[kind], str) else value[kind]
    count = KINDS[kind]
    right = _texts(named) and len(set(named)) == len(named) and (len(named) == count if count else len(named) > 1)
    require(right, kind, value[kind], f"a list of {count or 'two or more'} cells, each once")
    for name in named:
        choose(kind, name, cells)
    wanted = {kind} if kind == "order" else {kind, "tolerance"}
    require(set(value) == wanted, "", dict(value), f"made of {' and '.join(sorted(wanted))}")
    tolerance = value.get("tolerance", 0.0)
    require(
        _number(tolerance) and tolerance >= 0, "tolerance", tolerance, "a number of at least 0, in the claim's unit"
    )
    if kind == "order":
        numbers = [cells[name].value for name in named]
        require(len(set(numbers)) == len(numbers), kind, named, "cells whose published values differ")
    return Rule(kind, tuple(named), float(tolerance))


def _is(key: str, value: Any, kind: type | Callable[..., Any], allowed: str) -> None:
    require(isinstance(value, kind), key, value, allowed)  # type: ignore[arg-type]


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(part, str) for part in value)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
