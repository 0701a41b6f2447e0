"""`tlresearch report`: the runs of a store as a table or as JSON."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from tlresearch.commands.table import print_table
from tlresearch.results.report import Group, groups, rows
from tlresearch.results.runs import HEADLINE

COLUMNS = ("backbone", "model", "weights", "head", "method", "predictor", "dataset", "labels_per_class", "seed")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what `tlresearch report` takes."""
    parser.add_argument("store", nargs="*", default=["runs"], help="one or more stores (default: runs)")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.add_argument(
        "--metric", default=HEADLINE, help=f"a metric of the record by its dotted name (default: {HEADLINE})"
    )


def main(arguments: argparse.Namespace) -> int:
    """Prints the runs of the stores as a table or as JSON."""
    found = rows([Path(place) for place in arguments.store])
    if arguments.format == "json":
        print(json.dumps(found, indent=1, default=str))
        return 0
    if not found:
        print("no runs yet; `tlresearch train` makes one")
        return 0
    _print(groups(found, arguments.metric), arguments.metric)
    return 0


def _print(found: list[Group], metric: str) -> None:
    done = sorted((g for g in found if g.n), key=lambda g: -(g.mean or 0.0))
    columns = [c for c in COLUMNS if c != "seed" or any(len(g.rows) == 1 for g in found)]
    varying = [c for c in columns if len({str(_cell(g, c)) for g in found}) > 1]
    shared = [f"{c} {_cell(found[0], c)}" for c in columns if c not in varying and _cell(found[0], c) not in ("", None)]
    header = [*varying, metric, "n", "trainable", "train s", "selected by"]
    body = [[*(str(_cell(g, c)) for c in varying), *_numbers(g)] for g in done]
    if body:
        print_table(header, body, title=", ".join(shared))
    for group in found:
        for row in group.rows:
            if row["status"] != "done":
                print(f"{row['status']}: {row['folder']}  {' '.join(row['overrides'])}  {row['error'] or ''}".rstrip())
    stale = sum(row["stale"] for group in found for row in group.rows)
    if stale:
        print(f"* {stale} run(s) made by other code than today's; rerun_stale=true runs them again")


def _cell(group: Group, column: str) -> Any:
    if column == "seed":
        return ",".join(str(row["seed"]) for row in group.rows)
    value = group.first[column]
    if column == "method":
        return "+".join(value) if value else ("" if group.first["predictor"] else "finetune")
    return "" if value is None else value


def _numbers(group: Group) -> list[str]:
    assert group.mean is not None
    half = f" ± {group.half:.4f}" if group.half is not None else ""
    star = "*" if any(row["stale"] for row in group.rows) else ""
    trainable, seconds = group.cost("parameters_trainable"), group.cost("seconds_train")
    rule = group.first["selection"] or {}
    return [
        f"{group.mean:.4f}{half}{star}",
        str(group.n),
        "" if trainable is None else f"{trainable:,.0f}",
        "" if seconds is None else f"{seconds:.1f}",
        f"{rule.get('rule', '')}{' (oracle)' if rule.get('oracle') else ''}",
    ]
