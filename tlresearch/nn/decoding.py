"""Text files as decoded lines: any encoding, plain or gzipped; what is no text is refused by its line."""

from __future__ import annotations

import codecs
import difflib
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from encodings.aliases import aliases
from pathlib import Path
from typing import Any, TextIO

from tlresearch.config.errors import fail

_MARKS = {  # the longer first: UTF-32's begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_BINARY = {
    b"PK\x03\x04": "an Excel workbook or another zip archive",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"PAR1": "a Parquet file",
}
_GZIP = b"\x1f\x8b"
_ADVICE = "give the one it was written in: cp1252 (Windows and its Excel in Western Europe), latin-1, utf-16, gb18030 …"


@contextmanager
def decoded_lines(file: Path, *, key: str, encoding: str | None) -> Iterator[Iterator[str]]:
    """The file's lines with what ends them (line feed, carriage return or both), read as they are asked for.

    encoding: of files without a byte order mark, which says it for certain; null = UTF-8.
    Raises ConfigError under `key` for files that cannot be read or are no text, under "encoding" for other encodings.
    """
    _check(encoding)
    try:
        with _open(file, key, encoding) as stream:
            yield _lines(file, key, encoding, stream)
    except UnicodeError as error:
        fail("encoding", encoding, f"{file} is written in another encoding ({error}); {_ADVICE}")
    except (OSError, EOFError, zlib.error) as error:
        fail(key, str(file), f"cannot be read: {error}")


def _check(encoding: str | None) -> None:
    try:
        "".encode(encoding or "utf-8")  # unlike codecs.lookup, refuses base64 and others that encode no text
    except LookupError:
        match = difflib.get_close_matches(encoding or "", [*aliases, *aliases.values()], 1)
        guess = f"did you mean {match[0]!r}? " if match else ""
        message = f"no encoding that Python knows; {guess}Common ones: utf-8, utf-16, cp1252, latin-1"
        fail("encoding", encoding, message)


def _open(file: Path, key: str, encoding: str | None) -> TextIO:
    with file.open("rb") as raw:
        packed = raw.read(len(_GZIP)) == _GZIP or file.suffix.lower() == ".gz"
    opened: Any = gzip.open if packed else open
    with opened(file, "rb") as raw:
        start = raw.read(4)
    for signature, what in _BINARY.items():
        if start.startswith(signature):
            fail(key, str(file), f"is {what}; save the table as CSV (UTF-8) and give that file")
    marked = next((name for mark, name in _MARKS.items() if start.startswith(mark)), None)
    # bytes that cannot be decoded come as lone surrogates, so that `_lines` can say in which line they are
    stream: TextIO = opened(file, "rt", encoding=marked or encoding or "utf-8", errors="surrogateescape", newline="")
    return stream


def _lines(file: Path, key: str, encoding: str | None, stream: TextIO) -> Iterator[str]:
    for number, line in enumerate(stream, 1):
        if "\0" in line:
            hint = "no text, or UTF-16 without its byte order mark: then give encoding=utf-16-le"
            fail(key, str(file), f"line {number} holds a NUL character; {hint}")
        try:
            line.encode()
        except UnicodeEncodeError as error:
            first, last = max(error.start - 20, 0), error.end + 20
            bad = line[error.start : error.end].encode("utf-8", "surrogateescape")
            seen = line[first:last].strip().encode("utf-8", "surrogateescape").decode("cp1252", "replace")
            message = f"line {number} of {file} holds {bad[:8]!r}, which is not {encoding or 'UTF-8'}; {_ADVICE}"
            fail("encoding", encoding, f"{message} (cp1252 reads {seen!r})")
        yield line
