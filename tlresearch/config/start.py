"""What a run starts from (`init_from`) and what a pipeline is made of, as far as the configuration itself tells."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tlresearch.config.errors import ConfigError, Problem, Problems, choose, fail, require

WHICH = ("best", "last")
KEEP = ("last", "methods")
FORMS = "give RUN, RUN:best or RUN:last; RUN is a run folder, an identity of the store or, in a pipeline, a name"
START = "start"
"""What `metrics.pipeline` calls the weights before any run, so no run of a pipeline can."""


class Reference(NamedTuple):
    """One run that `init_from` names. which: the reported weights (best) or those after the last step (last)."""

    run: str
    which: str

    def __str__(self) -> str:
        return self.run if self.which == "best" else f"{self.run}:{self.which}"


def references(value: Any) -> tuple[Reference, ...]:
    """The runs of `init_from`: none for null, one for a text, several for a list; raises ConfigError."""
    if value is None:
        return ()
    found = tuple(_reference(part) for part in (value if isinstance(value, list) else [value]))
    require(bool(found), "init_from", value, "a run, or a list of at least one run whose weights are averaged")
    for reference in found:
        if found.count(reference) > 1:
            fail("init_from", str(reference), "named twice; the average is uniform, name each run once")
    return found


def _reference(value: Any) -> Reference:
    if isinstance(value, int) and not isinstance(value, bool):  # an identity may have no letters
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        fail("init_from", value, f"must be text: {FORMS}; put an identity that reads as a number in quotes")
    run, colon, which = value.rpartition(":")
    if run and which in WHICH:
        return Reference(run, which)
    if colon and "/" not in which and not Path(value).exists():
        fail("init_from", value, FORMS)
    return Reference(value, "best")


def check_start(values: Mapping[str, Any], problems: Problems) -> None:
    """Adds the mistakes in init_from, init_heads, init_methods and keep."""
    named = problems.attempt("", partial(references, values["init_from"])) or ()
    predictor = values["predictor"] is not None
    if values["init_from"] is None:
        for key in ("init_heads", "init_methods"):
            if values[key]:
                problems.add(key, f"{values[key]!r}: carries on from another run; give init_from=RUN, or leave it out")
    elif predictor:
        problems.add("init_from", f"{values['init_from']!r}: a predictor has no weights; leave one of the two out")
    for name in values["init_methods"]:
        problems.attempt("", partial(choose, "init_methods", name, values["method"]))
    if values["init_methods"] and len(named) > 1:
        problems.add("init_methods", f"{values['init_methods']!r}: method states cannot be averaged; name one run")
    for part in values["keep"]:
        problems.attempt("", partial(choose, "keep", part, KEEP))
    if values["keep"] and predictor:
        problems.add("keep", f"{values['keep']!r}: a predictor has no weights; leave it out")


def check_pipeline(value: Any) -> dict[str, list[str]]:
    """The runs of `pipeline`, name → overrides; raises ConfigError for anything that is not of this form."""
    form = "give {NAME: [KEY=VALUE, …], …}, one entry a run, in their order"
    if not isinstance(value, Mapping) or not value:
        fail("pipeline", value, f"names no run; {form}, or leave it out")
    problems = Problems()
    for name, overrides in value.items():
        key = f"pipeline.{name}"
        if not re.fullmatch(r"[A-Za-z0-9_-]+", str(name)) or name == START:
            problems.add(key, f"{name!r}: a name is made of letters, digits, _ and -, and is not {START!r}")
        if not isinstance(overrides, list) or not all(isinstance(override, str) for override in overrides):
            problems.add(key, f"{overrides!r}: must be a list of overrides; {form}")
            continue
        for override in overrides:
            if "=" not in override and not override.startswith("~"):
                problems.add(key, f"{override!r}: must be an override, KEY=VALUE")
            elif override_key(override) == "pipeline":
                problems.add(key, f"{override!r}: a run of a pipeline has no pipeline of its own; list all runs in one")
    problems.raise_any()
    return {str(name): list(overrides) for name, overrides in value.items()}


def override_key(override: str) -> str:
    """The top-level key that an override is about: "backbone" of "backbone.width=64"."""
    return re.split(r"[.=@/]", override.lstrip("+~"), maxsplit=1)[0]


def in_order(links: Mapping[str, tuple[Reference, ...]]) -> None:
    """Raises where a run of a pipeline starts from itself, in a cycle, or from a later one. links: name → init_from."""
    names = list(links)
    for name in names:
        path = _cycle(name, links, [name])
        if path:
            raise ConfigError(Problem("pipeline", f"{' → '.join(path)}: a cycle: no run of it can be the first"))
    for i, name in enumerate(names):
        for reference in links[name]:
            if reference.run in names[i:]:
                message = f"a later run: {name!r} comes before {reference.run!r}; change the order"
                fail(f"pipeline.{name}.init_from", str(reference), message)


def _cycle(name: str, links: Mapping[str, tuple[Reference, ...]], path: list[str]) -> list[str]:
    """The way from the last of `path` back to `name`, [] where there is none."""
    for reference in links[path[-1]]:
        if reference.run == name:
            return [*path, name]
        if reference.run in links and reference.run not in path:
            found = _cycle(name, links, [*path, reference.run])
            if found:
                return found
    return []
