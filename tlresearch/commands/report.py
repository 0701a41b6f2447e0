"""`tlresearch report`: the runs of a store as a table or as JSON; one run in detail."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from tlresearch.commands import details
from tlresearch.commands.table import print_table
from tlresearch.config.errors import ConfigError, fail
from tlresearch.results.report import Group, best_first, groups, row as entry, rows, titles
from tlresearch.results.runs import HEADLINE, Run
from tlresearch.results.store import RECORD

COLUMNS = ("backbone", "model", "weights", "head", "method", "predictor", "dataset", "labels_per_class", "seed")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what `tlresearch report` takes."""
    parser.add_argument("store", nargs="*", default=["runs"], help="stores (default: runs), or runs for their details")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.add_argument(
        "--metric", help=f"a metric of the record by its dotted name (default: the runs' own, such as {HEADLINE})"
    )
    parser.add_argument(
        "--picture", metavar="STEM", help="draws the metric against labels and against cost into STEM.png and STEM.svg"
    )


def main(arguments: argparse.Namespace) -> int:
    """Prints the runs of the stores as a table or as JSON; of run folders their details."""
    places = [Path(place) for place in arguments.store]
    if any((place / RECORD).is_file() for place in places):
        return _details(places, arguments)
    found = rows(places)
    if arguments.format == "json":
        print(json.dumps(found, indent=1, default=str))
        return 0
    if not found:
        print("no runs yet; `tlresearch train` makes one")
        return 0
    metrics = [arguments.metric] if arguments.metric else list(dict.fromkeys(row["metric"] for row in found))
    if arguments.picture and len(metrics) > 1:
        fail("--picture", arguments.picture, f"shows one metric and these runs have {', '.join(metrics)}; add --metric")
    for i, metric in enumerate(metrics):  # a table for each: an accuracy and an error have no order
        print(end="\n" * (i > 0))
        grouped = groups([row for row in found if arguments.metric or row["metric"] == metric], metric)
        _print(grouped, metric)
        if arguments.picture:
            from tlresearch.results.curves import draw

            print(*draw(grouped, metric, Path(arguments.picture)))
    return 0


def _details(folders: list[Path], arguments: argparse.Namespace) -> int:
    if arguments.metric or arguments.picture:
        raise ConfigError("--metric and --picture compare the runs of a store; leave them out, or name the store")
    runs = [Run.load(folder) for folder in folders]
    if arguments.format == "json":
        print(json.dumps([entry(run) for run in runs], indent=1, default=str))
        return 0
    for run in runs:
        if len(runs) > 1:
            print(f"\n{run.folder}\n")
        details.show(run)
    return 0


def _print(found: list[Group], metric: str) -> None:
    done = best_first([group for group in found if group.n], metric)
    cells = [_cells(group, title) for group, title in zip(done, titles(done), strict=True)]
    values = {column: list(dict.fromkeys(cell[column] for cell in cells)) for column in COLUMNS}
    if len(values["weights"]) == 2 and "none" in values["weights"]:
        values["weights"].remove("none")  # those runs are called scratch
    if any(len(group.rows) > 1 for group in done):
        values["seed"] = []  # n says how many
    varying = [column for column in COLUMNS if len(values[column]) > 1]
    shared = [f"{column} {only}" for column in COLUMNS if len(values[column]) == 1 and (only := values[column][0])]
    header = [*varying, metric, "n", "trainable", "train s", "selected by"]
    body = [[*(cell[c] for c in varying), *_numbers(group)] for cell, group in zip(cells, done, strict=True)]
    if body:
        print_table(header, body, title=", ".join(shared))
    for group in found:
        for row in group.rows:
            if row["status"] != "done":
                print(f"{row['status']}: {row['folder']}  {' '.join(row['overrides'])}  {row['error'] or ''}".rstrip())
    stale = sum(row["stale"] for group in found for row in group.rows)
    if stale:
        print(f"* {stale} run(s) made by other code than today's; rerun_stale=true runs them again")


def _cells(group: Group, title: str) -> dict[str, str]:
    row = {**group.first, "seed": ",".join(str(row["seed"]) for row in group.rows)}
    row["method"] = "" if row["predictor"] else title
    row["labels_per_class"] = "all" if row["labels_per_class"] is None else row["labels_per_class"]
    return {column: "" if row[column] is None else str(row[column]) for column in COLUMNS}


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
