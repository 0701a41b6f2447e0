"""What was logged is read back with each tracker's own reader."""

import json

import psutil
import pytest

from tlresearch.config.errors import ConfigError
from tlresearch.core.tracker import RunInfo
from tlresearch.trackers.jsonl import JSONL
from tlresearch.trackers.tensorboard import TensorBoard
from tlresearch.trackers.wandb import WandB


@pytest.fixture
def run(tmp_path):
    return RunInfo("0123abcd", tmp_path, {"method": {"lora": {"rank": 8}}, "seed": 3})


def lines(run):
    return [json.loads(line) for line in (run.folder / "history.jsonl").read_text().splitlines()]


def test_jsonl_shows_every_line_at_once(run):
    tracker = JSONL()
    tracker.start(run)
    tracker.log({"train/loss": 1.5, "train/accuracy": 0.25}, 1)
    assert lines(run) == [{"step": 1, "train/loss": 1.5, "train/accuracy": 0.25}]
    tracker.finish()


def test_jsonl_goes_on_where_an_interrupted_run_stopped(run):
    for step in (1, 2):
        tracker = JSONL()
        tracker.start(run)
        tracker.log({"train/loss": 1.0 / step}, step)
        tracker.finish()
    assert lines(run) == [{"step": 1, "train/loss": 1.0}, {"step": 2, "train/loss": 0.5}]


def test_jsonl_stays_json_where_a_loss_is_not_finite(run):
    tracker = JSONL()
    tracker.start(run)
    tracker.log({"a": float("nan"), "b": float("inf"), "c": 0.0}, 1)
    tracker.finish()
    assert lines(run) == [{"step": 1, "a": None, "b": None, "c": 0.0}]


def test_tensorboard_holds_scalars_and_the_configuration(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracker = TensorBoard()
    tracker.start(run)
    tracker.log({"train/loss": 1.5}, 10)
    tracker.log({"train/loss": 0.75, "validation/accuracy": 0.5}, 20)
    tracker.finish()
    events = EventAccumulator(str(run.folder / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(10, 1.5), (20, 0.75)]
    assert [(e.step, e.value) for e in events.Scalars("validation/accuracy")] == [(20, 0.5)]
    assert '"rank": 8' in events.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()


def test_wandb_offline_keeps_all_in_the_runs_folder(run, monkeypatch):
    key = "5" * 40
    monkeypatch.setenv("WANDB_API_KEY", key)
    before = set(psutil.Process().children(recursive=True))
    for step in (7, 8):  # the second is the same run, resumed
        tracker = WandB(project="probing")
        tracker.start(run)
        tracker.log({"train/loss": 0.123456 + step}, step)
        tracker.finish()
    assert set(psutil.Process().children(recursive=True)) <= before
    records = [path.read_bytes() for path in sorted((run.folder / "wandb").glob("offline-run-*/run-0123abcd.wandb"))]
    assert len(records) == 2
    for step, record in zip((7, 8), records, strict=True):
        assert b"train/loss" in record
        assert f"{step}.123456".encode() in record
        assert b"probing" in record
        assert b'"rank":8' in record.replace(b" ", b"")
    assert not [p for p in run.folder.rglob("*") if p.is_file() and key.encode() in p.read_bytes()]


def test_wandb_disabled_writes_nothing(run):
    tracker = WandB(mode="disabled")
    tracker.start(run)
    tracker.log({"train/loss": 1.0}, 1)
    tracker.finish()
    assert not list(run.folder.iterdir())


def test_wandb_online_without_a_key_says_what_to_do(run, monkeypatch):
    monkeypatch.setenv("HOME", str(run.folder))
    for name in ("WANDB_API_KEY", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match=r"mode: 'online': .*WANDB_API_KEY"):
        WandB(mode="online").start(run)


def test_an_unknown_mode_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'offline'"):
        WandB(mode="ofline")
