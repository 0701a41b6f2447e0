"""`tlresearch report` on a store with everything in it that goes wrong: one message, never a traceback."""

import json
import math
import shutil

import pytest

from tlresearch.commands.main import main

FORMATS = ("table", "json", "comparison", "csv", "markdown", "latex")
GROUPS = ((), ("--by", "method,dataset.labels_per_class"), ("--by", "method", "--pivot", "seed"))


@pytest.fixture
def spoilt(train, folder):
    """A store of one real run in many states; returns the folder of the one that is as it should be."""
    run = train("steps=2", "dataset.labels_per_class=5").run
    record = json.loads((run.folder / "run.json").read_text())
    text = json.dumps(record)

    def add(name, content):
        place = folder / "runs" / name
        place.mkdir()
        (place / "run.json").write_text(content if isinstance(content, str) else json.dumps(content))

    add("cut", text[: len(text) // 2])
    add("empty", "")
    add("list", "[1, 2]")
    add("null", "null")
    add("deep", "[" * 100_000)
    add("newer", {**record, "identity": "newer", "schema": 99})
    add("newest", {**record, "identity": "newest", "schema": "3"})
    add("older", {"schema": 1, "identity": "older", "status": "done", "metrics": record["metrics"], "config": {
        "seed": 3, "method": {"probe": {}}, "dataset": {"name": "digits"}, "backbone": {"name": "mlp"}}})  # fmt: skip
    add("bare", {"schema": 2})
    add("wrong", {**record, "identity": "wrong", "config": [], "metrics": "0.5", "cost": None})
    add("methods", {**record, "identity": "methods", "config": {**record["config"], "method": ["lora"]}})
    add("none", {**record, "identity": "none", "config": {**record["config"], "backbone": None, "dataset": None}})
    add("nan", {**record, "identity": "nan", "metrics": {"test": {"accuracy": math.nan}}})
    add("text", {**record, "identity": "text", "metrics": {"test": {"accuracy": "high", "loss": [1]}}})
    add("lacking", {**record, "identity": "lacking", "metrics": {"test": {"f1": 0.5}}})
    add("cost", {**record, "identity": "cost", "cost": {"seconds_train": "long", "parameters_trainable": None}})
    add(
        "failed",
        {**record, "identity": "failed", "status": "failed", "metrics": {}, "error": "Error: \x1b[31m<b>\n%&{"},
    )
    add("interrupted", {**record, "identity": "interrupted", "status": "running", "metrics": {}, "process": None})
    odd = {**record["config"], "dataset": {**record["config"]["dataset"], "name": "<script>&%{}_|日本\ud800"}}
    add("odd", {**record, "identity": "odd", "config": odd})
    (folder / "runs" / "folder" / "run.json").mkdir(parents=True)
    (folder / "runs" / "file").write_text("")
    return run.folder


@pytest.mark.parametrize("form", FORMATS)
def test_a_spoilt_store_in_every_format(spoilt, capfd, form):
    for arguments in GROUPS:
        assert main(["report", "--format", form, *arguments]) == 0
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err and err == ""
        if form == "table":
            assert "newer: " not in out and "was written by a newer tlresearch (schema 99" in out
            assert "unreadable record" in out and "\x1b" not in out and "Error:  [31m<b> %&{" in out


def test_a_spoilt_store_still_has_its_good_runs(spoilt, capfd):
    assert main(["report", "--format", "comparison", "--by", "dataset,method"]) == 0
    found = json.loads(capfd.readouterr().out)
    counted = {name for g in found["groups"] for name in g["identities"]}
    assert counted == {spoilt.name, "older", "cost", "none", "odd"}
    states = {r["folder"].rpartition("/")[2]: r["status"] for r in found["not_done"]}
    assert states == {
        **dict.fromkeys(["cut", "empty", "list", "null", "deep", "newest", "failed", "folder"], "failed"),
        **dict.fromkeys(["newer", "bare", "wrong", "methods"], "unreadable"), "interrupted": "interrupted",
    }  # fmt: skip
    assert any("without test.accuracy, left out" in note for note in found["notes"])
    assert main(["report", "--format", "json"]) == 0
    printed = capfd.readouterr().out
    assert len(json.loads(printed)) == len(printed.splitlines()) == len(counted) + len(states) + 3  # a line a run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metric", "test.acuracy"], "metric: 'test.acuracy': no run has it; did you mean 'test.accuracy'"),
        (["--where", "seed=99"], "--where: 'seed=99': no run; values there: 0, 3"),
        (["--by", "metod"], "--by: 'metod': no run has it; did you mean 'method'"),
        (["--by", "method", "--select", "validation.accuracy"], "--select and --over go together"),
    ],
)
def test_what_is_not_there(spoilt, capfd, arguments, message):
    assert main(["report", *arguments]) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1) and message in err


def test_real_methods_by_the_command(train, folder, capfd):
    """Two methods of three seeds on two numbers of labels: every format, and what the options leave."""
    sweep = ("-m", "backbone=convnet", "method=[probe],[finetune]", "seed=0,1,2", "steps=3")
    train(*sweep, "dataset.labels_per_class=2,5")
    capfd.readouterr()
    assert main(["report", "--by", "method,dataset.labels_per_class", "--format", "json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert [(g["name"], g["n"]) for g in found["groups"]] and {g["n"] for g in found["groups"]} == {3}
    assert len(found["groups"]) == 4 and sum(g["against_best"] is None for g in found["groups"]) == 2
    assert all(g["against_best"]["n"] == 3 for g in found["groups"] if g["against_best"])
    assert {g["stale"] for g in found["groups"]} == {0}
    assert main(["report", "--where", "method=probe,dataset.labels_per_class<5", "--format", "json"]) == 0
    assert len(json.loads(capfd.readouterr().out)) == 3
    shutil.rmtree(folder / "runs")
    (folder / "runs").mkdir()
    assert main(["report", "--by", "method"]) == 0
    assert "no runs yet" in capfd.readouterr().out


def test_details_of_a_run_take_no_options_of_a_store(train, capfd):
    run = train("steps=2").run
    for option in (["--by", "method"], ["--where", "seed=0"], ["--format", "latex"]):
        assert main(["report", str(run.folder), *option]) == 2
        assert "compares the runs of a store" in capfd.readouterr().err
