"""What the weights of an earlier run reach on the task of a later one, with the head that they have or a closed form.

Nothing is selected by it. A measurement is kept in the earlier run's folder, for all runs of a sweep that share it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import torch

from tlresearch.config.build import build
from tlresearch.config.registry import load
from tlresearch.core.batching import move
from tlresearch.core.model import Model
from tlresearch.core.rows import Rows
from tlresearch.core.seeding import seeded
from tlresearch.core.types import Batch, Spec
from tlresearch.results.inference import choose_device
from tlresearch.results.runs import Run, look_up
from tlresearch.training import carry
from tlresearch.training.assemble import assemble, head_config
from tlresearch.training.data import Prepared
from tlresearch.training.evaluate import predict
from tlresearch.training.keeper import MODEL
from tlresearch.training.sources import Source, find, weights_digest

CLOSED_FORM = "prototype"


def measurable(final: Run) -> bool:
    """Whether all tasks of a run are such that a nearest class mean can answer, so that there is an accuracy."""
    return {task.kind for task in final.spec.tasks} <= set(load("head", CLOSED_FORM).kinds)


def after(run: Run, final: Run) -> dict[str, Any]:
    """The accuracy, in [0, 1], of a run's reported weights on the test rows of `final`, over all of its tasks.

    head: "kept" where the run has heads for these tasks and their labels; otherwise "prototype", the nearest class mean
    fitted on the training rows of `final`; with several tasks that differ, task → one of them. run: the identity.
    """
    digest = weights_digest(run, [run.folder / MODEL])

    def model() -> Model:
        return carry.read_model(Source(run, "best", digest), _reading(run, final))

    return _kept("after", run, digest, final, model)


def at_start(first: Run, final: Run) -> dict[str, Any]:
    """The same of the weights that `first` started with; always by the nearest class mean."""

    def model() -> Model:
        config = {**first.config, "init_heads": [], "init_methods": []}
        start, spec = find(config, ()), _reading(first, final)
        carried = None if start is None else carry.Carried(start, spec)
        model = assemble(config, spec, first.spec.tasks, carried=carried).model
        model.labels.clear()  # heads that nothing has trained yet
        return model

    digest = json.dumps([first.record["weights"], first.record.get("start")])
    return _kept("start", first, digest, final, model)


def _reading(run: Run, final: Run) -> Spec:
    """The run's spec, so that all its parts fit, with inputs as `final` has them."""
    return run.spec._replace(input_shape=final.spec.input_shape)


def _kept(name: str, run: Run, digest: str, final: Run, make: Callable[[], Model]) -> dict[str, Any]:
    """Measured, unless it was before: under a key of all that the numbers depend on."""
    poolings = [head_config(final.config, task).get("pooling") for task in final.spec.tasks]
    parts = [digest, run.identity, look_up(final.record, "data.fingerprint"), final.spec, poolings]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    file = run.folder / f"{name}-{key}.json"
    try:
        found: dict[str, Any] = json.loads(file.read_text())
    except (OSError, ValueError):  # not measured yet, or half of it
        with seeded(run.config["seed"], "transfer"):
            found = {**_evaluate(make().eval(), final), "run": run.identity}
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(found))
        partial.replace(file)
    return found


def _evaluate(model: Model, final: Run) -> dict[str, Any]:
    """model: its labels say which tasks it has heads for."""
    config, stream = final.config, final.stream
    device = choose_device(config["accelerator"] if config["accelerator"] != "gpu" else "cuda")
    judge, heads = Model(model.backbone), {}
    for task in stream.spec.tasks:
        if model.labels.get(task.name) == task.labels:
            heads[task.name] = "kept"
            judge.add_head(task, model.head(task.name), model.pooling[task.name])
        else:
            heads[task.name] = CLOSED_FORM
            head = build("head", {"name": CLOSED_FORM}, backbone=model.backbone, task=task)
            judge.add_head(task, head, head_config(config, task).get("pooling", "auto"))
    judge.to(device).eval()
    fitted = [name for name, how in heads.items() if how == CLOSED_FORM]
    with torch.no_grad():
        for stage in stream.stages if fitted else ():
            for name in (task.name for task in stage.tasks if task.name in fitted):
                batches = _batches(stage.train, judge, "train", config, device)
                judge.head(name).fit((judge.features(batch.x, name), batch.y[name]) for batch in batches)
    right, rows = 0, 0
    for stage in stream.stages:
        batches = _batches(stage.test, judge, "test", config, device)
        for found in predict(judge, batches, [task.name for task in stage.tasks], nullcontext).values():
            right, rows = right + int((found.predicted == found.y).sum()), rows + len(found.y)
    kinds = set(heads.values())
    return {"accuracy": right / rows, "head": kinds.pop() if len(kinds) == 1 else heads}


def _batches(rows: Rows, model: Model, split: str, config: Mapping[str, Any], device: torch.device) -> Iterator[Batch]:
    """Each row is needed once, so none is kept in memory."""
    prepared = Prepared(rows, model.backbone, split, 0, split)
    return (move(batch, device) for batch in prepared.batches(torch.arange(len(rows)).split(config["batch_size"])))
