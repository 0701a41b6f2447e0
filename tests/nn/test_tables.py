"""Tables as people have them: every dialect gives the same rows; what is no table is refused by its line."""

from __future__ import annotations

import csv
import gzip
import json
import logging
from pathlib import Path

import pandas
import pytest

from tlresearch.config.errors import ConfigError, Problem
from tlresearch.nn.tables import rows, text_lines

COLUMNS = {"text_column": "body", "label_column": "topic"}
CELLS = [
    ("Grüße aus Köln", "a"),
    ('say "hi", twice; or | not', "b"),
    ("two\nlines\r\nand more", "a"),
    ("  padded\t", "b"),
    ("", "NA"),
    ("naïve \u2028 \x85 \x0b café", "null"),
]


def table(file: Path, content: bytes) -> Path:
    file.write_bytes(content)
    return file


def read(file: Path, **options) -> list[tuple[str, str]]:
    return [(row["body"], row["topic"]) for _, row in rows(file, COLUMNS, **options)]


def failing(file: Path, columns: dict[str, str] = COLUMNS, **options) -> Problem:
    with pytest.raises(ConfigError) as error:
        list(rows(file, columns, **options))
    (problem,) = error.value.problems
    return problem


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_dialects_of_csv(tmp_path: Path, encoding: str, delimiter: str, end: str) -> None:
    with (tmp_path / "a.csv").open("w", newline="", encoding=encoding) as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator=end)
        writer.writerows([("nr", "topic", "body"), *((i, label, text) for i, (text, label) in enumerate(CELLS))])
    assert read(tmp_path / "a.csv") == CELLS
    assert read(tmp_path / "a.csv", encoding="latin-1" if encoding != "utf-8" else None) == CELLS  # the mark is certain


def test_big_endian_marks(tmp_path: Path) -> None:
    content = "body,topic\nGrüße,a\n"
    for mark, encoding in ((b"\xfe\xff", "utf-16-be"), (b"\x00\x00\xfe\xff", "utf-32-be")):
        assert read(table(tmp_path / "a.csv", mark + content.encode(encoding))) == [("Grüße", "a")]


def test_gzip_is_known_by_its_content(tmp_path: Path) -> None:
    content = gzip.compress(b"body,topic\nx,a\n", mtime=0)
    for name in ("a.csv.gz", "A.CSV.GZ", "a.csv"):
        assert read(table(tmp_path / name, content)) == [("x", "a")]


@pytest.mark.parametrize("lines", [True, False])
def test_json_that_pandas_wrote(tmp_path: Path, lines: bool) -> None:
    file = tmp_path / ("a.JSONL" if lines else "a.json")
    pandas.DataFrame(CELLS, columns=["body", "topic"]).to_json(file, orient="records", lines=lines)
    assert read(file) == CELLS
    places = [place for place, _ in rows(file, COLUMNS)]
    assert places[1] == f"{file}, {'line' if lines else 'item'} 2"


def test_values_of_json(tmp_path: Path) -> None:
    values = [("1", "1"), ("1.50", "1.50"), ("true", "true"), ("null", ""), ('"null"', "null"), ("NaN", "NaN")]
    values.append(("9" * 5000, "9" * 5000))  # more digits than Python turns into an integer
    lines = "".join(f'{{"id": [1], "body": "x", "topic": {value}}}\n\n' for value, _ in values)
    assert [label for _, label in read(table(tmp_path / "a.json", lines.encode()))] == [cell for _, cell in values]


def test_nested_keys_of_json(tmp_path: Path) -> None:
    ticket = {"ticket": {"body": "it broke", "meta": {"topic": "bug"}}, "tags": ["x"], "body.html": "<p>"}
    file = table(tmp_path / "a.jsonl", json.dumps(ticket).encode())
    columns = {"text_column": "ticket.body", "label_column": "ticket.meta.topic"}
    assert [row for _, row in rows(file, columns)] == [{"ticket.body": "it broke", "ticket.meta.topic": "bug"}]
    key, message = failing(file, {"label_column": "meta.topic"})
    assert key == "label_column" and "did you mean 'ticket.meta.topic'?" in message
    assert failing(file, columns, delimiter=";").key == "delimiter"
    assert failing(file, {"label_column": "tags"}).message == f"'tags': is a list in {file}, line 1; give a plain value"


def test_the_same_cells_as_pandas(tmp_path: Path) -> None:
    """Another parser, for bytes that no csv.writer wrote."""
    content = b'nr;body;topic\r\n1;"a ""b""; c\r\n\r\nd";x\r\n\r\n2;plain "quote" inside;y\r\n3;"";"z"\r\n'
    frame = pandas.read_csv(table(tmp_path / "a.csv", content), sep=";", dtype=str, keep_default_na=False)
    assert read(tmp_path / "a.csv") == list(zip(frame["body"], frame["topic"], strict=True))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("body\nhello\nhello, you\nand; you\n", ["hello", "hello, you", "and; you"]),  # one column: nothing delimits
        ("a,b,c;body\n1,2,3;x\n4,5,6;y\n", ["x", "y"]),  # more fields with a comma, which does not find the column
        ("sep=|\r\nbody|topic\r\nx;y,z|a\r\n", ["x;y,z"]),  # Excel's hint
        ("\n\n body , topic \nx,a\n", ["x"]),  # blank lines above, blanks around names
        ("body,topic,,\nx,a,,\n", ["x"]),  # columns without a name
    ],
)
def test_delimiter_and_header(tmp_path: Path, content: str, expected: list[str]) -> None:
    file = table(tmp_path / "a.csv", content.encode())
    assert [row["body"] for _, row in rows(file, {"text_column": "body"})] == expected


def test_a_given_delimiter_wins(tmp_path: Path) -> None:
    file = table(tmp_path / "a.csv", b"body:topic,body\nx,y:z\n")
    assert [row["body"] for _, row in rows(file, {"text_column": "body"}, delimiter=":")] == ["x,y"]


def test_places_are_first_lines(tmp_path: Path) -> None:
    file = table(tmp_path / "a.csv", b'body,topic\n"1\n2",a\n\nx,b\n')
    assert [place for place, _ in rows(file, COLUMNS)] == [f"{file}, line 2", f"{file}, line 5"]


def test_rows_of_blank_cells_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = table(tmp_path / "a.csv", b"body;topic\nx;a\n;\ny;b\n;\n")
    with caplog.at_level(logging.WARNING, logger="tlresearch"):
        assert read(file) == [("x", "a"), ("y", "b")]
    assert "left out rows of blank cells: 2 (line 3, 5)" in caplog.text


def test_a_cell_of_a_million_characters(tmp_path: Path) -> None:
    long = "wörd " * 200_000
    limit = csv.field_size_limit()
    file = table(tmp_path / "a.csv", f'body,topic\nx,a\n"{long}",b\n'.encode())
    reading = rows(file, COLUMNS)
    assert next(reading)[1]["body"] == "x" and csv.field_size_limit() == limit  # it holds for the whole process
    assert next(reading)[1]["body"] == long and csv.field_size_limit() == limit


def test_rows_are_read_as_they_are_asked_for(tmp_path: Path) -> None:
    file = table(tmp_path / "a.csv", b"body,topic\n" + b"x,a\n" * 10_000 + b"y\n")
    reading = rows(file, COLUMNS)
    assert next(reading)[1] == {"body": "x", "topic": "a"}
    with pytest.raises(ConfigError, match="line 10002 has 1 fields"):
        list(reading)


def test_other_encodings_are_named_never_guessed(tmp_path: Path) -> None:
    content = "body;topic\r\nx;a\r\nGrüße für 5 €;b\r\n".encode("cp1252")
    key, message = failing(table(tmp_path / "a.csv", content))
    assert key == "encoding" and message.startswith("None: line 3 of ") and "holds b'\\xfc\\xdf'" in message
    assert "cp1252" in message and "latin-1" in message and "(cp1252 reads 'Grüße für 5 €;b')" in message
    assert read(tmp_path / "a.csv", encoding="cp1252") == [("x", "a"), ("Grüße für 5 €", "b")]
    undefined = table(tmp_path / "b.csv", b"body,topic\nx\x81,a\n")
    key, message = failing(undefined, encoding="cp1252")
    assert key == "encoding" and message.startswith("'cp1252': line 2 of ") and "b'\\x81'" in message


@pytest.mark.parametrize("encoding", ["utf-16", "shift_jis", "gb18030", "koi8-r"])
def test_encodings_without_a_mark(tmp_path: Path, encoding: str) -> None:
    text = {"utf-16": "ü", "koi8-r": "привет"}.get(encoding, "日本")
    given = "utf-16-le" if encoding == "utf-16" else encoding
    file = table(tmp_path / "a.csv", f"body,topic\n{text},a\n".encode(given))
    assert failing(file).key == ("path" if encoding == "utf-16" else "encoding")
    assert read(file, encoding=given) == [(text, "a")]


def test_unknown_encodings(tmp_path: Path) -> None:
    file = table(tmp_path / "a.csv", b"body,topic\nx,a\n")
    for encoding, guess in (("latin-11", "did you mean 'latin"), ("cp1225", "did you mean 'cp125"), ("base64", "")):
        key, message = failing(file, encoding=encoding)
        assert (
            key == "encoding"
            and message.startswith(f"{encoding!r}: no encoding that Python knows")
            and guess in message
        )


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", b"PK\x03\x04\x14\x00", "is an Excel workbook or another zip archive; save the table as CSV"),
        ("a.xlsx", b"PK\x03\x04\x14\x00", "is an Excel workbook"),
        ("a.xls", b"\xd0\xcf\x11\xe0\xa1", "is an Excel workbook; save"),
        ("a.csv", b"body,topic\nx\0y,a\n", "line 2 holds a NUL"),
        ("a.csv", "body,topic\nx,a\n".encode("utf-16-le"), "line 1 holds a NUL character; no text, or UTF-16 without"),
        ("a.csv", b'body,topic\n\nx,a\n"b,c\n', "line 4: unexpected end of data; is a quote never closed"),
        ("a.csv", b'body,topic\n"x "y" z",a\n', "line 2: ',' expected after '\"'"),
        ("a.csv", b"body;topic\nx;a\nx;y;b\n", "line 3 has 3 fields, the header has 2; the delimiter is ';'"),
        ("a.csv.gz", b"body,topic\nx,a\n", "cannot be read"),
        ("a.csv.gz", gzip.compress(b"body,topic\nx,a\n" * 9, mtime=0)[:-9], "cannot be read"),
        ("a.json", b'[{"body": "x",\n "topic": }]', "the array is no JSON"),
        ("a.json", b'[{"body": "x", "topic": "a"}, 3]', "item 2 is no JSON object"),
        ("a.json", b'{\n"data": []}\n', "line 1 is no JSON"),
        ("a.jsonl", b"[" * 100_000, "line 1 is no JSON: maximum recursion"),
    ],
)
def test_what_is_no_table(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    key, message = failing(table(tmp_path / name, content), key="test_path")
    assert key == "test_path" and told in message


def test_truncated_utf_16_and_half_characters(tmp_path: Path) -> None:
    key, message = failing(table(tmp_path / "a.csv", "body,topic\nx,a\n".encode("utf-16")[:-1]))
    assert key == "encoding" and "truncated data" in message
    key, message = failing(table(tmp_path / "a.csv", b"\0b\0o\0d\0y"), encoding="utf-16")
    assert key == "encoding" and "does not start with BOM" in message
    key, message = failing(table(tmp_path / "a.jsonl", b'{"body": "cut \\ud83d", "topic": "a"}'))
    assert key == "text_column" and "half a character" in message and "line 1" in message


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    file = table(tmp_path / "a.csv", b"BODY,Topics,topic,topic\nx,y,a,b\n")
    key, message = failing(file, {"text_column": "body", "label_column": "Topics"})
    assert key == "text_column" and message.endswith("did you mean 'BODY'? Allowed: BODY, Topics, topic, topic")
    assert failing(file, {"label_column": "topic"}).message.startswith("'topic': 2 columns of ")
    headless = table(tmp_path / "b.csv", b"the film was fine,good\n" + b"x" * 999 + b",bad\n")
    assert "its first row must name the columns: if that is data already" in failing(headless).message
    wide = table(tmp_path / "c.csv", b",".join(b"%d" % i + b"x" * 500 for i in range(1000)))
    assert len(failing(wide).message) < 3000


def test_lines_of_a_plain_text(tmp_path: Path) -> None:
    file = table(tmp_path / "a.txt", '\ufeffone, "two\r\n\nthree \u2028'.encode())
    assert list(text_lines(file)) == [
        (f"{file}, line 1", 'one, "two'),
        (f"{file}, line 2", ""),
        (f"{file}, line 3", "three \u2028"),
    ]
