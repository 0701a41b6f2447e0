"""What a finished run tells of its classes and mistakes: from a real one, and by hand."""

import contextlib
import csv
import io
import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.metrics import confusion_matrix

from tlresearch import Run
from tlresearch.commands.main import main
from tlresearch.core.rows import Rows
from tlresearch.core.types import Spec, Stage, Stream, Task
from tlresearch.results.details import Details, details, one_line
from tlresearch.results.pictures import draw_confusion, write

LABELS = ("late $x_1", "où <b>\nest", "好 🙂")
QUICK = ["backbone=mlp", "backbone.width=8", "steps=4", "accelerator=cpu"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_bert_folder):
    """A run on 60 short texts with odd labels, trained so little that it errs: folder, overrides, what was told."""
    folder = tmp_path_factory.mktemp("trained")
    with open(folder / "mails.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["text", "label"])
        table.writerows([f"a film number {i}\nnot \x1b[31mdull", LABELS[i % 3]] for i in range(60))
    model = [f"backbone.model={tiny_bert_folder}", "backbone=transformers", "steps=1", "accelerator=cpu"]
    overrides = ["dataset=text_file", "dataset.path=mails.csv", *model]
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as told:
        patch.chdir(folder)
        assert main(["train", *overrides]) == 0
    return folder, overrides, told.getvalue()


@pytest.fixture
def texts(trained, folder):
    """The run's folder, in a copy of its working folder."""
    shutil.copytree(trained[0], folder, dirs_exist_ok=True)
    (place,) = Path("runs").iterdir()
    return place


def test_a_single_run_ends_with_its_details(texts, capfd):
    main(["report", str(texts)])
    capfd.readouterr()
    assert main(["report", str(texts)]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    saved = {name.rpartition("/")[2]: tensor for name, tensor in load_file(texts / "logits.safetensors").items()}
    probability, predicted = saved["logits"].double().softmax(1).max(1)
    wrong = [i for i in probability.argsort(descending=True, stable=True).tolist() if predicted[i] != saved["y"][i]]
    listed = [json.loads(line) for line in (texts / "mistakes.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["index"] for row in listed] == [int(saved["index"][i]) for i in wrong] and listed
    labels = Run.load(texts).spec.tasks[0].labels
    for row, i in zip(listed, wrong, strict=True):
        assert row["input"] == f"a film number {row['index']}\nnot \x1b[31mdull"
        assert (row["true"], row["predicted"]) == (labels[int(saved["y"][i])], labels[int(predicted[i])])
        assert row["true"] == LABELS[row["index"] % 3]
    assert f"the {min(len(wrong), 10)} most confident of {len(wrong)} mistakes" in out
    first = next(line for line in out.splitlines() if f"a film number {listed[0]['index']} " in line)
    assert f"{probability[wrong[0]]:.4f}" in first and one_line(listed[0]["true"], 30) in first and "\x1b" not in first
    assert not (texts / "mistakes.png").exists()


def test_report_tells_what_train_told_and_draws_the_same_bytes(texts, trained, capfd):
    named = ("confusion.png", "confusion.svg", "mistakes.jsonl")
    before = {name: (texts / name).read_bytes() for name in named}
    for name in named:
        (texts / name).unlink()
    assert main(["report", str(texts)]) == 0
    reported = capfd.readouterr().out.splitlines()
    last = f"{texts}  test.accuracy={Run.load(texts).value:.4f}"
    assert trained[2].splitlines()[-len(reported) - 1 :] == [*reported, last]
    assert main(["train", *trained[1]]) == 0
    assert capfd.readouterr().out.splitlines() == [last], "a run found done is not told again"
    assert "classes, the worst first" in reported
    assert {name: (texts / name).read_bytes() for name in named} == before


def test_without_the_data_the_tables_stay(texts, capfd):
    kept = (texts / "mistakes.jsonl").read_bytes()
    Path("mails.csv").rename("moved.csv")
    capfd.readouterr()
    assert main(["report", str(texts)]) == 0
    out, err = capfd.readouterr()
    assert "classes, the worst first" in out and "without the data" in out and "mails.csv" in out and err == ""
    assert "film number" not in out and (texts / "mistakes.jsonl").read_bytes() == kept
    lines = Path("moved.csv").read_text(encoding="utf-8").replace("number 1\n", "number one\n")
    Path("mails.csv").write_text(lines, encoding="utf-8")
    assert main(["report", str(texts)]) == 0
    out = capfd.readouterr().out
    assert "have changed since the run" in out and "film number" not in out


def test_a_folder_that_cannot_be_written_to(texts, capfd, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tlresearch.results.figures.os.replace", refuse)
    capfd.readouterr()
    assert main(["report", str(texts)]) == 0
    out = capfd.readouterr().out
    assert "most confident" in out and f"nothing can be written to {texts}: [Errno 13] Permission denied" in out


def test_too_many_classes_for_a_picture_are_said(texts, capfd, monkeypatch):
    for file in texts.glob("confusion.*"):
        file.unlink()
    monkeypatch.setattr("tlresearch.results.pictures.PICTURED", 2)
    capfd.readouterr()
    assert main(["report", str(texts)]) == 0
    assert "no picture of the confusions: more than 2 classes" in capfd.readouterr().out
    assert not list(texts.glob("confusion.*"))


def test_report_json_and_mistakes_of_the_user(texts, capfd):
    capfd.readouterr()
    assert main(["report", str(texts), "--format", "json"]) == 0
    (row,) = json.loads(capfd.readouterr().out)
    assert row["identity"] == texts.name and set(row["metrics"]["class"]) == set(LABELS)
    for arguments, message in [
        (["runs", str(texts)], "'runs': no run here"),
        (
            [str(texts), "--metric", "test.loss"],
            "--metric: compares the runs of a store; leave that out, or name the store",
        ),
    ]:
        assert main(["report", *arguments]) == 2
        assert message in capfd.readouterr().err


def test_a_run_that_is_not_done_says_how_it_stands(texts, capfd):
    record = json.loads((texts / "run.json").read_text())
    (texts / "run.json").write_text(json.dumps({**record, "status": "failed", "error": "ValueError: no"}))
    capfd.readouterr()
    assert main(["report", str(texts)]) == 0
    assert capfd.readouterr().out == f"{texts} is failed: ValueError: no\n"


def test_an_older_run_without_logits_keeps_its_headline(texts, capfd):
    (texts / "logits.safetensors").unlink()
    capfd.readouterr()
    assert main(["report", str(texts)]) == 0
    out = capfd.readouterr().out
    assert "macro_f1" in out and "keeps no logits" in out and "classes" not in out.splitlines()[-2]


def test_images_become_a_contact_sheet(folder):
    """Eleven wrong rows, red ones (files) and green ones (tensors): the ten most confident are drawn, no blue one."""
    for i in range(6):
        Image.new("RGB", (300, 200), (255, 0, 0)).save(folder / f"{i}.png")
    inputs = [Path(f"{i}.png") for i in range(6)]
    inputs += [torch.tensor([0, 255 * (i < 5), 255 * (i == 5)], dtype=torch.uint8).view(3, 1, 1) for i in range(6)]
    task = Task("t", "classification", ("a", "$b_2"))
    y = torch.tensor([0] * 11 + [1])
    rows = Rows([x if isinstance(x, Path) else x.expand(3, 8, 8) for x in inputs], {"t": y})
    found = Details(
        task, y, torch.ones(12).long(), torch.linspace(0.9, 0.1, 12), torch.arange(12), torch.zeros(12).long()
    )
    stream = Stream(Spec("image", None, (task,)), (Stage("one", (task,), rows, rows, rows),))
    files = write(folder, found, found.mistakes(stream), stream, "")
    assert {f.name for f in files} == {f"{n}.{e}" for n in ("confusion", "mistakes") for e in ("png", "svg")} | {
        "mistakes.jsonl"
    }
    sheet = np.asarray(Image.open(folder / "mistakes.png").convert("RGB"))
    red, green, blue = (int((sheet == colour).all(-1).sum()) for colour in 255 * np.eye(3, dtype=np.uint8))
    assert red / 6 == pytest.approx(green / 4 * 2 / 3, rel=0.05) and blue == 0  # 3:2 and square, of equal width
    listed = [json.loads(line) for line in (folder / "mistakes.jsonl").read_text().splitlines()]
    assert [row["input"] for row in listed] == [f"{i}.png" for i in range(6)] + [None] * 5


def test_a_predictor_and_several_tasks_have_details_too(capfd):
    split = ["dataset=split", "dataset.base=digits", "dataset.stages=2", "dataset.scenario=task_incremental"]
    assert main(["train", *split, "predictor=majority", *QUICK]) == 0
    (place,) = Path("runs").iterdir()
    assert {f"confusion-digit_{i}.png" for i in range(2)} < {file.name for file in place.iterdir()}
    out = capfd.readouterr().out
    assert "classes of digit_1, the worst first" in out and "mistakes of digit_0" in out
    assert [len(task.y) for task in details(Run.load(place))] == [
        s["test"] for s in Run.load(place).record["data"]["stages"]
    ]


def test_a_sweep_and_progress_false_tell_nothing(capfd):
    assert main(["train", "-m", "seed=0,1", *QUICK]) == 0
    assert main(["train", "seed=2", "progress=false", *QUICK]) == 0
    out = capfd.readouterr().out
    assert out.count("test.accuracy=") == 3 and "most confident" not in out
    assert not list(Path("runs").glob("*/confusion.*"))


def test_many_classes_only_the_worst():
    y = torch.arange(40)
    predicted = torch.where(y < 14, y + 1, y)
    task = Task("t", "classification", tuple(f"c{i}" for i in range(40)))
    classes, _ = Details(task, y, predicted, y.double(), y, y).tables([], "")
    assert classes.title == "the 15 worst of 40 classes" and [row[0] for row in classes.body] == [
        f"c{i}" for i in range(15)
    ]


def by_hand():
    """Two stages whose rows bear the same numbers; the second's are in another order."""
    task = Task("t", "classification", ("a", "b"))
    first = Rows(["a0", "a1"], {"t": torch.tensor([0, 1])})
    second = Rows(["b0", "b1"], {"t": torch.tensor([0, 1])}, index=torch.tensor([1, 0]))
    stages = tuple(Stage(name, (task,), rows, rows, rows) for name, rows in (("one", first), ("two", second)))
    columns = {
        "y": [0, 1, 1, 0],
        "predicted": [1, 1, 0, 1],
        "probability": [0.7, 0.9, 0.8, 0.7],
        "index": [0, 1, 0, 1],
        "stage": [0, 0, 1, 1],
    }
    return Details(task, *map(torch.tensor, columns.values())), Stream(Spec("text", None, (task,)), stages)


def test_mistakes_in_order_of_confidence_with_their_inputs():
    found, stream = by_hand()
    assert [(m.index, m.true, m.predicted, m.input) for m in found.mistakes(stream)] == [
        (0, "b", "a", "b1"),
        (0, "a", "b", "a0"),  # as confident as the next, and before it in the data
        (1, "a", "b", "b0"),
    ]
    assert [m.input for m in found.mistakes(None, most=1)] == [None]
    assert found.confusion().tolist() == confusion_matrix(found.y, found.predicted).tolist() == [[0, 2], [1, 1]]


def test_labels_of_all_kinds_can_be_drawn(folder):
    labels = [*LABELS, "", "\ud800", "‮turned", "$\\frac{$", "x" * 500]
    counts = torch.arange(64).view(8, 8)
    counts[2] = 0  # a class without rows
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        files = draw_confusion(counts, labels, folder / "odd")
        draw_confusion(torch.eye(130, dtype=torch.int64), [str(i) for i in range(130)], folder / "many")
    assert [file.name for file in files] == ["odd.png", "odd.svg"]
    image = np.asarray(Image.open(folder / "odd.png").convert("RGB"))
    assert ((image == (217, 217, 217)).all(-1)).any()  # grey is for a row without rows
    assert Image.open(folder / "many.png").size[0] < 2500


def test_one_line():
    assert one_line("a\n\tb\x1b[0m ‮c", 20) == "a b [0m c"
    assert one_line("x" * 30, 10) == "x" * 9 + "…" and one_line("", 5) == ""
