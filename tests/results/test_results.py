"""Identity, store and report."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import tlresearch
from tlresearch.config.errors import ConfigError
from tlresearch.results import store
from tlresearch.results.identity import identity, with_imports
from tlresearch.results.report import alike, groups, interval, rows, shared

CONFIG = {
    "seed": 0, "store": "runs", "devices": 1, "epochs": 3, "steps": None, "tracker": {"jsonl": {}},
    "optimizer": {"name": "adamw", "lr": None}, "head": {"name": "linear"},
    "backbone": {"name": "mlp", "weights": "path:/a/w.pt"},
    "method": {"lora": {"rank": 4}, "ewc": {}}, "dataset": {"name": "text_file", "path": "a.csv", "test_path": None},
}  # fmt: skip


def name(**changes):
    return identity({**CONFIG, **changes}, changes.pop("data", "d"), changes.pop("weights", "w"), [1e-3])


def test_what_does_not_change_the_numbers_does_not_change_the_identity():
    same = [
        {"store": "elsewhere"}, {"devices": 4}, {"tracker": {}},
        {"backbone": {"name": "mlp", "weights": "package:w"}},  # its content is hashed instead
        {"dataset": {"name": "text_file", "path": "moved/a.csv", "test_path": None}},
        {"method": {"lora": {"rank": 4}, "finetune": {}, "ewc": {}}},
    ]  # fmt: skip
    assert {name(**change) for change in same} == {name()}
    assert name(steps=10, epochs=3) == name(steps=10, epochs=5)  # steps win


def test_everything_else_does():
    other = [
        {"seed": 1}, {"epochs": 4}, {"head": {"name": "mlp"}}, {"data": "e"}, {"weights": "v"},
        {"method": {"lora": {"rank": 8}, "ewc": {}}}, {"method": {"ewc": {}, "lora": {"rank": 4}}},  # an ordered list
        {"steps": 10},
    ]  # fmt: skip
    found = [name(), *(name(**change) for change in other)]
    assert len(set(found)) == len(found)
    assert identity(CONFIG, "d", "w", [1e-3]) != identity(CONFIG, "d", "w", [2e-3])


def test_a_comment_does_not_make_a_run_stale_and_code_does(tmp_path):
    from tlresearch.results.identity import _hash

    texts = ['"""Doc."""\nx = 1\n', "# why\nx  =  1\n", "x = 2\n"]
    files = [tmp_path / f"{i}.py" for i in range(3)]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text)
    first, second, third = (_hash([file]) for file in files)
    assert first == second != third


def test_records_that_cannot_be_read(tmp_path):
    assert store.read_record(tmp_path) is None
    (tmp_path / "run.json").write_text('{"identity": "x", "sta')
    assert store.read_record(tmp_path)["status"] == "failed"
    (tmp_path / "run.json").write_text('{"schema": 99}')
    with pytest.raises(ConfigError, match=r"newer tlresearch.*99"):
        store.read_record(tmp_path)


def test_numbers_that_are_none_are_read_as_json_reads_them(write):
    folder = write(0.5, cost={"flops": float("nan"), "seconds_train": float("inf"), "rows": 2**70})
    assert "NaN" in (folder / "run.json").read_text()
    found = store.read_record(folder)["cost"]
    assert np.isnan(found["flops"])
    assert (found["seconds_train"], found["rows"]) == (float("inf"), 2**70)


@pytest.mark.parametrize("over", [(), ("optimizer.lr",), ("method",), ("dataset",)])
def test_runs_are_alike_where_what_they_share_is_the_same(write, tmp_path, over):
    for seed in range(2):
        for method in (["lora", "ewc"], ["ewc", "lora"], ["lora", "finetune", "ewc"]):
            for lr in (0.1, 0.01):
                for labels, data in ((None, "d"), (None, "e"), (5, "d"), (5, "e")):
                    write(seed=seed, method=method, lr=lr, labels=labels, data=data, devices=seed)
    found = rows([tmp_path / "runs"])
    several = alike(found, over)
    assert sorted(r["identity"] for members in several for r in members) == [r["identity"] for r in found]
    texts = [{shared(r, over) for r in members} for members in several]
    assert all(len(of) == 1 for of in texts)
    assert 1 < len(texts) == len(set.union(*texts)) < len(found)


def test_a_read_only_store_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root, as in many containers, may write everywhere
    with pytest.raises(ConfigError, match="cannot be written"):
        store.writable(tmp_path / "runs")


def test_a_file_is_no_store(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        store.writable(tmp_path / "runs" / "deeper")


def test_the_interval_is_students():
    values = [0.71, 0.74, 0.69, 0.8]
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert interval(values) == pytest.approx((high - low) / 2)
    assert interval([0.5]) is None  # one seed: no interval is invented


@pytest.fixture
def runs(tmp_path):
    def add(key, status="done", accuracy=0.5, error=None, **config):
        folder = tmp_path / key
        folder.mkdir()
        metrics = {"test": {"accuracy": accuracy}} if status == "done" else {}
        record = {
            "schema": 1, "identity": key, "status": status, "error": error, "metrics": metrics,
            "cost": {"parameters_trainable": 10, "seconds_train": 2.0}, "overrides": [f"seed={config.get('seed')}"],
            "config": {**CONFIG, "tracker": {}, **config}, "selection": {"rule": "validation", "oracle": False},
        }  # fmt: skip
        (folder / "run.json").write_text(json.dumps(record))

    add("a0", accuracy=0.6, seed=0)
    add("a1", accuracy=0.8, seed=1)
    add("b0", accuracy=0.9, seed=0, method={"probe": {}})
    add("c0", status="failed", error="ValueError: no", seed=0, method={"dann": {}})
    return tmp_path


def test_runs_that_differ_by_seed_alone_are_one_group(runs):
    found = groups(rows([runs]))
    done = {tuple(g.first["method"]): (g.n, g.mean) for g in found if g.n}
    assert done == {("lora", "ewc"): (2, pytest.approx(0.7)), ("probe",): (1, 0.9)}


def test_report_prints_tables_and_json(runs, capsys):
    from tlresearch.commands.main import main

    assert main(["report", str(runs)]) == 0
    out = capsys.readouterr().out
    assert "0.7000 ± 1.2706" in out and "lora+ewc" in out and "failed" in out and "ValueError: no" in out
    assert out.index("probe") < out.index("lora+ewc")  # the best first
    assert main(["report", str(runs), "--format", "json"]) == 0
    found = {row["identity"]: row for row in json.loads(capsys.readouterr().out)}
    assert found["a1"]["value"] == 0.8 and found["c0"]["value"] is None and found["c0"]["status"] == "failed"
    keys = "identity status stale backbone head method dataset seed metric value metrics cost overrides error"
    assert set(keys.split()) <= set(found["a0"])


def test_report_refuses_what_is_not_there(runs, tmp_path, capsys):
    from tlresearch.commands.main import main

    assert main(["report", str(tmp_path / "nowhere")]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert main(["report", str(runs), "--metric", "test.acuracy"]) == 2
    assert "test.accuracy" in capsys.readouterr().err


def test_the_parts_of_nn_that_a_component_imports_count_as_its_own():
    methods = Path(tlresearch.__file__).parent / "methods"
    nn = methods.parent / "nn"
    assert nn / "gradient_reversal.py" in with_imports([methods / "dann.py"])
    assert nn / "tuners.py" in with_imports([methods / "lora.py"]), "imported in a function"
    assert nn / "targets.py" in with_imports([methods / "lora.py"]), "imported by what it imports"
    assert nn / "gradient_reversal.py" not in with_imports([methods / "lora.py"])
