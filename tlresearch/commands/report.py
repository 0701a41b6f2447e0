"""`tlresearch report`: the runs of a store as a table or as JSON; one run in detail."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tlresearch.commands import choosing, details
from tlresearch.commands.groups import columns, value
from tlresearch.commands.table import print_table
from tlresearch.config.errors import ConfigError
from tlresearch.results.choosing import choose
from tlresearch.results.report import Group, groups, row as entry, rows, titles
from tlresearch.results.runs import HEADLINE, Run
from tlresearch.results.store import RECORD


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what `tlresearch report` takes."""
    parser.add_argument("store", nargs="*", default=["runs"], help="stores (default: runs), or runs for their details")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.add_argument(
        "--metric", default=HEADLINE, help=f"a metric of the record by its dotted name (default: {HEADLINE})"
    )
    parser.add_argument(
        "--select",
        metavar="METRIC",
        help="a metric such as validation.accuracy, by whose mean over seeds the values of the --over keys are chosen",
    )
    parser.add_argument("--over", metavar="KEY,…", help="settings that --select chooses: optimizer.lr,method.lora.rank")
    parser.add_argument(
        "--picture", metavar="STEM", help="draws the metric against labels and against cost into STEM.png and STEM.svg"
    )


def main(arguments: argparse.Namespace) -> int:
    """Prints the runs of the stores as a table or as JSON; of run folders their details."""
    places = [Path(place) for place in arguments.store]
    if any((place / RECORD).is_file() for place in places):
        return _details(places, arguments)
    found = rows(places)
    if arguments.select or arguments.over:
        return _choices(found, arguments)
    if arguments.format == "json":
        print(json.dumps(found, indent=1, default=str))
        return 0
    if not found:
        print("no runs yet; `tlresearch train` makes one")
        return 0
    grouped = groups(found, arguments.metric)
    _print(grouped, arguments.metric)
    _draw(grouped, arguments)
    return 0


def _choices(found: list[dict[str, Any]], arguments: argparse.Namespace) -> int:
    over = list(dict.fromkeys(key.strip() for key in (arguments.over or "").split(",") if key.strip()))
    if not arguments.select or not over:
        example = "--select validation.accuracy --over optimizer.lr"
        raise ConfigError(f"--select and --over go together: by which metric, and among the values of what? {example}")
    asked: dict[str, Any] = {"select": arguments.select, "over": over, "metric": arguments.metric}
    choices = choose(found, **asked)
    choosing.warn(choices, sum(row["status"] != "done" for row in found))
    if arguments.format == "json":
        print(choosing.as_json(choices, **asked))
        return 0
    choosing.show(choices, **asked)
    _draw([choice.group for choice in choices], arguments, over)
    return 0


def _draw(groups: list[Group], arguments: argparse.Namespace, over: Sequence[str] = ()) -> None:
    if arguments.picture:
        from tlresearch.results.curves import draw

        print(*draw(groups, arguments.metric, Path(arguments.picture), over))


def _details(folders: list[Path], arguments: argparse.Namespace) -> int:
    if arguments.metric != HEADLINE or arguments.picture or arguments.select or arguments.over:
        reason = "--metric, --select, --over and --picture compare the runs of a store"
        raise ConfigError(f"{reason}; leave them out, or name the store")
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
    done = sorted((g for g in found if g.n), key=lambda g: -(g.mean or 0.0))
    title, varying, cells = columns(done, titles(done))
    header = [*varying, metric, "n", "trainable", "train s", "selected by"]
    body = [[*cell, *_numbers(group)] for cell, group in zip(cells, done, strict=True)]
    if body:
        print_table(header, body, title=title)
    for group in found:
        for row in group.rows:
            if row["status"] != "done":
                print(f"{row['status']}: {row['folder']}  {' '.join(row['overrides'])}  {row['error'] or ''}".rstrip())
    stale = sum(row["stale"] for group in found for row in group.rows)
    if stale:
        print(f"* {stale} run(s) made by other code than today's; rerun_stale=true runs them again")


def _numbers(group: Group) -> list[str]:
    trainable, seconds = group.cost("parameters_trainable"), group.cost("seconds_train")
    rule = group.first["selection"] or {}
    return [
        value(group),
        str(group.n),
        "" if trainable is None else f"{trainable:,.0f}",
        "" if seconds is None else f"{seconds:.1f}",
        f"{rule.get('rule', '')}{' (oracle)' if rule.get('oracle') else ''}",
    ]
