"""What `tlresearch export` refuses, before it writes anything."""

from __future__ import annotations

import json
import os

import pytest


@pytest.fixture
def finished(tmp_path):
    """A record that looks like a finished run's; its model was never written."""

    def make(**values):
        folder = tmp_path / "store" / "0123"
        folder.mkdir(parents=True)
        record = {"schema": 2, "identity": "0123", "status": "done", "config": {"predictor": None}, **values}
        (folder / "run.json").write_text(json.dumps(record))
        return folder

    return make


def refusal(run, *arguments):
    code, out, err = run("export", *map(str, arguments))
    assert code == 2 and out == "" and "Traceback" not in err
    return err


def test_an_unknown_run(run, tmp_path):
    assert "no run here" in refusal(run, "runs/nothing", tmp_path / "out", "--format", "onnx")


def test_an_unknown_format(run, finished, tmp_path):
    err = refusal(run, finished(), tmp_path / "out", "--format", "onx")
    assert "--format: 'onx': unknown; did you mean 'onnx'?" in err and "sentence-transformers" in err


@pytest.mark.parametrize("status", ["failed", "interrupted"])
def test_an_unfinished_run(status, run, finished, tmp_path):
    assert f"is {status}" in refusal(run, finished(status=status), tmp_path / "out", "--format", "onnx")


def test_a_run_of_a_predictor(run, finished, tmp_path):
    folder = finished(config={"predictor": {"name": "majority"}})
    err = refusal(run, folder, tmp_path / "out", "--format", "safetensors")
    assert "predictor 'majority' answers without a model" in err


def test_a_run_that_lost_its_model(run, finished, tmp_path):
    assert "has lost its model.safetensors" in refusal(run, finished(), tmp_path / "out", "--format", "safetensors")


def test_a_folder_in_use_stays_as_it_is(run, finished, tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    (target / "mine.txt").write_text("mine")
    folder = finished()
    assert "is not empty" in refusal(run, folder, target, "--format", "onnx")
    assert "is a file" in refusal(run, folder, target / "mine.txt", "--format", "onnx")
    assert [path.name for path in target.iterdir()] == ["mine.txt"] and (target / "mine.txt").read_text() == "mine"


def test_a_folder_that_cannot_be_made(run, finished, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    assert "cannot be written to" in refusal(run, finished(), tmp_path / "file" / "out", "--format", "onnx")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert "cannot be written to" in refusal(run, tmp_path / "store" / "0123", tmp_path / "out", "--format", "onnx")


def test_help_names_the_formats_without_torch(run):
    code, out, _ = run("export", "--help")
    assert code == 0 and "transformers, sentence-transformers, timm, peft, safetensors, onnx" in " ".join(out.split())
