"""How long one prediction takes once a run is trained: alone, and as one of 64."""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tlresearch.core.batching import move
from tlresearch.core.distributed import rank
from tlresearch.core.seeding import seeded
from tlresearch.core.types import Batch
from tlresearch.nn.flops import FlopCounter
from tlresearch.training.evaluate import evaluating
from tlresearch.training.memory import memory
from tlresearch.training.session import Session

if TYPE_CHECKING:
    from tlresearch.training.prediction import Prediction

ROWS, LIMIT, TIMES = 64, 0.1, 10
"""Rows of the large batch; a measurement ends after so many seconds, or passes, whichever is sooner."""


def run_timed(work: Session | Prediction, folder: Path) -> dict[str, Any]:
    """The run's work in its folder, and then how long its predictions take; the parts of the record that come of it."""
    results = work.run(folder)
    timed = model_latency(work) if isinstance(work, Session) else predictor_latency(work)
    cost = {key: value for key, value in results["cost"].items() if key != "seconds_per_prediction"}
    return {**results, "cost": {**cost, **timed}}


def model_latency(session: Session) -> dict[str, Any]:
    """Measured on the last stage's test rows, through the whole network, whatever activations training has kept.

    seconds_per_prediction: of a row alone; seconds_per_prediction_of_64: of a row of a batch of 64; both from
    preprocessed rows to logits, the way to the device included, the median of several passes after a warm-up (a pass
    above 0.1 s is measured once). flops_per_prediction: of a row of that batch, padding included.

    Runs of a process whose network, rows and device are alike share one measurement, and say so (`latency_shared`).
    Empty for compiled or sharded models, whose graph is made for other batches, and where nothing can be predicted.
    """
    config, stage = session.config, max(session.tests, default=None)
    if config["compile"] or config["strategy"] == "fsdp" or rank() or stage is None or not len(session.tests[stage]):
        return {}
    rows, model, device = session.tests[stage], session.model, session.fabric.device
    many = rows.some([i % len(rows) for i in range(ROWS)])
    described = [
        f"{model!r}", model.pooling, model.active, [(n, tuple(p.shape)) for n, p in model.named_parameters()],
        [list(session.methods), config["precision"], str(device), torch.get_num_threads()], _shapes(many),
    ]  # fmt: skip
    key = ("latency", hashlib.sha256(repr(described).encode()).hexdigest())
    known: dict[str, Any] | None = memory.get(key)
    if known is not None:
        return {**known, "latency_shared": True}
    single = cycle([rows.some([i]) for i in range(min(len(rows), TIMES))])
    mixed = config["precision"] != "32-true"
    batches = session.trainer.batches(session.prepared)

    def predict(batch: Batch) -> None:
        with session.fabric.autocast() if mixed else nullcontext():
            model(move(batch, device).x)
        if device.type != "cpu":
            torch.accelerator.synchronize()

    with evaluating(model, session.methods, batches), torch.no_grad(), seeded("latency"):
        with FlopCounter() as counter:
            predict(many)
        found = {
            "seconds_per_prediction": _median(lambda: predict(next(single))),
            f"seconds_per_prediction_of_{ROWS}": _median(lambda: predict(many)) / ROWS,
            "flops_per_prediction": counter.get_total_flops() / ROWS,
        }
    memory.keep(key, found)
    return {**found, "latency_shared": False}


def predictor_latency(prediction: Prediction) -> dict[str, Any]:
    """The same of a predictor, which gets rows as they came: its own preprocessing counts."""
    rows = prediction.stream.stages[-1].test.masked()
    if not len(rows) or rank():
        return {}
    predictors = [prediction.predictors[task.name] for task in prediction.stream.stages[-1].tasks]
    found = {}
    for name, count in (("", 1), (f"_of_{ROWS}", ROWS)):
        some = rows.take(torch.arange(count) % len(rows))
        seconds = _median(lambda some=some: [p.predict(some) for p in predictors])  # type: ignore[misc]
        found[f"seconds_per_prediction{name}"] = seconds / count
    return {**found, "latency_shared": False}


def _median(predict: Callable[[], object]) -> float:
    """Seconds of a pass; the first one warms up, and is the only one where it takes long."""
    times = [_seconds(predict)]
    if times[0] > LIMIT:
        return times[0]
    times.clear()
    while len(times) < TIMES and sum(times) < LIMIT:
        times.append(_seconds(predict))
    return statistics.median(times)


def _seconds(predict: Callable[[], object]) -> float:
    start = time.perf_counter()
    predict()
    return time.perf_counter() - start


def _shapes(batch: Batch) -> list[tuple[str, tuple[int, ...]]]:
    x = batch.x if isinstance(batch.x, Mapping) else {"": batch.x}
    return [(name, tuple(value.shape)) for name, value in x.items()]
