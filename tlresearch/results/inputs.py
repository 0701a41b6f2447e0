"""What a finished run is asked about: images, folders of images, lines and tables of texts, as one stream of rows."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from tlresearch.config.errors import ConfigError, Problems, fail
from tlresearch.core.types import Spec
from tlresearch.nn import image_files, tables
from tlresearch.training.data import ahead
from tlresearch.training.progress import track

STDIN = "-"
LINES = ".txt"
KEY = "FILES"
ENDINGS = " ".join(sorted(image_files.ENDINGS))


class Input(NamedTuple):
    """One row. name: where it stands (a path, or "mails.csv, line 2"); value: what the backbone reads (path, text)."""

    name: str
    value: Any


def named(values: Iterable[Any], spec: Spec) -> Iterator[Input]:
    """Values as they are, numbered; of an image run, a text is a path."""
    for number, value in enumerate(values):
        path = spec.modality == "image" and isinstance(value, str)
        yield Input(f"input {number}", Path(value) if path else value)


def images(places: Sequence[str], stdin: BinaryIO) -> list[Input]:
    """Every image named, and those below named folders, sorted by path; `-`: the places that `stdin` names, one a line.

    What is hidden in a folder or does not end like an image is left out, with a warning that counts it. Raises
    ConfigError for all places that do not exist, are no image by their ending, or hold none.
    """
    problems = Problems()
    given = chain.from_iterable(_places(stdin) if place == STDIN else [place] for place in places)
    found = [problems.attempt("", partial(_images, Path(place))) or [] for place in given]
    problems.raise_any()
    return [Input(str(path), path) for path in chain.from_iterable(found)]


def check_images(found: Sequence[Input]) -> None:
    """Reads every image once, JPEGs at an eighth of their size; ConfigError with up to ten of those that are broken."""
    flaws = track(ahead(_flaw, found, os.cpu_count() or 1), "checking images", len(found))
    broken = [f"{row.name!r} ({flaw})" for row, flaw in zip(found, flaws, strict=True) if flaw]
    if broken:
        more = f" and {len(broken) - 10} more" if len(broken) > 10 else ""
        advice = "mend or remove them, or let --on-error skip answer the others"
        raise ConfigError(f"{len(broken)} images cannot be read: {', '.join(broken[:10])}{more}; {advice}")


def _flaw(row: Input) -> str:
    return image_files.inspect(row.value).flaw


def texts(places: Sequence[str], stdin: BinaryIO, column: str, encoding: str | None = None) -> Iterator[Input]:
    """Every text of the files, read as they are asked for; `-`: one a line of `stdin`.

    A .txt file holds one text a line, blank ones too; the other tables (.csv .tsv .jsonl .ndjson .json, also .gz) hold
    it in `column`. Raises ConfigError at once for places that are no such file, later for one without rows.
    """
    problems = Problems()
    for place in places:
        problems.attempt("", partial(_check_texts, place))
    problems.raise_any()
    return chain.from_iterable(_texts(place, stdin, column, encoding) for place in places)


def _places(stdin: BinaryIO) -> list[str]:
    places = [line.value for line in _stdin(stdin) if line.value]
    if not places:
        fail(KEY, STDIN, "standard input names nothing; give a file or folder a line")
    return places


def _images(place: Path) -> list[Path]:
    if not place.exists():
        fail(KEY, str(place), "no such file or folder")
    if place.is_file():
        if place.suffix.lower() not in image_files.ENDINGS:
            fail(KEY, str(place), f"is no image by its ending; the run reads images: {ENDINGS}, or folders of them")
        return [place]
    try:
        found, others = image_files.find(place)
    except OSError as error:
        fail(KEY, str(place), f"{error.filename}: {error.strerror}; make it readable or remove it")
    if not found:
        fail(KEY, str(place), f"no image in this folder or below it; the run reads {ENDINGS}")
    if others:
        logging.getLogger("tlresearch").warning("%s: left out: %s", place, image_files.listed(others))
    return found


def _check_texts(place: str) -> None:
    allowed = f"the run reads texts: {' '.join(tables.ENDINGS)} (also .gz), or {STDIN} for lines on standard input"
    if place == STDIN:
        return
    file = Path(place)
    if not file.exists():
        fail(KEY, place, "no such file")
    if file.is_dir():
        fail(KEY, place, f"is a folder; {allowed}")
    if tables.ending(file) not in tables.ENDINGS:
        fail(KEY, place, f"is no file of texts by its ending; {allowed}")


def _texts(place: str, stdin: BinaryIO, column: str, encoding: str | None) -> Iterator[Input]:
    rows, file = 0, Path(place)
    if place == STDIN:
        found = _stdin(stdin, encoding)
    elif tables.ending(file) == LINES:
        found = (Input(name, line) for name, line in tables.text_lines(file, key=KEY, encoding=encoding))
    else:
        table = tables.rows(file, {"--text-column": column}, key=KEY, encoding=encoding)
        found = (Input(name, row[column]) for name, row in table)
    for rows, row in enumerate(found, 1):  # noqa: B007
        yield row
    if not rows:
        fail(KEY, place, "holds no rows")


def _stdin(stdin: BinaryIO, encoding: str | None = None) -> Iterator[Input]:
    try:
        stream = io.TextIOWrapper(stdin, encoding or "utf-8-sig")
        for number, line in enumerate(stream, 1):
            yield Input(f"standard input, line {number}", line.rstrip("\n"))
        stream.detach()  # left open
    except (LookupError, UnicodeDecodeError) as error:
        fail("--encoding", encoding, f"cannot decode standard input ({error}); give the encoding it is written in")
