"""`tlresearch report --format html`: the comparison of a store's runs as one page that needs nothing else."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tlresearch.config.errors import fail


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what only the page takes."""
    parser.add_argument("--output", metavar="FILE", help="where --format html writes the page (default: it is printed)")


def check(arguments: argparse.Namespace) -> None:
    """Raises ConfigError for an output of another format, or one that cannot be, before anything is read."""
    if arguments.output is None:
        return
    if arguments.format != "html":
        fail("--output", arguments.output, f"goes with --format html; of --format {arguments.format} use `> FILE`")
    file = Path(arguments.output)
    if file.is_dir() or not file.parent.is_dir():
        fail("--output", arguments.output, "is no file in a folder that exists; name one, such as report.html")


def show(found: Sequence[dict[str, Any]], metrics: Sequence[str], output: str | None, **options: Any) -> int:
    """Writes the page of these rows, a comparison for each metric; options as `comparison.compare` takes them."""
    from tlresearch.results.comparison import compare
    from tlresearch.results.page.write import page, save

    several, comparisons = len(metrics) > 1, []
    for i, metric in enumerate(metrics):
        if several:  # those that are not done belong to no metric and are told of once
            of = [r for r in found if (r["metric"] == metric if r["status"] == "done" else i == 0)]
        else:
            of = list(found)
        comparisons.append(compare(of, metric=metric, **options))
    document = page(comparisons, found)
    if output is None:
        sys.stdout.write(document)
        return 0
    try:
        save(Path(output), document)
    except OSError as error:
        fail("--output", output, f"cannot be written: {error.strerror}; choose another file")
    print(output)
    return 0
