"""Tables of texts: what is written comes back, whatever wrote it; what is wrong is named."""

import csv
import gzip
import json
import logging
from pathlib import Path

import pytest

from tlresearch.config.errors import ConfigError
from tlresearch.core.sampling import Sampling
from tlresearch.datasets.text_file import TextFile

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
ODD = ["plain", 'say "hi", twice', "two\nlines", "a,\r\nb", "tab\there", "NA", "null", "日本 ü \u2028 end", " padded "]
ROWS = [(text, "pos" if i % 2 else "neg") for i, text in enumerate(ODD * 2)]


def write_csv(path: Path, rows=ROWS, header=("text", "label"), encoding="utf-8", **dialect) -> Path:
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file, **dialect).writerows([header, *rows])
    return path


def stream(path: Path, **options):
    return TextFile(Sampling(), None, path=str(path), **options).stream()


def back(stage, labels) -> list[tuple[str, str]]:
    """The rows in the order of their index, as they were written."""
    rows = sorted((row for part in stage[2:5] for row in part), key=lambda row: row["index"])
    return [(row["input"], labels[int(row["labels"]["label"])]) for row in rows]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv_round_trip(tmp_path: Path, encoding: str, delimiter: str, end: str) -> None:
    path = write_csv(tmp_path / "a.csv", encoding=encoding, delimiter=delimiter, lineterminator=end)
    spec, (stage,) = stream(path)
    assert back(stage, spec.tasks[0].labels) == ROWS
    assert spec.tasks[0].labels == ("neg", "pos") and spec.modality == "text"


@pytest.mark.parametrize("packed", [False, True])
def test_json_lines_round_trip(tmp_path: Path, packed: bool) -> None:
    content = "\n".join(json.dumps({"text": t, "label": y}, ensure_ascii=False) for t, y in ROWS).encode() + b"\n\n"
    path = tmp_path / ("a.jsonl.gz" if packed else "a.jsonl")
    path.write_bytes(gzip.compress(content) if packed else content)
    spec, (stage,) = stream(path)
    assert back(stage, spec.tasks[0].labels) == ROWS


def test_gzipped_table_other_columns_and_long_texts(tmp_path: Path) -> None:
    long = "word " * 50_000  # over the 128 KiB that Python's reader allows by itself
    path = write_csv(tmp_path / "a.tsv", [(7, y, t + long) for t, y in ROWS], ("id", "mood", "body"), delimiter="\t")
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress(path.read_bytes()))
    limit = csv.field_size_limit()
    spec, (stage,) = stream(tmp_path / "a.tsv.gz", text_column="body", label_column="mood")
    assert spec.tasks[0].name == "mood" and stage.train[0]["input"].endswith(long)
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize(
    ("values", "expected"),
    [(["10", "9", "-1"], ("-1", "9", "10")), (["10", "9", "b"], ("10", "9", "b")), ([10, 9, 2], ("2", "9", "10"))],
)
def test_labels_are_sorted_as_numbers_where_all_are(tmp_path: Path, values: list, expected: tuple) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps({"text": "x", "label": value}) for value in values * 4))
    assert stream(path).spec.tasks[0].labels == expected


def test_a_folder_brings_its_own_splits(tmp_path: Path) -> None:
    for name, count in (("train", 8), ("dev", 4), ("test", 2)):
        write_csv(tmp_path / f"{name}.tsv", [(f"{name} {i}", i % 2) for i in range(count)], delimiter="\t")
    (stage,) = stream(tmp_path).stages
    assert [len(rows) for rows in stage[2:5]] == [8, 4, 2]
    for name, rows in zip(("train", "dev", "test"), stage[2:5], strict=True):
        assert all(row["input"].startswith(name) for row in rows)
    assert len({row["index"] for rows in stage[2:5] for row in rows}) == 14


def test_files_named_one_by_one(tmp_path: Path) -> None:
    train, test = write_csv(tmp_path / "x.csv"), write_csv(tmp_path / "y.csv", [("seen", "pos"), ("too", "neg")])
    (stage,) = stream(train, test_path=str(test)).stages
    assert [row["input"] for row in stage.test] == ["seen", "too"]
    assert len(stage.train) + len(stage.validation) == len(ROWS)


def test_domains(tmp_path: Path) -> None:
    rows = [(f"t{i}", i % 2, ("shop", "film")[i % 3 == 0]) for i in range(24)]
    path = write_csv(tmp_path / "a.csv", rows, ("text", "label", "place"))
    spec, (stage,) = stream(path, domain_column="place")
    assert spec.domains == ("film", "shop")
    for row in stage.train:
        assert spec.domains[row["domain"]] == rows[row["index"]][2]


def test_empty_texts_are_kept_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_csv(tmp_path / "a.csv", [*ROWS, ("", "pos"), ("  ", "neg")])
    with caplog.at_level(logging.WARNING, logger="tlresearch"):
        (stage,) = stream(path).stages
    assert sum(len(rows) for rows in stage[2:5]) == len(ROWS) + 2
    assert "the text is empty in 2 rows (line 24, line 25) (kept)" in caplog.text


def test_white_space_around_labels_is_removed_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_csv(tmp_path / "a.csv", [(" x ", "pos "), ("y", "neg\u00a0"), *[("z", "pos"), ("z", "neg")] * 4])
    with caplog.at_level(logging.WARNING, logger="tlresearch"):
        spec, (stage,) = stream(path)
    assert spec.tasks[0].labels == ("neg", "pos") and back(stage, ("neg", "pos"))[:2] == [(" x ", "pos"), ("y", "neg")]
    assert "white space around 'label' removed in 2 rows (line 2, line 3)" in caplog.text


def test_labels_that_differ_in_case_only_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_csv(
        tmp_path / "a.csv", [("x", label) for label in ("Straße", "STRASSE", "caf\u00e9", "cafe\u0301")] * 5
    )
    with caplog.at_level(logging.WARNING, logger="tlresearch"):
        assert len(stream(path).spec.tasks[0].labels) == 4
    assert "'STRASSE', 'Straße'" in caplog.text and "'cafe\u0301', 'caf\u00e9'" in caplog.text


@pytest.mark.parametrize(("members", "expected"), [(3, [1, 1, 1]), (5, [3, 1, 1]), (10, [6, 2, 2])])
def test_shares_split_off_of_few_rows(tmp_path: Path, members: int, expected: list[int]) -> None:
    """A fifth of each class for each set, rounded, at least one row."""
    path = write_csv(tmp_path / "a.csv", [(f"t{i}", f"class {i % 4}") for i in range(4 * members)])
    (stage,) = stream(path).stages
    for rows, count in zip(stage[2:5], expected, strict=True):
        assert rows.labels["label"].bincount(minlength=4).tolist() == [count] * 4
    (again,) = stream(path).stages
    assert [row["index"] for row in again.test] == [row["index"] for row in stage.test]


def test_the_only_row_of_a_class_is_trained_on(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [*[("x", "a"), ("y", "b")] * 5, ("alone", "c")])
    (stage,) = stream(path).stages
    assert [row["input"] for row in stage.train if row["labels"]["label"] == 2] == ["alone"]
    assert [sum(rows.labels["label"].bincount()).item() for rows in stage[2:5]] == [7, 2, 2]


def test_thousands_of_classes(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [(f"t{i}", f"class {i % 3000}") for i in range(9000)])
    spec, (stage,) = stream(path)
    assert len(spec.tasks[0].labels) == 3000 and len(stage.test) == len(stage.train) == 3000


def failing(path: Path, **options) -> tuple[str, str]:
    with pytest.raises(ConfigError) as error:
        stream(path, **options)
    return error.value.problems[0]


def test_missing_things_are_named(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", header=("text", "labels"))
    key, message = failing(path)
    assert key == "label_column" and "did you mean 'labels'" in message
    assert failing(path, label_column="labels", text_column="txt")[0] == "text_column"
    assert failing(path, label_column="labels", domain_column="where")[0] == "domain_column"
    assert failing(tmp_path / "b.csv")[0] == "path"
    assert failing(path, label_column="labels", test_path="nowhere.csv")[0] == "test_path"
    assert failing(path, delimiter="::")[0] == "delimiter"
    assert failing(path, label_column="text")[0] == "label_column"
    assert failing(path, label_column="labels", domain_column="labels")[0] == "domain_column"
    assert (
        failing(Path("/dev/null")).message
        == "'/dev/null': is neither a file nor a folder; save what it gives in a file"
    )


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (
            [f"{i}.5" for i in range(51)] * 4,
            "51 different values in 204 rows ('0.5', '1.5', '2.5' …) look like a number",
        ),
        (
            [str(1000 + i) for i in range(100)] + ["7"] * 90,
            "101 different values in 190 rows ('7', '1000', '1001' …) look",
        ),
        ([f"id-{i:02}" for i in range(21)], "('id-00', 'id-01', 'id-02' …) look like a text or an identifier"),
        (["1", "2", "1.0", "10"] * 5, "spells one number in several ways: '1', '1.0'; write them alike"),
    ],
)
def test_columns_that_are_no_classes(tmp_path: Path, labels: list[str], told: str) -> None:
    key, message = failing(write_csv(tmp_path / "a.csv", [("x", label) for label in labels]))
    assert key == "label_column" and told in message


@pytest.mark.parametrize("labels", [[f"{i / 2}" for i in range(20)], [str(i) for i in range(20)], ["1", "2.5", "-.5"]])
def test_scales_are_classes(tmp_path: Path, labels: list[str]) -> None:
    path = write_csv(tmp_path / "a.csv", [("x", label) for label in labels * 3])
    assert stream(path).spec.tasks[0].labels == tuple(sorted(labels, key=float))


def test_twenty_labels_are_classes_however_few_rows_they_have(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [*[(f"t{i}", f"class {i}") for i in range(19)], *[("t", "other")] * 10])
    assert len(stream(path).spec.tasks[0].labels) == 20


def test_bad_labels(tmp_path: Path) -> None:
    key, message = failing(write_csv(tmp_path / "a.csv", [("t", ""), ("t", " "), *[("t", "x")] * 9, *[("t", "")] * 5]))
    assert key == "label_column" and "is empty in 7 rows (line 2, line 3, line 13, line 14, line 15, …)" in message
    key, message = failing(write_csv(tmp_path / "b.csv", [(t, "same") for t, _ in ROWS]))
    assert key == "label_column" and "'same'" in message
    train, test = write_csv(tmp_path / "c.csv"), write_csv(tmp_path / "d.csv", [("x", "neutral"), ("y", "pos")])
    assert "'neutral'" in failing(train, test_path=str(test)).message
    (tmp_path / "e.jsonl").write_text('{"text": "a", "label": null}\n')
    assert "line 1" in failing(tmp_path / "e.jsonl").message


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", b"text,label\na,b,c\n", "line 2 has 3 fields"),
        ("a.csv", b"text,label\na\n", "line 2 has 1 fields"),
        ("a.csv", b'text,label\n"never closed,x\n', "line 2"),
        ("a.csv", b"text,label\n", "holds no rows"),
        ("a.csv", b"", "no such column"),
        ("a.csv", b"text,label\nx\xff\xfe,a\n", "UTF-8"),
        ("a.csv.gz", b"text,label\na,b\n", "cannot be read"),
        ("a.jsonl", b'{"text": "a", "label": 1}\n{"text": \n', "line 2 is no JSON"),
        ("a.jsonl", b"[1, 2]\n", "line 1 is no JSON object"),
        ("a.jsonl", b'{"text": "a", "label": 1}\n{"text": "a"}\n', "line 2"),
    ],
)
def test_malformed_files(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert told in failing(tmp_path / name).message


def test_folders_that_do_not_say_which_file(tmp_path: Path) -> None:
    write_csv(tmp_path / "all.csv")
    assert "found: all.csv" in failing(tmp_path).message
    write_csv(tmp_path / "train.csv")
    write_csv(tmp_path / "train.tsv")
    assert "train.csv, train.tsv" in failing(tmp_path).message


def test_real_files_have_their_published_sizes() -> None:
    if not SHARED.is_dir():
        pytest.skip("shared/data is absent")
    spec, (stage,) = stream(SHARED / "sst2")
    assert [len(rows) for rows in stage[2:5]] == [6920, 872, 1821] and spec.tasks[0].labels == ("0", "1")
    (stage,) = stream(SHARED / "cr" / "all.tsv").stages
    assert sum(rows.labels["label"].bincount() for rows in stage[2:5]).tolist() == [1368, 2407]
    spec, (stage,) = stream(SHARED / "banking77", label_column="category")
    assert len(spec.tasks[0].labels) == 77 and len(stage.test) == 3080
    assert len(stage.train) + len(stage.validation) == 10003
