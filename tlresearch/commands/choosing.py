"""`tlresearch report --select METRIC --over KEYS --format json`: what validation chose, among what, what test says."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from tlresearch.results.choosing import Choice, direction


def as_json(choices: Sequence[Choice], *, select: str, over: Sequence[str], metric: str) -> str:
    """A list, one object a group. selected: key → chosen value; tried: how many configurations; over: the keys."""
    return json.dumps([_object(choice, select, over, metric) for choice in choices], indent=1, default=str)


def warn(choices: Sequence[Choice], left_out: int) -> None:
    """Tells on stderr what was not compared. left_out: runs that are not done."""
    lines = [line for choice in choices for line in choice.warnings]
    if left_out:
        lines.append(f"{left_out} run(s) not done, left out; `tlresearch report` without --select lists them")
    for line in lines:
        print(f"warning: {line}", file=sys.stderr)


def _object(choice: Choice, select: str, over: Sequence[str], metric: str) -> dict[str, Any]:
    first = choice.group.first
    kept = ("backbone", "model", "weights", "head", "method", "predictor", "dataset", "labels_per_class")
    return {
        **{name: first[name] for name in kept if "method" not in over or name != "method"},
        "over": list(over),
        "select": select,
        "direction": direction(select),
        "oracle": choice.oracle,
        "selected": choice.values,
        "selected_value": choice.score,
        "ties": choice.ties,
        "tried": len(choice.tried),
        "runs": choice.runs,
        "configurations": [found._asdict() for found in choice.tried],
        "metric": metric,
        "mean": choice.group.mean,
        "half": choice.group.half,
        "n": choice.group.n,
        "seeds": choice.seeds,
        "identities": [row["identity"] for row in choice.group.rows],
        "stale": any(row["stale"] for row in choice.group.rows),
        "warnings": choice.warnings,
    }
