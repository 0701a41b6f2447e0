"""Tables of texts through the real command: refused with 2 and nothing written, or trained on as they are."""

from __future__ import annotations

import gzip
import json

import pytest

GOOD = "".join(f"film {i} is {'fine' if i % 2 else 'dull'},{'pos' if i % 2 else 'neg'}\n" for i in range(20))
TEXT = ("dataset=text_file", "backbone=transformers")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04", "path: '{}': is an Excel workbook or another zip archive; save the table as CSV (UTF-8)"),
        (b"", "text_column: 'text': no such column in {}; Allowed: none; its first row must name the columns"),
        (b"text,label\n", "path: '{}': holds no rows"),
        (GOOD.encode(), "text_column: 'text': no such column in {}; Allowed: film 0 is dull, neg; its first row must"),
        (b"Text,label\nx,a\n", "text_column: 'text': no such column in {}; did you mean 'Text'? Allowed: Text, label"),
        (b"text,label,label\nx,a,b\n", "label_column: 'label': 2 columns of {} have this name; rename all but one"),
        (
            b"text,label\nx,a\n\xfcber,b\n",
            "encoding: None: line 3 of {} holds b'\\xfc', which is not UTF-8; give the one",
        ),
        (b"text,label\nx\0,a\n", "path: '{}': line 2 holds a NUL character; no text, or UTF-16 without"),
        (b"text,label\nx,a\nx,y,b\n", "path: '{}': line 3 has 3 fields, the header has 2; the delimiter is ','"),
        (b'text,label\nx,a\n"x,b\n', "path: '{}': line 3: unexpected end of data; is a quote never closed"),
        (b"text,label\nx,a\ny,\n", "label_column: 'label': is empty in 1 row (line 3); every row needs a value"),
        (b"text,label\nx,a\ny,a\n", "label_column: 'label': has one label only, 'a'; give two or more"),
        (b"text,label\nx,a\ny,b\n", "test: 0.2: leaves a set without a row (2 there were); give 3 or more rows"),
        (b"text,label\nx,a\ny,b\nx,a\ny,b\n", "validation: 0.2: leaves a set without a row (2 there were); give 3"),
        (
            b"text,label\n" + b"".join(b"x,%d.5\n" % i for i in range(60)),
            "label_column: 'label': 60 different values in 60 rows ('0.5', '1.5', '2.5' …) look like a number "
            "to predict rather than classes; "
            "add dataset.kind=regression to predict it, or name a column of fewer values",
        ),
    ],
)
def test_refused_tables(refused, folder, content, message):
    (folder / "mails.csv").write_bytes(content)
    assert refused(*TEXT, "dataset.path=mails.csv").startswith("dataset." + message.format("mails.csv"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", "text,label\n", "line 1 is no JSON: Expecting value"),
        ("a.json", '{"rows": []}', "no such column in a.json, line 1; Allowed: rows"),
        ("a.jsonl", '{"text": "x", "label": ["a"]}', "is a list in a.jsonl, line 1; give a plain value"),
        ("a.csv.gz", GOOD, "cannot be read: Not a gzipped file"),
    ],
)
def test_refused_by_ending(refused, folder, name, content, message):
    (folder / name).write_text(content)
    assert message in refused(*TEXT, f"dataset.path={name}")


def test_refused_options(refused, folder):
    (folder / "a.csv").write_text("text,label\n" + GOOD)
    text = (*TEXT, "dataset.path=a.csv")
    assert refused(*text, "dataset.label_column=text").startswith(
        "dataset.label_column: 'text': must be another column"
    )
    assert "did you mean 'latin" in refused(*text, "dataset.encoding=latin-11")
    assert refused(*text, "dataset.delimiter=';'").startswith("dataset.text_column: 'text': no such column in a.csv")
    (folder / "all").mkdir()
    for name in ("one.csv", "two.csv"):
        (folder / "all" / name).write_text("text,label\n" + GOOD)
    message = refused(*TEXT, "dataset.path=all")
    assert "no train.csv" in message and "(found: one.csv, two.csv); name a file" in message


HARD = [("grüße;\r\n\"quoted\" 'x'", "pos"), ("", "neg"), ("good " * 40_000, "pos")]


def test_odd_but_sound_tables_are_trained_on(train, folder, tiny_bert_folder, caplog):
    """A name with spaces, brackets and other letters; an Excel export; JSON; one row of a class."""
    rows = [*[(f"film {i}", ("pos", "neg")[i % 2]) for i in range(20)], *HARD, ("alone", "other")]
    quoted = [f'"{text.replace(chr(34), chr(34) * 2)}";{label} ' for text, label in rows]
    excel = "\r\n".join(["sep=;", "body; topic", *quoted, ";", ""]).encode("cp1252")
    (folder / "Mails (März) 1.CSV").write_bytes(excel)
    tickets = [{"ticket": {"body": text, "topic": label}, "tags": []} for text, label in rows]
    (folder / "tickets.json.gz").write_bytes(gzip.compress(json.dumps(tickets).encode()))
    small = (*TEXT, f"backbone.model=path:{tiny_bert_folder}", "backbone.weights=none", "steps=1", "method=[probe]")
    excel_run = train(*small, 'dataset.path="Mails (März) 1.CSV"', "dataset.encoding=cp1252", *columns("body", "topic"))
    nested = train(*small, "dataset.path=tickets.json.gz", *columns("ticket.body", "ticket.topic"))
    for run in (excel_run.run, nested.run):
        assert run.spec.tasks[0].labels == ("neg", "other", "pos")
    assert "left out rows of blank cells: 1 (line 28)" in caplog.text
    assert "white space around 'topic' removed in 24 rows" in caplog.text
    assert "1.CSV: the text is empty in 1 row (line 25)" in caplog.text
    assert "tickets.json.gz: the text is empty in 1 row (item 22)" in caplog.text


def columns(text: str, label: str) -> tuple[str, str]:
    return f"dataset.text_column={text}", f"dataset.label_column={label}"
