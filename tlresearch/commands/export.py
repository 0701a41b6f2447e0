"""`tlresearch export RUN DIR --format FORMAT`: a trained model in the format of another library."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tlresearch.config.errors import choose
from tlresearch.export import FORMATS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what `tlresearch export` takes."""
    parser.add_argument("run", metavar="RUN", help="the folder of a finished run; `tlresearch report` lists them")
    parser.add_argument("folder", metavar="DIR", help="a new or empty folder")
    parser.add_argument("--format", required=True, metavar="FORMAT", help=f"one of {', '.join(FORMATS)}")


def main(arguments: argparse.Namespace) -> int:
    """Writes the folder; raises ConfigError, with nothing written, where the format cannot hold the model."""
    choose("--format", arguments.format, FORMATS)
    from tlresearch.export.write import export
    from tlresearch.results.runs import Run

    target = Path(arguments.folder)
    done = export(Run.load(arguments.run), target, arguments.format)
    if done.reason:
        print(f"not written as {arguments.format}: {done.reason}", file=sys.stderr)
        print(f"written as {done.format} instead, which computes the same", file=sys.stderr)
    print(f"{target}  format={done.format}  difference={done.difference:.1e}")
    return 0
