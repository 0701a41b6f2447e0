"""`tlresearch report`: the runs of a store as a table or as JSON; one run in detail."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tlresearch.commands import choosing, details, roi
from tlresearch.commands.groups import columns, value
from tlresearch.commands.table import print_table
from tlresearch.config.errors import ConfigError, fail
from tlresearch.results.choosing import choose
from tlresearch.results.report import Group, best_first, groups, metrics, row as entry, rows, titles
from tlresearch.results.runs import HEADLINE, Run
from tlresearch.results.store import RECORD


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what `tlresearch report` takes."""
    parser.add_argument("store", nargs="*", default=["runs"], help="stores (default: runs), or runs for their details")
    parser.add_argument("--format", choices=("table", "json", "markdown"), default="table")
    parser.add_argument(
        "--metric", help=f"a metric of the record by its dotted name (default: the runs' own, such as {HEADLINE})"
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
    roi.add_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Prints the runs of the stores as a table or as JSON; of run folders their details."""
    places = [Path(place) for place in arguments.store]
    if any((place / RECORD).is_file() for place in places):
        return _details(places, arguments)
    found = rows(places)
    if arguments.roi:
        return roi.main(found, arguments)
    if arguments.format == "markdown":
        fail("--format", arguments.format, "only --roi comes as a document here")
    if arguments.select or arguments.over:
        return _choices(found, arguments)
    if arguments.format == "json":
        print(json.dumps(found, indent=1, default=str))
        return 0
    if not found:
        print("no runs yet; `tlresearch train` makes one")
        return 0
    shown = _shown(found, arguments)
    if arguments.picture and len(shown) > 1:
        fail("--picture", arguments.picture, f"shows one metric and these runs have {', '.join(shown)}; add --metric")
    for i, metric in enumerate(shown):  # a table for each: an accuracy and an error have no order
        print(end="\n" * (i > 0))
        grouped = groups([row for row in found if arguments.metric or row["metric"] == metric], metric)
        _print(grouped, metric)
        _draw(grouped, metric, arguments)
    return 0


def _shown(found: Sequence[dict[str, Any]], arguments: argparse.Namespace) -> list[str]:
    """The metric asked for, or those that are the runs' own."""
    return [arguments.metric] if arguments.metric else list(dict.fromkeys(row["metric"] for row in found))


def _choices(found: list[dict[str, Any]], arguments: argparse.Namespace) -> int:
    over = list(dict.fromkeys(key.strip() for key in (arguments.over or "").split(",") if key.strip()))
    if not arguments.select or not over:
        example = "--select validation.accuracy --over optimizer.lr"
        raise ConfigError(f"--select and --over go together: by which metric, and among the values of what? {example}")
    having = [row for row in found if row["status"] == "done" and arguments.select in metrics(row["metrics"])]
    shown = _shown(having, arguments) or [HEADLINE]
    if len(shown) > 1:
        fail("--select", arguments.select, f"these runs have {', '.join(shown)}; add --metric")
    metric = shown[0]
    choices = choose(found, select=arguments.select, over=over, metric=metric)
    choosing.warn(choices, sum(row["status"] != "done" for row in found))
    if arguments.format == "json":
        print(choosing.as_json(choices, select=arguments.select, over=over, metric=metric))
        return 0
    choosing.show(choices, select=arguments.select, over=over, metric=metric)
    _draw([choice.group for choice in choices], metric, arguments, over)
    return 0


def _draw(groups: list[Group], metric: str, arguments: argparse.Namespace, over: Sequence[str] = ()) -> None:
    if arguments.picture:
        from tlresearch.results.curves import draw

        print(*draw(groups, metric, Path(arguments.picture), over))


def _details(folders: list[Path], arguments: argparse.Namespace) -> int:
    if arguments.metric or arguments.picture or arguments.select or arguments.over:
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
    done = best_first([group for group in found if group.n], metric)
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
