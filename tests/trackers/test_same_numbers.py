"""One run, three trackers: what each wrote is read back and compared with history.jsonl and run.json."""

import json
import math
import struct
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tlresearch import Run
from tlresearch.commands.main import main

OVERRIDES = (
    "dataset=rotated", "backbone=mlp", "epochs=2", "log_every=5", "accelerator=cpu", "progress=false",
    "tracker=[jsonl,wandb,tensorboard]",
)  # fmt: skip

BLOCK, HEADER = 32768, 7


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a finished run with all three trackers."""
    folder = tmp_path_factory.mktemp("tracked")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR"):
            patch.delenv(name, raising=False)
        assert main(["train", *OVERRIDES]) == 0
        (place,) = Path("runs").iterdir()
        return place.resolve()


def history(run):
    """Metric → step → value, of history.jsonl."""
    found = {}
    for line in (run / "history.jsonl").read_text().splitlines():
        values = json.loads(line)
        step = values.pop("step")
        for name, value in values.items():
            found.setdefault(name, {})[step] = value
    return found


def wandb_records(file):
    """The protocol buffers of a .wandb file: LevelDB's log format behind a header of seven bytes.

    Blocks of 32 KiB; a chunk is a checksum (4 bytes), its length (2), its type (1) and its data; types: 1 a whole
    record, 2 its first, 3 a middle and 4 its last chunk.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    data = file.read_bytes()
    assert data[:4] == b":W&B"
    at, parts = HEADER, b""
    while at + HEADER <= len(data):
        if BLOCK - at % BLOCK < HEADER:  # no room for another chunk: padding
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + HEADER])
        parts += data[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (1, 4):
            record = Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


def items(found):
    """Key → value of W&B's pairs; nested keys are joined by dots."""
    return {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in found}


def test_wandb_has_the_same_numbers(run):
    (file,) = run.glob("wandb/offline-run-*/*.wandb")
    seen, summary = {}, {}
    for record in wandb_records(file):
        if record.WhichOneof("record_type") == "history":
            values = items(record.history.item)
            for name, value in values.items():
                if not name.startswith("_"):
                    seen.setdefault(name, {})[values["_step"]] = value
        elif record.WhichOneof("record_type") == "summary":
            summary |= items(record.summary.update)
    assert seen == history(run)
    assert summary["test/accuracy"] == Run.load(run).metrics["test"]["accuracy"]


def test_tensorboard_has_the_same_numbers(run):
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    expected = history(run)
    assert set(events.Tags()["scalars"]) == set(expected)
    for name, values in expected.items():
        found = {event.step: event.value for event in events.Scalars(name)}
        assert found == pytest.approx(values, rel=1e-6), "single precision is all that its files have"


def test_the_final_numbers_are_those_of_the_record(run):
    metrics, found = Run.load(run).metrics, history(run)
    last = max(step for values in found.values() for step in values)
    for name, value in metrics["test"].items():
        assert found[f"test/{name}"] == {last: value}
    for domain, values in metrics["domain"].items():
        assert found[f"domain/{domain}/accuracy"] == {last: values["accuracy"]}
    steps = found["validation/accuracy"]
    best = max(steps.values())
    assert metrics["validation"]["accuracy"] == best and last in steps
    assert all(math.isfinite(value) for values in found.values() for value in values.values())
