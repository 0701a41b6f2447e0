"""Claims as text, JSON and Markdown: published beside measured numbers, what must hold, and the verdict."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from tlresearch.config.errors import fail
from tlresearch.results.claim_runs import State, rules_of_selection
from tlresearch.results.claims import NOT_RUN, Cell

HEADER = ("cell", "published", "measured (95 %)", "n", "seeds", "selected by")


def as_list(found: Sequence[State]) -> str:
    """A line a claim: its name, its verdict by the runs that are there, how many are missing, its title."""
    rows = [(state.claim.name, verdict(state), _progress(state), state.claim.title) for state in found]
    return aligned([("claim", "verdict", "runs", "title"), *rows])


def as_text(state: State) -> str:
    """One claim for the terminal."""
    claim, found = state.claim, state.verdict
    lines = [
        f"{claim.name}: {verdict(state)} ({found.reason})",
        f"{claim.title}. {claim.paper}; {claim.table}",
        f"source     {claim.source}",
        f"protocol   {claim.protocol}",
        f"measured   {claim.metric}, in {claim.unit}; {_progress(state)} in {state.store}",
        *(f"changed    {change}: not the protocol" for change in state.changed),
        "",
        aligned([HEADER, *(_row(state, name, cell) for name, cell in state.cells.items())]),
    ]
    lines += [""] if found.checks else []
    return "\n".join(lines + [f"{'holds' if check.holds else 'fails'}  {check.text}" for check in found.checks])


def as_json(found: Sequence[State]) -> str:
    """A list, an object a claim, every number with its seeds."""
    return json.dumps([_object(state) for state in found], indent=1, default=str, allow_nan=False)


def as_markdown(found: Sequence[State], command: str) -> str:
    """A document: all verdicts, then each claim with its numbers. command: that makes it."""
    summary = [("claim", "verdict", "why", "runs"), ("---",) * 4]
    for state in found:
        name = f"[{state.claim.name}](#{state.claim.name})"
        summary.append((name, f"**{verdict(state)}**", state.verdict.reason, _progress(state)))
    parts = ["# Claims", "", f"Written by `{command} --format markdown`. {_EXPLAINED}", "", *map(_line, summary)]
    for state in found:
        parts += ["", *_section(state)]
    return "\n".join(parts)


_EXPLAINED = (
    "Measured values are means over seeds with the 95 % interval of Student's t; differences are paired by seed. "
    "*reproduced*: all that must hold does; *direction only*: the directions are right, the sizes are not or "
    "cannot be compared; *not run*: fewer seeds than the claim asks for. *stale*: made by other code than today's."
)


def _section(state: State) -> list[str]:
    claim, found = state.claim, state.verdict
    rows = [HEADER, ("---",) * len(HEADER), *(_row(state, name, cell) for name, cell in state.cells.items())]
    lines = [
        f"## {claim.name}",
        "",
        f"**{verdict(state)}** ({found.reason}). {claim.title}.",
        "",
        f"- Paper: {claim.paper}; {claim.table}",
        f"- Source of the values: {claim.source}",
        f"- Protocol: {claim.protocol}",
        f"- Measured: `{claim.metric}`, in {claim.unit}; {_progress(state)}",
        *(f"- Changed by the command, so not the protocol: `{change}`" for change in state.changed),
        *_made(state),
        f"- Again: `tlresearch reproduce {claim.name} data_dir=FOLDER`",
        "",
        *map(_line, rows),
    ]
    lines += [""] if found.checks else []
    return lines + [f"- {'holds' if check.holds else '**fails**'}: {check.text}" for check in found.checks]


def _made(state: State) -> list[str]:
    """What the runs took, and when and by which code they were made."""
    runs = [run for cell in state.runs.values() for run in cell.values()]
    if not runs:
        return []
    seconds = sum(run.cost.get("seconds_total", math.nan) for run in runs)
    commits = sorted({str(run.record.get("git") or "unknown") for run in runs})
    days = sorted({str(run.record.get("started", ""))[:10] for run in runs})
    when = f"on {', '.join(days)}, at commit {', '.join(commits)}"
    return [f"- Runs: {len(runs)}, {seconds / 60:.0f} minutes of computing in all, {when}"]


def verdict(state: State) -> str:
    """The verdict's name, and whether the code has changed since."""
    name = state.verdict.name
    if state.changed and name != NOT_RUN:
        name += ", protocol changed"
    return f"{name}, stale" if state.stale else name


def _progress(state: State) -> str:
    stale = f", {state.stale} stale" if state.stale else ""
    return f"{state.total - state.missing} of {state.total} runs done{stale}"


def _row(state: State, name: str, cell: Cell) -> tuple[str, ...]:
    runs = state.runs[name]
    stale = "*" if any(run.stale for run in runs.values()) else ""
    half = "" if cell.half is None else f" ± {cell.half:.2f}"
    measured = f"{cell.mean:.2f}{half}{stale}" if cell.values else "-"
    seeds = ", ".join(sorted(cell.values, key=int))
    return (name, f"{cell.published:g}", measured, str(len(cell.values)), seeds, rules_of_selection(runs))


def _object(state: State) -> dict[str, Any]:
    claim, found = state.claim, state.verdict
    cells = {
        name: {
            "published": cell.published,
            "mean": cell.mean if cell.values else None,
            "half": cell.half,
            "n": len(cell.values),
            "values": dict(cell.values),
            "identities": {seed: run.identity for seed, run in state.runs[name].items()},
            "selection": rules_of_selection(state.runs[name]),
            "stale": sum(run.stale for run in state.runs[name].values()),
        }
        for name, cell in state.cells.items()
    }
    return {
        "name": claim.name,
        "verdict": found.name,
        "reason": found.reason,
        "stale": state.stale,
        "runs": state.total,
        "missing": state.missing,
        "changed": state.changed,
        **{key: getattr(claim, key) for key in ("title", "paper", "table", "unit", "metric", "source", "protocol")},
        "comparable": claim.comparable,
        "cells": cells,
        "checks": [
            {**check.rule._asdict(), "holds": check.holds, "direction": check.direction, "text": check.text}
            for check in found.checks
        ],
    }


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns, left-aligned."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def write(file: Path, text: str) -> None:
    """Replaces a file in one step; raises ConfigError where it cannot be written."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile("w", dir=file.parent, encoding="utf-8", delete=False) as temporary:
            temporary.write(text + "\n")
        os.chmod(temporary.name, 0o644)
        os.replace(temporary.name, file)
    except OSError as error:
        fail("output", str(file), f"cannot be written ({error.strerror}); give --output=FILE elsewhere")
