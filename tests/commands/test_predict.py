"""`tlresearch predict` as a user meets it: the formats, the files, the exit codes, and what it refuses."""

import csv
import io
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import tlresearch
from tlresearch import Run

QUICK = ["steps=3", "progress=false", "accelerator=cpu", "tracker=[]"]


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A run on digits, and its answers to the first five by Python."""
    store = tmp_path_factory.mktemp("digits")
    run = tlresearch.run([*QUICK, "backbone=mlp", f"store={store}"])
    answers = [found.probabilities["digit"] for found in run.predict(list(load_digits().images[:5] * 255 / 16))]
    return str(run.folder), answers


@pytest.fixture(scope="module")
def moods(tmp_path_factory, tiny_bert_folder):
    """A run on a table of texts whose column is called body."""
    folder = tmp_path_factory.mktemp("moods")
    (folder / "train.csv").write_text("body,mood\n" + "a good film,1\nthe dull plot,0\n" * 8)
    data = ["dataset=text_file", f"dataset.path={folder}/train.csv", "dataset.text_column=body"]
    network = ["backbone=transformers", f"backbone.weights=path:{tiny_bert_folder}", "dataset.label_column=mood"]
    return str(tlresearch.run([*QUICK, *data, *network, f"store={folder}"]).folder)


@pytest.fixture
def photos(folder):
    """photos/: the first five digits, in order; broken.png lies elsewhere."""
    (folder / "photos").mkdir()
    for i, pixels in enumerate(load_digits().images[:5]):
        Image.fromarray((pixels * 255 / 16).round().astype(np.uint8)).save(folder / f"photos/ä {i}.png")
    (folder / "broken.png").write_bytes((folder / "photos/ä 1.png").read_bytes()[:60])
    return folder


def typed(monkeypatch, content):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


@pytest.mark.parametrize("size", ["1", "2", "64"])
def test_every_format_tells_what_python_does(run, photos, digits, size):
    folder, answers = digits
    ask = ("predict", folder, "photos", "--batch-size", size, "--top", "2", "--probabilities", "--format")
    code, out, err = run(*ask, "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert (code, err) == (0, "5 rows on cpu\n")
    names = [f"digit.{name}" for name in ("label", "probability", "label_2", "probability_2")]
    assert list(rows[0]) == ["input", *names, *(f"digit.probability.{c}" for c in range(10))]
    assert [row["input"] for row in rows] == [f"photos/ä {i}.png" for i in range(5)]
    for row, found in zip(rows, answers, strict=True):
        (best, p), (second, q), *_ = found.items()
        assert [row[name] for name in names[::2]] == [best, second]
        assert [float(row[name]) for name in names[1::2]] == pytest.approx([p, q], abs=1e-5)
        assert {c: float(row[f"digit.probability.{c}"]) for c in found} == pytest.approx(found, abs=1e-5)
    lines = [json.loads(line) for line in run(*ask, "jsonl")[1].splitlines()]
    assert [{k: str(v) for k, v in line.items()} for line in lines] == rows
    header, first, *_ = run("predict", folder, "photos", "--format", "table")[1].splitlines()
    assert header.split() == ["input", "digit.label", "digit.probability"]
    assert first.split("  ")[0] == "photos/ä 0.png"
    assert first.split()[2:] == [rows[0]["digit.label"], f"{float(rows[0]['digit.probability']):.4f}"]


def test_texts_come_from_the_column_of_the_dataset(run, folder, moods, monkeypatch):
    (folder / "new mails.csv").write_text('id,body,text\n1,"a good,\nfilm",x\n2,bad,y\n')
    (folder / "lines.txt").write_text("fine\n\nnot dull\n")
    typed(monkeypatch, b"very good")
    code, out, _ = run("predict", moods, "new mails.csv", "-", "lines.txt", "--format", "jsonl")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [row["text"] for row in rows] == ["a good,\nfilm", "bad", "very good", "fine", "", "not dull"]
    assert [row["input"] for row in rows][1:4] == [
        "new mails.csv, line 4",
        "standard input, line 1",
        "lines.txt, line 1",
    ]
    assert {row["mood.label"] for row in rows} <= {"0", "1"} and all(row["mood.probability"] >= 0.5 for row in rows)
    other = run("predict", moods, "new mails.csv", "--text-column", "text")[1]
    assert [row["text"] for row in csv.DictReader(io.StringIO(other))] == ["x", "y"]


def test_a_table_cuts_long_texts_and_keeps_lines_whole(run, folder, moods):
    (folder / "a.csv").write_text(f'body\n"two\nlines"\n{"long " * 20}\n')
    lines = run("predict", moods, "a.csv", "--format", "table")[1].splitlines()
    assert len(lines) == 3 and "two lines" in lines[1] and f"{('long ' * 20)[:59]}…" in lines[2]


def test_output_appears_whole_or_not_at_all(run, photos, digits):
    files = (photos / "out.csv", photos / "out.jsonl", photos / "out.txt")
    for file, more in zip(files, ([], [], ["--format", "table"]), strict=True):
        code, out, _ = run("predict", digits[0], "photos", "--output", file.name, *more)
        assert (code, out) == (0, "")
    first = [file.read_text().splitlines()[0] for file in files]
    assert first[0] == "input,digit.label,digit.probability" and json.loads(first[1])["input"] == "photos/ä 0.png"
    assert first[2].split() == first[0].split(",")


def test_a_table_that_breaks_off_leaves_the_output_as_it_was(run, folder, moods):
    (folder / "a.csv").write_text("body,id\n" + "good,1\n" * 20 + "bad\n")
    (folder / "out.csv").write_text("as it was\n")
    before = sorted(folder.rglob("*"))
    for more in ([], ["--on-error", "skip"]):
        code, out, err = run("predict", moods, "a.csv", "--output", "out.csv", "--batch-size", "2", *more)
        assert (code, out) == (2, "") and err.startswith("error: FILES: 'a.csv': line 22 has 1 fields")
        assert sorted(folder.rglob("*")) == before and (folder / "out.csv").read_text() == "as it was\n"


def test_broken_images_stop_all_before_anything_is_predicted_or_are_rows(run, photos, digits):
    ask = ("predict", digits[0], "photos", "broken.png", "--batch-size", "1")
    code, out, err = run(*ask)
    assert (code, out) == (2, "") and err.startswith("error: 1 images cannot be read: 'broken.png' (")
    code, out, err = run(*ask, "--on-error", "skip")
    *rows, broken = csv.DictReader(io.StringIO(out))
    assert code == 1 and err.endswith("error: 1 of 6 rows could not be read; column `error` says why\n")
    assert "broken.png" in broken["error"] and broken["digit.label"] == broken["digit.probability"] == ""
    whole = csv.DictReader(io.StringIO(run("predict", digits[0], "photos")[1]))
    assert rows == [{**row, "error": ""} for row in whole]


def test_file_names_that_are_no_utf_8_stay_as_they_are(run, photos, digits):
    name = b"photos/\xff.png"
    (photos / "photos/ä 0.png").rename(photos / name.decode("utf-8", "surrogateescape"))
    assert run("predict", digits[0], "photos", "--output", "out.csv")[0] == 0
    assert name in (photos / "out.csv").read_bytes()
    code, out, _ = run("predict", digits[0], "photos", "--format", "table")
    assert (code, len(out.splitlines())) == (0, 6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.png"], "FILES: 'nowhere.png': no such file or folder"),
        (["a.csv"], "FILES: 'a.csv': is no image by its ending; the run reads images: .avif"),
        (["plugins"], "FILES: 'plugins': no image in this folder or below it"),
        (["photos", "--top", "0"], "--top: 0: must be an integer of at least 1"),
        (["photos", "--batch-size", "0"], "--batch-size: 0: must be"),
        (["photos", "--text-column", "a"], "--text-column: 'a': is of text files and this run reads images"),
        (
            ["photos", "--output", "nowhere/out.csv"],
            "--output: 'nowhere/out.csv': must be a file in a folder that exists",
        ),
        (["photos", "--output", "photos"], "--output: 'photos': must be a file"),
        (["broken.png", "--output", "./broken.png"], "--output: './broken.png': is one of the files to be read"),
    ],
)
def test_mistakes(run, photos, digits, arguments, message):
    (photos / "a.csv").write_text("text\na\n")
    before = sorted(photos.rglob("*"))
    code, out, err = run("predict", digits[0], *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {message}") and err.count("\n") == 1
    assert sorted(photos.rglob("*")) == before


def test_images_for_a_run_on_texts(run, photos, moods):
    code, out, err = run("predict", moods, "photos/ä 0.png", "photos")
    assert (code, out, err.count("the run reads texts: .csv")) == (2, "", 2)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (None, "no run here (no run.json)"),
        ({"status": "failed"}, "is failed: only a run that is done has a model"),
        ({"config": {"predictor": {"name": "majority"}}}, "predictor 'majority' answers without a model"),
    ],
)
def test_runs_without_a_model(run, photos, digits, record, message):
    (photos / "bad").mkdir()
    if record is not None:
        (photos / "bad/run.json").write_text(json.dumps({**Run.load(digits[0]).record, **record}))
    code, out, err = run("predict", "bad", "photos")
    assert (code, out) == (2, "") and err.startswith("error: 'bad'") and message in err


def test_help_imports_no_torch():
    code = (
        "import sys; from tlresearch.commands.main import main\n"
        "assert main(['predict', '--help']) == 0 and not {'torch', 'numpy'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_a_reader_that_goes_away_is_no_error(photos, digits):
    for i in range(300):
        (photos / f"photos/{'x' * 200}{i}.png").symlink_to("ä 1.png")
    command = f"{sys.executable} -m tlresearch predict {digits[0]} photos | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "input,digit.label,digit.probability\n"), done.stderr
    assert "Traceback" not in done.stderr
