"""`tlresearch report`: the runs of a store compared, as a table or in other formats; one run in detail."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tlresearch.commands import choosing, compared, details, page, roi
from tlresearch.config import garbage
from tlresearch.config.errors import ConfigError, fail
from tlresearch.results.choosing import choose
from tlresearch.results.comparison import compare
from tlresearch.results.keys import Keys
from tlresearch.results.report import Group, groups, metric_of, row as entry, rows
from tlresearch.results.runs import HEADLINE, Run
from tlresearch.results.store import RECORD
from tlresearch.results.where import where

FORMATS = ("table", "json", *compared.FORMATS, "html")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what `tlresearch report` takes."""
    parser.add_argument("store", nargs="*", default=["runs"], help="stores (default: runs), or runs for their details")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="table",
        help="json: one object a run, with --select one a choice, or with --by or --pivot the comparison; "
        "comparison: groups, intervals and tests as one JSON object; csv, markdown; latex: a document that pdflatex "
        "compiles; html: one page",
    )
    parser.add_argument(
        "--metric", help=f"a metric of the record by its dotted name (default: the runs' own, such as {HEADLINE})"
    )
    parser.add_argument(
        "--by",
        metavar="KEY,…",
        help="what makes the groups: columns (method, backbone, dataset, labels_per_class …) and dotted settings such "
        "as dataset.labels_per_class (default: all settings but the seeds)",
    )
    parser.add_argument(
        "--where",
        metavar="KEY=VALUE,…",
        action="append",
        default=[],
        help="only those runs; =, !=, <, <=, >, >=; method=lora,probe is either; also metrics.… and cost.…",
    )
    parser.add_argument("--pivot", metavar="KEY", help="a column for each value of this key (--by: method otherwise)")
    parser.add_argument(
        "--select",
        metavar="METRIC",
        help="a metric such as validation.accuracy, by whose mean over seeds the values of the --over keys are chosen",
    )
    parser.add_argument("--over", metavar="KEY,…", help="settings that --select chooses: optimizer.lr,method.lora.rank")
    parser.add_argument(
        "--picture", metavar="STEM", help="draws the metric against labels and against cost into STEM.png and STEM.svg"
    )
    page.add_arguments(parser)
    roi.add_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Prints the runs of the stores as a table or in another format; of run folders their details."""
    garbage.postpone()  # among millions of values, none of which is in a cycle, the search takes half of the time
    try:
        return _main(arguments)
    finally:
        garbage.resume()


def _main(arguments: argparse.Namespace) -> int:
    page.check(arguments)
    places = [Path(place) for place in arguments.store]
    if any((place / RECORD).is_file() for place in places):
        return _details(places, arguments)
    everything = rows(places)
    keys = Keys(everything)
    found = where(everything, arguments.where, keys)
    if arguments.roi:
        return roi.main(found, arguments)
    grouped = arguments.by is not None or arguments.pivot is not None
    if (arguments.select or arguments.over) and not grouped and arguments.format == "json":
        return _choices(found, arguments)
    if arguments.format == "json" and not grouped:
        print("[" + ",\n".join(json.dumps(row, default=str) for row in found) + "]")  # a line a run
        return 0
    if arguments.format == "html":
        options = {"by": _names(arguments.by), "pivot": arguments.pivot, "select": arguments.select}
        shown = _shown(found, arguments) or [HEADLINE]
        return page.show(found, shown, arguments.output, **options, over=_over(arguments), keys=keys)
    if not found and not arguments.select:
        place = sys.stdout if arguments.format == "table" else sys.stderr
        print("no runs yet; `tlresearch train` makes one", file=place)
        return 0
    return _comparison(found, keys, arguments)


def _comparison(found: list[dict[str, Any]], keys: Keys, arguments: argparse.Namespace) -> int:
    by, over = _names(arguments.by), _over(arguments)
    if arguments.pivot is not None and not by:
        by = ["method"]
    shown = _shown(found, arguments) or [HEADLINE]
    if len(shown) > 1 and (arguments.picture or arguments.format != "table"):
        option, value = ("--picture", arguments.picture) if arguments.picture else ("--format", arguments.format)
        fail(option, value, f"shows one metric and these runs have {', '.join(shown)}; add --metric")
    for i, metric in enumerate(shown):  # a table for each: an accuracy and an error have no order
        of = [r for r in found if arguments.metric or r["metric"] == metric or (r["status"] != "done" and i == 0)]
        of = [r for r in of if r["status"] == "done" or i == 0]
        compared_runs = compare(
            of, metric=metric, by=by, pivot=arguments.pivot, select=arguments.select, over=over, keys=keys
        )
        if arguments.format == "table":
            print(end="\n" * (i > 0))
            compared.show(compared_runs)
        else:
            form = "comparison" if arguments.format == "json" else arguments.format
            print(compared.written(compared_runs, form), end="")
        if arguments.picture:
            chosen = choose(of, select=arguments.select, over=over, metric=metric) if arguments.select else []
            _draw([choice.group for choice in chosen] or groups(of, metric), metric, arguments, over)
    return 0


def _names(given: str | None) -> list[str]:
    return list(dict.fromkeys(key.strip() for key in (given or "").split(",") if key.strip()))


def _over(arguments: argparse.Namespace) -> list[str]:
    over = _names(arguments.over)
    if bool(arguments.select) != bool(over):
        example = "--select validation.accuracy --over optimizer.lr"
        raise ConfigError(f"--select and --over go together: by which metric, and among the values of what? {example}")
    return over


def _shown(found: Sequence[dict[str, Any]], arguments: argparse.Namespace) -> list[str]:
    """The metric asked for, or those that are the runs' own; where one is selected by, of the runs that have it."""
    done = [row for row in found if row["status"] == "done"]
    done = [row for row in done if not arguments.select or metric_of(row["metrics"], arguments.select) is not None]
    return [arguments.metric] if arguments.metric else list(dict.fromkeys(row["metric"] for row in done or found))


def _choices(found: list[dict[str, Any]], arguments: argparse.Namespace) -> int:
    over = _over(arguments)
    shown = _shown(found, arguments) or [HEADLINE]
    if len(shown) > 1:
        fail("--select", arguments.select, f"these runs have {', '.join(shown)}; add --metric")
    metric = shown[0]
    choices = choose(found, select=arguments.select, over=over, metric=metric)
    choosing.warn(choices, sum(row["status"] != "done" for row in found))
    print(choosing.as_json(choices, select=arguments.select, over=over, metric=metric))
    return 0


def _draw(groups: list[Group], metric: str, arguments: argparse.Namespace, over: Sequence[str] = ()) -> None:
    if arguments.picture:
        from tlresearch.results.curves import draw

        print(*draw(groups, metric, Path(arguments.picture), over))


def _details(folders: list[Path], arguments: argparse.Namespace) -> int:
    of_stores = ("metric", "by", "where", "pivot", "select", "over", "picture")
    given = [name for name in of_stores if getattr(arguments, name)]
    if given or arguments.format not in ("table", "json"):
        names = ", ".join(f"--{name}" for name in given) or f"--format {arguments.format}"
        raise ConfigError(f"{names}: compares the runs of a store; leave that out, or name the store")
    runs = [Run.load(folder) for folder in folders]
    if arguments.format == "json":
        print(json.dumps([entry(run) for run in runs], indent=1, default=str))
        return 0
    for run in runs:
        if len(runs) > 1:
            print(f"\n{run.folder}\n")
        details.show(run)
    return 0
