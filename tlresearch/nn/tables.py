"""Tables of texts, row by row: CSV and TSV in their dialects, JSON lines and arrays, plain or gzipped."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any

from tlresearch.config.errors import fail, nearest, require
from tlresearch.nn.decoding import decoded_lines

ENDINGS = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".json")
_DELIMITERS = (",", "\t", ";", "|")
_SAMPLE = 32  # lines that the delimiter is judged by
_LONGEST = 1 << 24  # characters of a cell: what is longer began with a quote that is never closed
_HALF = re.compile(r"[\ud800-\udfff]")

Row = dict[str, str]


def rows(
    file: Path,
    columns: Mapping[str, str],
    *,
    key: str = "path",
    delimiter: str | None = None,
    encoding: str | None = None,
) -> Iterator[tuple[str, Row]]:
    """("mails.csv, line 2", column → cell) for every row, read as they are asked for; blank rows are left out.

    Cells are as written; JSON's null is "", its numbers and true, false as spelt there, a nested key is "ticket.body".

    Args:
        file: .jsonl and .ndjson hold an object a line, .json those or an array; anything else is CSV with a header.
        columns: argument that names it → column; only these are read.
        key: the argument that names the file. Errors carry it, one of `columns`, or "encoding".
        delimiter: one character; null = the one of , tab ; | that finds the columns in the header.
        encoding: of files without a byte order mark; null = UTF-8.

    Raises ConfigError with file and line for what is no such table, lacks a column or holds what cannot be decoded.
    """
    with decoded_lines(file, key=key, encoding=encoding) as lines:
        if ending(file) in (".jsonl", ".ndjson", ".json"):
            require(delimiter is None, "delimiter", delimiter, f"null: {file} is JSON and has none")
            yield from _json_rows(key, file, lines, columns)
        else:
            yield from _csv_rows(key, file, lines, columns, delimiter)


def text_lines(file: Path, *, key: str = "path", encoding: str | None = None) -> Iterator[tuple[str, str]]:
    """("mails.txt, line 2", the line) for every line of a plain text, blank ones too; else as `rows`."""
    with decoded_lines(file, key=key, encoding=encoding) as lines:
        for number, line in enumerate(lines, 1):
            yield f"{file}, line {number}", line.rstrip("\r\n")


def ending(file: Path) -> str:
    """ ".csv" of reviews.csv, Reviews.CSV and reviews.csv.gz."""
    return Path(file.name.lower().removesuffix(".gz")).suffix


def _csv_rows(
    key: str, file: Path, lines: Iterator[str], columns: Mapping[str, str], delimiter: str | None
) -> Iterator[tuple[str, Row]]:
    sample = list(islice(lines, _SAMPLE))
    if sample and (hint := re.fullmatch(r"sep=(.)\s*", sample[0])):  # Excel's own
        delimiter, sample[0] = delimiter or hint[1], "\n"
    delimiter = delimiter or _delimiter(sample, columns.values())
    records = _records(key, file, csv.reader(chain(sample, lines), delimiter=delimiter, strict=True))
    number, header = next(records, (1, []))
    names = [name.strip() for name in header]
    positions = {column: _position(file, argument, column, names, columns) for argument, column in columns.items()}
    blank = []
    for number, record in records:
        if not any(record):
            blank.append(number)
            continue
        if len(record) != len(header):
            message = f"line {number} has {len(record)} fields, the header has {len(header)}"
            fail(key, str(file), f'{message}; the delimiter is {delimiter!r}, put cells that hold it into "quotes"')
        yield f"{file}, line {number}", {column: record[i] for column, i in positions.items()}
    if blank:
        where = ", ".join(map(str, blank[:5])) + ", …" * (len(blank) > 5)
        logging.getLogger("tlresearch").warning(
            "%s: left out rows of blank cells: %d (line %s)", file, len(blank), where
        )


def _delimiter(sample: list[str], wanted: Collection[str]) -> str:
    """The one with most of the wanted columns in the header, then the one that cuts the rows like the header."""

    def score(delimiter: str) -> tuple[int, bool, int, bool]:
        with _long_cells():
            header, *records = [r for r in csv.reader(sample, delimiter=delimiter) if any(r)] or [[]]
        alike = all(len(record) == len(header) for record in records[:-1])  # the sample may cut the last one
        found = len({name.strip() for name in header} & set(wanted))
        return found, alike and len(header) > 1, len(header), alike

    return max(_DELIMITERS, key=score)


def _position(file: Path, argument: str, column: str, names: list[str], columns: Mapping[str, str]) -> int:
    if names.count(column) > 1:
        fail(argument, column, f"{names.count(column)} columns of {file} have this name; rename all but one")
    if column not in names:
        shown = [name if len(name) <= 40 else f"{name[:39]}…" for name in names[:50]]
        other = set(columns.values()).isdisjoint(names)
        hint = (
            "; its first row must name the columns: if that is data already, put a row of names above" if other else ""
        )
        fail(argument, column, f"no such column in {file}; {nearest(column, shown)}{hint}")
    return names.index(column)


def _records(key: str, file: Path, reader: Any) -> Iterator[tuple[int, list[str]]]:
    """(number of its first line, cells) of each record that is not an empty line."""
    while True:
        number = reader.line_num + 1
        try:
            with _long_cells():
                record = next(reader, None)
        except csv.Error as error:
            hint = "is a quote never closed or, within a quoted cell, not doubled?"
            fail(key, str(file), f"line {number}: {error}; {hint}")
        if record is None:
            return
        if record:
            yield number, record


@contextmanager
def _long_cells() -> Iterator[None]:
    """Python's reader refuses cells over 128 KiB otherwise; its limit holds for the whole process, hence set back."""
    limit = csv.field_size_limit(_LONGEST)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def _json_rows(key: str, file: Path, lines: Iterator[str], columns: Mapping[str, str]) -> Iterator[tuple[str, Row]]:
    for place, value in _json_values(key, file, lines):
        if not isinstance(value, dict):
            fail(key, str(file), f'{place} is no JSON object such as {{"text": "…", "label": "…"}}')
        if any(column not in value for column in columns.values()):
            value = dict(_flat(value))
        row = {}
        for argument, column in columns.items():
            if column not in value:
                fail(argument, column, f"no such column in {file}, {place}; {nearest(column, value)}")
            row[column] = _cell(argument, column, value[column], f"{file}, {place}")
        yield f"{file}, {place}", row


def _json_values(key: str, file: Path, lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
    """("line 3", its value), or ("item 3", its value) of an array; numbers as they are spelt."""
    if ending(file) == ".json":
        content = "".join(lines)
        if content.lstrip().startswith("["):
            for number, item in enumerate(_loads(key, file, content, "the array"), 1):
                yield f"item {number}", item
            return
        lines = io.StringIO(content)
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield f"line {number}", _loads(key, file, line, f"line {number}")


def _loads(key: str, file: Path, content: str, place: str) -> Any:
    try:
        return json.loads(content, parse_int=str, parse_float=str, parse_constant=str)
    except (json.JSONDecodeError, RecursionError) as error:
        fail(key, str(file), f"{place} is no JSON: {error}; give an object a line, or an array of them in a .json file")


def _flat(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, inner in value.items():
        if isinstance(inner, dict):
            yield from _flat(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", inner


def _cell(argument: str, column: str, value: Any, place: str) -> str:
    if isinstance(value, dict | list):
        fail(
            argument,
            column,
            f"is {'a list' if isinstance(value, list) else 'an object'} in {place}; give a plain value",
        )
    if isinstance(value, str):
        if not value.isascii() and _HALF.search(value):
            fail(argument, column, f"holds half a character (a cut surrogate pair) in {place}; mend or remove the row")
        return value
    return "" if value is None else json.dumps(value)
