"""Labelled texts from CSV, TSV, JSON-lines or JSON files, plain or gzipped."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Collection, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Literal

import torch

from tlresearch.config.errors import choose, fail, require
from tlresearch.config.registry import register
from tlresearch.core.dataset import Dataset, descriptions, find
from tlresearch.core.kinds import KINDS
from tlresearch.core.rows import Rows
from tlresearch.core.sampling import Sampling
from tlresearch.core.types import Spec, Stream, Task
from tlresearch.nn.tables import ENDINGS, ending, rows

_STEMS = {"path": ("train",), "validation_path": ("validation", "valid", "val", "dev"), "test_path": ("test",)}
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)")
_LONGEST_NUMBER = 30
_TARGET = re.compile(_NUMBER.pattern + "([eE][+-]?[0-9]+)?")
_MOST_FRACTIONS = 50  # a scale with halves or tenths has fewer steps, a measured quantity more
_FEW = 20  # so many classes are classes, however few rows they have

_log = logging.getLogger("tlresearch")


@register("dataset", "text_file")
class TextFile(Dataset):
    """One row a text, one column its class or number. The task has the label column's name; classes are sorted.

    Texts are kept as written, empty ones too; white space around labels and column names is removed; blank rows are
    left out. Each is said aloud. A row without a label is refused, so is a column of quantities or of identifiers
    as classes, and what is no number (3.5, -2e3) as a target.

    path: a file (.csv .tsv .txt .jsonl .json, also .gz) or a folder with train.*, and dev.* and test.* if any.
    validation_path, test_path: files that bring those sets; null = the folder's, or a share of the training rows.
    text_column, label_column, domain_column: names in the header (keys in JSON, ticket.body where they are nested);
    domain_column null = one domain.
    kind: classification (numbers, too, are names of classes then), or regression: labels are numbers to predict.
    delimiter: null = the one of , tab ; | that finds the columns in the header.
    encoding: of files without a byte order mark, such as cp1252 (Windows) or latin-1; null = UTF-8.
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
        kind: Literal["classification", "regression"] = "classification",
        delimiter: str | None = None,
        encoding: str | None = None,
    ) -> None:
        require(delimiter is None or len(delimiter) == 1, "delimiter", delimiter, "one character, or null to find out")
        self.kind = KINDS[choose("kind", kind, ("classification", "regression"))]
        self.sampling, self.delimiter, self.encoding = sampling, delimiter, encoding
        self.columns = {"text_column": text_column}
        for key, column in (("label_column", label_column), ("domain_column", domain_column)):
            require(column not in self.columns.values(), key, column, "another column than the ones before it")
            if column is not None:
                self.columns[key] = column
        self.files = _files(find("path", path, data_dir))
        for key, value in (("validation_path", validation_path), ("test_path", test_path)):
            if value is not None:
                self.files[key] = find(key, value, data_dir)

    def stream(self) -> Stream:
        """One stage from the wanted columns of all files."""
        tables = {key: self._read(key, file) for key, file in self.files.items()}
        whole = {column: [v for table in tables.values() for v in table[column]] for column in self.columns}
        column = self.columns["label_column"]
        labels = _classes(column, whole["label_column"]) if self.kind.classes else ()
        y = _ids(whole["label_column"], labels) if self.kind.classes else _targets(column, whole["label_column"])
        domains = _sorted(set(whole["domain_column"])) if "domain_column" in whole else ("default",)
        task = Task(column.replace(".", "_"), self.kind.name, labels, self.kind.metrics[0])  # a dot separates keys
        everything = Rows(
            whole["text_column"],
            {task.name: y},
            _ids(whole["domain_column"], domains) if "domain_column" in whole else None,
        )
        parts, start = {}, 0
        for key, table in tables.items():
            stop = start + len(table["text_column"])
            parts[key], start = everything.take(torch.arange(start, stop)), stop
        splits = parts["path"], parts.get("validation_path"), parts.get("test_path")
        named = descriptions(task, len(everything))
        stage = self.sampling.stage("text_file", (task,), *splits, descriptions=named)
        return Stream(Spec("text", None, (task,), domains), (stage,))

    def _read(self, key: str, file: Path) -> dict[str, list[str]]:
        """The wanted columns of one file, checked."""
        table: dict[str, list[str]] = {argument: [] for argument in self.columns}
        empty: dict[str, list[str]] = {argument: [] for argument in self.columns}
        padded: dict[str, list[str]] = {argument: [] for argument in self.columns}
        odd: dict[str, str] = {}  # where → a label that is no number
        names: dict[str, str] = {}
        for place, row in rows(file, self.columns, key=key, delimiter=self.delimiter, encoding=self.encoding):
            for argument, column in self.columns.items():
                cell, bare = row[column], row[column].strip()
                if not bare:
                    empty[argument].append(place)
                if argument != "text_column":
                    if bare != cell:
                        padded[argument].append(place)
                    cell = names.setdefault(bare, bare)  # one string for all rows of a class
                if argument == "label_column" and bare and not self.kind.classes and not _is_target(bare):
                    odd[place] = bare
                table[argument].append(cell)
        if not table["text_column"]:
            fail(key, str(file), "holds no rows")
        for argument, column in self.columns.items():
            if empty[argument] and argument != "text_column":
                message = f"is empty in {_some(empty[argument], file)}; every row needs a value: fill or remove them"
                fail(argument, column, message)
            if argument == "label_column" and odd:
                first = next(iter(odd.values()))
                advice = "write numbers such as 1234.5, -0.2 or 3e5, without unit, comma or space, up to 3e38"
                where = f"{_some([*odd], file)} of {file}"
                fail(argument, column, f"holds {first[:40]!r}, and is no number in {where}; {advice}")
            if padded[argument]:
                _log.warning("%s: white space around %r removed in %s", file, column, _some(padded[argument], file))
        if empty["text_column"]:
            _log.warning("%s: the text is empty in %s (kept)", file, _some(empty["text_column"], file))
        return table


def _some(places: Sequence[str], file: Path) -> str:
    """For reading: 7 rows (line 2, line 5, line 7, line 8, line 9, …)."""
    named = ", ".join(place.removeprefix(f"{file}, ") for place in places[:5])
    return f"{len(places)} row{'s' * (len(places) > 1)} ({named}{', …' * (len(places) > 5)})"


def _classes(column: str, values: Sequence[str]) -> tuple[str, ...]:
    """The labels in order; refused are a single one, quantities, identifiers, and one number in two spellings."""
    names = set(values)
    labels = _sorted(names)
    if len(labels) < 2:
        fail("label_column", column, f"has one label only, {labels[0]!r}; give two or more")
    numbers = [Fraction(label) for label in labels] if _numeric(names) else []
    fractions = len(numbers) > _MOST_FRACTIONS and any(number.denominator > 1 for number in numbers)
    if fractions or len(labels) > max(_FEW, len(values) / 2):
        what = "a number to predict" if numbers else "a text or an identifier"
        some = ", ".join(repr(label[:40]) for label in labels[:3])
        found = f"{len(labels)} different values in {len(values)} rows ({some} …)"
        advice = "add dataset.kind=regression to predict it, or " if numbers else ""
        message = f"{found} look like {what} rather than classes; {advice}name a column of fewer values"
        fail("label_column", column, message)
    alike: dict[object, list[str]] = {}
    for label, spelling in zip(labels, numbers or map(_bare, labels), strict=True):
        alike.setdefault(spelling, []).append(label)
    twins = "; ".join(", ".join(map(repr, same)) for same in alike.values() if len(same) > 1)
    if twins and numbers:
        fail("label_column", column, f"spells one number in several ways: {twins}; write them alike")
    if twins:
        _log.warning("labels of %r differ in case or letter forms only, and stay different classes: %s", column, twins)
    return labels


def _is_target(cell: str) -> bool:
    """Whether it is a finite number, as float32 too."""
    return _TARGET.fullmatch(cell) is not None and abs(float(cell)) <= torch.finfo(torch.float32).max


def _targets(column: str, values: Sequence[str]) -> torch.Tensor:
    """(N,) float32; a column of one number is refused."""
    targets = torch.tensor([float(value) for value in values], dtype=torch.float32)
    if bool((targets == targets[0]).all()):
        fail("label_column", column, f"is {values[0]} in every row; nothing is to be learnt of it, name another column")
    return targets


def _bare(label: str) -> str:
    return unicodedata.normalize("NFKC", label).casefold()


def _files(path: Path) -> dict[str, Path]:
    """Argument name → file, for a file or for a folder with train.* and perhaps others."""
    if path.is_file():
        return {"path": path}
    if not path.is_dir():
        fail("path", str(path), "is neither a file nor a folder; save what it gives in a file")
    present = sorted(file for file in path.iterdir() if file.is_file() and ending(file) in ENDINGS)
    files = {}
    for key, stems in _STEMS.items():
        found = [file for file in present if file.name.partition(".")[0].lower() in stems]
        if len(found) > 1:
            fail("path", str(path), f"several files for one set: {', '.join(file.name for file in found)}; keep one")
        if found:
            files[key] = found[0]
    if "path" not in files:
        names = ", ".join(file.name for file in present) or "no such file at all"
        fail("path", str(path), f"no train.csv, .tsv, .txt, .jsonl, .json in this folder (found: {names}); name a file")
    return files


def _numeric(names: Collection[str]) -> bool:
    return all(len(name) <= _LONGEST_NUMBER and _NUMBER.fullmatch(name) for name in names)


def _sorted(names: Collection[str]) -> tuple[str, ...]:
    numeric = _numeric(names)
    return tuple(sorted(names, key=lambda name: (Fraction(name) if numeric else 0, name)))


def _ids(values: Sequence[str], names: Sequence[str]) -> torch.Tensor:
    position = {name: i for i, name in enumerate(names)}
    return torch.tensor([position[value] for value in values])
