"""`tlresearch report --roi`: what transfer saves, as tables, JSON or a document."""

from __future__ import annotations

import argparse
import json
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tlresearch.commands.table import print_table
from tlresearch.config.errors import ConfigError, choose, fail, require


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what belongs to `report --roi`."""
    group = parser.add_argument_group("what transfer saves")
    group.add_argument("--roi", action="store_true", help="labels, $ and Pareto front, from runs over labels a class")
    group.add_argument("--price", action="append", default=[], metavar="NAME=USD", help="as prices.NAME has it")
    group.add_argument("--engineer-days", action="append", default=[], metavar="ARM=DAYS", help="arm: as in the table")
    group.add_argument("--made-by", metavar="COMMAND", help="the command that trained the runs, for --format markdown")
    group.add_argument("--max-seconds-per-prediction", type=float, metavar="S", help="nothing slower is recommended")
    group.add_argument("--max-bytes", type=float, metavar="BYTES", help="a larger network (float32) is not recommended")


def main(found: Sequence[dict[str, Any]], arguments: argparse.Namespace) -> int:
    """Prints it. found: the rows of the stores. Raises ConfigError for prices, days or limits that are none."""
    from tlresearch.results import roi, roi_text

    prices = _numbers("--price", arguments.price)
    for name in prices:
        choose("--price", name, roi.PRICES)
    for name in ("max_seconds_per_prediction", "max_bytes"):
        value = getattr(arguments, name)
        require(value is None or 0 < value < math.inf, f"--{name.replace('_', '-')}", value, "a number above 0")
    days = _numbers("--engineer-days", arguments.engineer_days)
    own = [arguments.metric] if arguments.metric else roi.by_default(found)
    if len(own) > 1:
        fail("--roi", True, f"weighs one metric and these runs have {', '.join(own)}; add --metric")
    if not own:
        raise ConfigError("no run is done, so nothing to weigh; `tlresearch train -m -cn data_efficiency` makes some")
    terms = roi.Terms(own[0], prices, days, arguments.max_seconds_per_prediction, arguments.max_bytes)
    result = roi.analyse(found, terms)
    files = roi.picture(result, Path(arguments.picture)) if arguments.picture else []
    if arguments.format == "json":
        print(json.dumps(result, indent=1))
    elif arguments.format == "markdown":
        commands = [*([arguments.made_by] if arguments.made_by else []), _command(arguments)]
        print(roi_text.markdown(result, commands, files[0].name if files else None), end="")
    elif arguments.format == "table":
        for number, setting in enumerate(result["settings"]):
            print(end="\n" * (number > 0))
            for title, header, rows in roi_text.tables(setting, own[0]):
                print_table(header, rows, title=title)
            print(*setting["sentences"], sep="\n")
            print(*(f"does not fit: {text}\n" for text in setting["unfit"]), sep="", end="")
            print(*(f"note: {text}\n" for text in setting["notes"]), sep="", end="")
        print(*(f"note: {text}\n" for text in result["notes"]), sep="", end="")
        print(*files, sep="\n", end="\n" * bool(files))
    else:
        fail("--format", arguments.format, "--roi comes as table, json or markdown")
    return 0


def _numbers(option: str, given: Sequence[str]) -> dict[str, float]:
    found = {}
    for text in given:
        name, _, value = text.rpartition("=")
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = math.nan
        require(bool(name) and 0 <= found[name] < math.inf, option, text, "NAME=NUMBER, a number of at least 0")
    return found


def _command(arguments: argparse.Namespace) -> str:
    """The command line that gives the same again, but for what it says of the runs' own."""
    words = ["tlresearch", "report", *arguments.store, "--roi", "--format", arguments.format]
    words += ["--metric", arguments.metric] if arguments.metric else []
    for option in ("price", "engineer_days"):
        words += [word for value in getattr(arguments, option) for word in (f"--{option.replace('_', '-')}", value)]
    for option in ("max_seconds_per_prediction", "max_bytes", "picture"):
        value = getattr(arguments, option)
        words += [] if value is None else [f"--{option.replace('_', '-')}", str(value)]
    return shlex.join(words)
