"""Labelled texts from CSV, TSV or JSON-lines files, plain or gzipped."""

from __future__ import annotations

import csv
import gzip
import io
import json
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from tlresearch.config.errors import fail, nearest, require
from tlresearch.config.registry import register
from tlresearch.core.dataset import Dataset, find
from tlresearch.core.rows import Rows
from tlresearch.core.sampling import Sampling
from tlresearch.core.types import Spec, Stream, Task

_ENDINGS = (".csv", ".tsv", ".txt", ".jsonl")
_STEMS = {"path": ("train",), "validation_path": ("validation", "valid", "val", "dev"), "test_path": ("test",)}
_DELIMITERS = (",", "\t", ";", "|")


@register("dataset", "text_file")
class TextFile(Dataset):
    """One row a text, one column its class. The task has the label column's name; labels are sorted, numbers as such.

    path: a file (.csv .tsv .txt .jsonl, also .gz) or a folder with train.*, and dev.* and test.* where there are such.
    validation_path, test_path: files that bring those sets; null = the folder's, or a share of the training rows.
    text_column, label_column, domain_column: names in the header (keys in JSON lines); domain_column null = one domain.
    delimiter: null = the one of , tab ; | that finds the columns in the header.
    """

    def __init__(
        self,
        sampling: Sampling,
        data_dir: Path | None,
        *,
        path: str,
        validation_path: str | None = None,
        test_path: str | None = None,
        text_column: str = "text",
        label_column: str = "label",
        domain_column: str | None = None,
        delimiter: str | None = None,
    ) -> None:
        require(delimiter is None or len(delimiter) == 1, "delimiter", delimiter, "one character, or null to find out")
        self.sampling, self.delimiter = sampling, delimiter
        self.columns = {"text_column": text_column, "label_column": label_column}
        if domain_column is not None:
            self.columns["domain_column"] = domain_column
        self.files = _files(find("path", path, data_dir))
        for key, value in (("validation_path", validation_path), ("test_path", test_path)):
            if value is not None:
                self.files[key] = find(key, value, data_dir)

    def stream(self) -> Stream:
        """One stage from the wanted columns of all files."""
        tables = {key: self._read(key, file) for key, file in self.files.items()}
        whole = {column: [v for table in tables.values() for v in table[column]] for column in self.columns}
        labels = _sorted(whole["label_column"])
        if len(labels) < 2:
            fail("label_column", self.columns["label_column"], f"has one label only, {labels[0]!r}; give two or more")
        domains = _sorted(whole["domain_column"]) if "domain_column" in whole else ("default",)
        task = Task(self.columns["label_column"].replace(".", "_"), "classification", labels)  # a dot separates keys
        rows = Rows(
            whole["text_column"],
            {task.name: _ids(whole["label_column"], labels)},
            _ids(whole["domain_column"], domains) if "domain_column" in whole else None,
        )
        parts, start = {}, 0
        for key, table in tables.items():
            stop = start + len(table["text_column"])
            parts[key], start = rows.take(torch.arange(start, stop)), stop
        splits = parts["path"], parts.get("validation_path"), parts.get("test_path")
        return Stream(Spec("text", None, (task,), domains), (self.sampling.stage("text_file", (task,), *splits),))

    def _read(self, key: str, file: Path) -> dict[str, list[str]]:
        """The wanted columns of one file, checked."""
        table: dict[str, list[str]] = {column: [] for column in self.columns}
        try:
            raw = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
            content = raw.decode("utf-8-sig")
        except (UnicodeDecodeError, OSError, EOFError) as error:
            fail(key, str(file), f"cannot be read as UTF-8 text: {error}")
        for place, row in self._rows(key, file, content):
            for argument, column in self.columns.items():
                if column not in row:
                    fail(argument, column, f"no such column in {place}; {nearest(column, row)}")
                if argument != "text_column" and not row[column].strip():
                    fail(argument, column, f"is empty in {place}; every row needs a value")
                table[argument].append(row[column])
        if not table["text_column"]:
            fail(key, str(file), "holds no rows")
        empty = sum(not text.strip() for text in table["text_column"])
        if empty:
            logging.getLogger("tlresearch").warning("%s: %d rows have an empty text (kept)", file, empty)
        return table

    def _rows(self, key: str, file: Path, content: str) -> Iterator[tuple[str, dict[str, str]]]:
        if _ending(file) == ".jsonl":
            yield from _json_lines(key, file, content)
            return
        delimiter = self.delimiter or self._find_delimiter(content)
        reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
        limit = csv.field_size_limit(len(content) + 1)  # the default refuses texts over 128 KiB
        try:
            header = next(reader, [])
            for column in self.columns.items():
                if column[1] not in header:
                    fail(*column, f"no such column in {file}; {nearest(column[1], header)}")
            for row in reader:
                place = f"{file}, line {reader.line_num}"
                if row and len(row) != len(header):
                    fail(key, str(file), f"line {reader.line_num} has {len(row)} fields, the header has {len(header)}")
                if row:
                    yield place, dict(zip(header, row, strict=True))
        except csv.Error as error:
            fail(key, str(file), f"line {reader.line_num}: {error}")
        finally:
            csv.field_size_limit(limit)

    def _find_delimiter(self, content: str) -> str:
        line = content.partition("\n")[0].rstrip("\r")
        headers = {delimiter: next(csv.reader([line], delimiter=delimiter), []) for delimiter in _DELIMITERS}
        wanted = self.columns.values()
        return max(_DELIMITERS, key=lambda d: (sum(column in headers[d] for column in wanted), len(headers[d])))


def _json_lines(key: str, file: Path, content: str) -> Iterator[tuple[str, dict[str, str]]]:
    for number, line in enumerate(content.split("\n"), 1):  # str.splitlines would also cut inside of strings
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            fail(key, str(file), f"line {number} is no JSON: {error}")
        if not isinstance(row, dict):
            fail(key, str(file), f'line {number} is no JSON object such as {{"text": "…", "label": "…"}}')
        yield f"{file}, line {number}", {name: _plain(value) for name, value in row.items()}


def _plain(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _files(path: Path) -> dict[str, Path]:
    """Argument name → file, for a file or for a folder with train.* and perhaps others."""
    if path.is_file():
        return {"path": path}
    present = sorted(file for file in path.iterdir() if file.is_file() and _ending(file) in _ENDINGS)
    files = {}
    for key, stems in _STEMS.items():
        found = [file for file in present if file.name.partition(".")[0].lower() in stems]
        if len(found) > 1:
            fail("path", str(path), f"several files for one set: {', '.join(file.name for file in found)}; keep one")
        if found:
            files[key] = found[0]
    if "path" not in files:
        names = ", ".join(file.name for file in present) or "no such file at all"
        fail("path", str(path), f"no train.csv, .tsv, .txt, .jsonl in this folder (found: {names}); name a file")
    return files


def _ending(file: Path) -> str:
    return (file.with_suffix("") if file.suffix == ".gz" else file).suffix.lower()


def _sorted(values: Sequence[str]) -> tuple[str, ...]:
    names = set(values)
    numbers = all(re.fullmatch(r"[+-]?[0-9]+", name) for name in names)
    return tuple(sorted(names, key=lambda name: (int(name) if numbers else 0, name)))


def _ids(values: Sequence[str], names: Sequence[str]) -> torch.Tensor:
    position = {name: i for i, name in enumerate(names)}
    return torch.tensor([position[value] for value in values])
