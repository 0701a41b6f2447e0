"""`tlresearch predict RUN FILES…`: labels and probabilities, or numbers, of images or texts: table, CSV, JSON lines."""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from tlresearch.commands.main import FAILED
from tlresearch.commands.table import print_table
from tlresearch.config.errors import fail, require
from tlresearch.results.runs import Run, look_up

if TYPE_CHECKING:
    from tlresearch.core.types import Spec
    from tlresearch.results.inference import Prediction
    from tlresearch.results.inputs import Input

FORMATS = ("table", "csv", "jsonl")
WIDEST = 60
"""Characters of a cell of the table; the other formats cut nothing."""

Cells = Mapping[str, str | float | None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what `tlresearch predict` takes."""
    add = parser.add_argument
    add("run", metavar="RUN", help="the folder of a finished run; `tlresearch report` lists them")
    files = "images and folders of them; or text files, a text a line (.txt) or a row (.csv .tsv .jsonl); - reads lines"
    add("files", metavar="FILES", nargs="+", help=files)
    add("--format", choices=FORMATS, help="default: table in a terminal, csv elsewhere, by its ending for --output")
    add("--output", metavar="FILE", help="written when all is predicted, or not at all (default: standard output)")
    add("--top", type=int, default=1, metavar="K", help="the K most probable labels of each task (default: 1)")
    add("--probabilities", action="store_true", help="also a column for the probability of every label")
    add("--text-column", metavar="NAME", help="column of the texts (default: that of the run's dataset, or text)")
    add("--encoding", help="of text files (default: UTF-8, or by the byte order mark)")
    add("--batch-size", type=int, default=64, metavar="ROWS", help="rows computed at a time (default: 64)")
    add("--accelerator", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="default: the best there is")
    stop = "stop (default): all images are checked first, and broken ones end it with exit code 2; skip: they are rows "
    skip = "with their error in column `error`, exit code 1; a text file with a broken line always ends it"
    add("--on-error", choices=("stop", "skip"), default="stop", help=stop + skip)


def main(arguments: argparse.Namespace) -> int:
    """Prints or writes a row for each input; 1 where rows were skipped, ConfigError for a user's mistake."""
    from tlresearch.results.inference import choose_device, predict
    from tlresearch.results.inputs import check_images

    for key, value in (("--top", arguments.top), ("--batch-size", arguments.batch_size)):
        require(value >= 1, key, value, "an integer of at least 1")
    run = Run.load(arguments.run)
    _check_classes(arguments, run.spec)
    form, output = _destination(arguments)
    device = choose_device(arguments.accelerator)
    inputs = _inputs(arguments, run)
    model, images = run.model, inputs if isinstance(inputs, list) else None
    if images is not None and arguments.on_error == "stop":  # found now rather than after hours
        check_images(images)
    chosen = {"batch_size": arguments.batch_size, "device": device, "on_error": arguments.on_error}
    total = None if images is None else len(images)
    answers = _watched(predict(model, run.spec, inputs, **chosen), total, form, output)
    first = next(answers)  # nothing is opened or printed before something is answered
    counts: Counter[str] = Counter()
    cells = (_cells(answer, arguments, run.spec) for answer in _counted(chain([first], answers), counts))
    with _opened(output) as target:
        _write(form, _columns(arguments, run.spec), cells, target)
    rows, failed = counts["rows"], counts["failed"]
    print(f"{rows} rows on {device}", file=sys.stderr)
    if failed:
        print(f"error: {failed} of {rows} rows could not be read; column `error` says why", file=sys.stderr)
    return FAILED if failed else 0


def _check_classes(arguments: argparse.Namespace, spec: Spec) -> None:
    """Refuses options about labels where no task has any."""
    if any(task.labels for task in spec.tasks):
        return
    advice = "is about labels and this run predicts numbers; leave it out"
    if arguments.top != 1:
        fail("--top", arguments.top, advice)
    if arguments.probabilities:
        fail("--probabilities", True, advice)


def _destination(arguments: argparse.Namespace) -> tuple[str, Path | None]:
    """The format and the file (None = standard output), which can be written and is none of those read."""
    if arguments.output is None:
        return arguments.format or ("table" if sys.stdout.isatty() else "csv"), None
    output = Path(arguments.output)
    if output.is_dir() or not os.access(output.parent, os.W_OK):
        fail("--output", arguments.output, "must be a file in a folder that exists and can be written to")
    if output.resolve() in [Path(place).resolve() for place in arguments.files]:
        fail("--output", arguments.output, "is one of the files to be read; give another")
    return arguments.format or ("jsonl" if output.suffix.lower() in (".jsonl", ".ndjson") else "csv"), output


def _inputs(arguments: argparse.Namespace, run: Run) -> list[Input] | Iterator[Input]:
    """All images, or the texts as they are asked for."""
    from tlresearch.results.inputs import images, texts

    modality = run.spec.modality
    if modality == "text":
        column = arguments.text_column or _text_column(run)
        return texts(arguments.files, sys.stdin.buffer, column, arguments.encoding)
    if modality != "image":
        fail(
            "RUN", arguments.run, f"reads {modality}s; this command knows images and texts, from Python use Run.predict"
        )
    for key, value in (("--text-column", arguments.text_column), ("--encoding", arguments.encoding)):
        if value is not None:
            fail(key, value, "is of text files and this run reads images; leave it out")
    return images(arguments.files, sys.stdin.buffer)


def _text_column(run: Run) -> str:
    """That of the run's dataset, or of the one which that rearranges."""
    names = (f"dataset.{base}{key}" for base in ("", "base_arguments.") for key in ("text_column", "input_column"))
    return next((name for key in names if (name := look_up(run.config, key))), "text")


def _watched(answers: Iterator[Prediction], total: int | None, form: str, output: Path | None) -> Iterator[Prediction]:
    """With a bar, unless rows appear in the same terminal meanwhile."""
    from tlresearch.training.progress import track

    alone = output is not None or form == "table" or not sys.stdout.isatty()
    return track(answers, "predicting", total) if alone else answers


def _counted(answers: Iterable[Prediction], counts: Counter[str]) -> Iterator[Prediction]:
    for answer in answers:
        counts.update(rows=1, failed=bool(answer.error))
        yield answer


def _columns(arguments: argparse.Namespace, spec: Spec) -> list[str]:
    columns = ["input", "text"] if spec.modality == "text" else ["input"]
    for task in spec.tasks:
        for rank in range(min(arguments.top, len(task.labels))):
            columns += [_ranked(task.name, column, rank) for column in ("label", "probability")]
        if not task.labels:
            columns.append(f"{task.name}.value")
        if arguments.probabilities:
            columns += [f"{task.name}.probability.{label}" for label in task.labels]
    return columns + (["error"] if arguments.on_error == "skip" else [])


def _cells(answer: Prediction, arguments: argparse.Namespace, spec: Spec) -> Cells:
    cells: dict[str, str | float | None] = {"input": answer.input.name}
    if spec.modality == "text":
        cells["text"] = answer.input.value
    for task, found in answer.probabilities.items():
        rounded = {label: float(f"{probability:.6g}") for label, probability in found.items()}
        for rank, (label, probability) in enumerate(islice(rounded.items(), arguments.top)):
            cells[_ranked(task, "label", rank)] = label
            cells[_ranked(task, "probability", rank)] = probability
        if arguments.probabilities:
            cells |= {f"{task}.probability.{label}": probability for label, probability in rounded.items()}
    cells |= {f"{task}.value": float(f"{value:.7g}") for task, value in answer.values.items()}
    if arguments.on_error == "skip":
        cells["error"] = answer.error or None
    return cells


def _ranked(task: str, column: str, rank: int) -> str:
    """intent.label, then intent.label_2 …"""
    return f"{task}.{column}" + (f"_{rank + 1}" if rank else "")


def _write(form: str, columns: list[str], rows: Iterable[Cells], target: TextIO) -> None:
    if form == "csv":
        writer = csv.DictWriter(target, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    elif form == "jsonl":
        for row in rows:
            target.write(json.dumps({column: row.get(column) for column in columns}, ensure_ascii=False) + "\n")
    else:
        table = [[_shown(row.get(column)) for column in columns] for row in rows]
        with redirect_stdout(target):
            print_table(columns, table)


def _shown(value: str | float | None) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    line = " ".join((value or "").split())
    return line if len(line) <= WIDEST else f"{line[: WIDEST - 1]}…"


@contextmanager
def _opened(output: Path | None) -> Iterator[TextIO]:
    """Standard output, or a file that is there once all is written; file names that are no UTF-8 stay as they are."""
    how: Any = {"mode": "w", "encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
    if output is None:
        with open(sys.stdout.fileno(), closefd=False, **how) as target:
            yield target
        return
    partial = output.with_name(output.name + ".partial")
    try:
        with open(partial, **how) as target:
            yield target
        os.replace(partial, output)
    finally:
        partial.unlink(missing_ok=True)
