"""`tlresearch report --select METRIC --over KEYS`: the hyper-parameters that validation chooses, and what test says."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from tlresearch.commands.table import print_table
from tlresearch.results.choosing import Choice, direction, is_oracle, value_text
from tlresearch.results.columns import columns, value
from tlresearch.results.report import best_first, titles


def show(choices: Sequence[Choice], *, select: str, over: Sequence[str], metric: str) -> None:
    """Prints a row a group, the best first, and above it by which rule its configuration was chosen."""
    of = {id(choice.group): choice for choice in choices}
    groups = best_first([choice.group for choice in choices], metric)
    ordered = [of[id(group)] for group in groups]
    title, header, cells = columns(groups, titles(groups, over=over))
    rule = f"chosen by {select} ({direction(select)}), the mean over seeds"
    if is_oracle(select):
        rule += "; an oracle: it is no number of the validation rows"
    header = [*header, *over, select, metric, "n", "tried", "runs", "chosen by"]
    body = [[*cell, *_numbers(choice, over)] for cell, choice in zip(cells, ordered, strict=True)]
    print(rule)
    print_table(header, body, title=title)
    if any(row["stale"] for group in groups for row in group.rows):
        print("* made by other code than today's; rerun_stale=true runs them again")


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


def _numbers(choice: Choice, over: Sequence[str]) -> list[str]:
    ties = f" ({choice.ties} more as good)" if choice.ties else ""
    return [
        *(value_text(choice.values[key]) if key in choice.values else "-" for key in over),
        f"{choice.score:.4f}{ties}",
        value(choice.group),
        str(choice.group.n),
        str(len(choice.tried)),
        str(choice.runs),
        "oracle" if choice.oracle else "validation",
    ]


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
