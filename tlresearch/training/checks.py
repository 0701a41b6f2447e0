"""Mistakes that show once everything of a run is built."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from tlresearch.config.errors import Problems, choose, fail
from tlresearch.core.distributed import ranks
from tlresearch.core.kinds import kind_of
from tlresearch.core.method import Method, uses
from tlresearch.core.metrics import falls
from tlresearch.core.model import Model
from tlresearch.core.tracker import Selection
from tlresearch.core.types import Clock, Stream
from tlresearch.training.assemble import Config
from tlresearch.training.frozen import check_frozen
from tlresearch.training.parameters import MakeOptimizer, checkpoint_blocks, needs_closure
from tlresearch.training.trainer import Schedule


def check_together(
    config: Config,
    stream: Stream,
    model: Model,
    methods: Mapping[str, Method],
    make_optimizer: MakeOptimizer,
    schedule: Schedule,
    selection: Selection,
) -> None:
    """Raises ConfigError for parts that do not go together; turns on gradient checkpointing where it is asked for."""
    start = Clock(0, 0, 0, 1, ())
    problems = Problems()
    trial = [{"params": [nn.Parameter(torch.zeros(1))], "lr": 1.0}]
    made = problems.attempt("optimizer", lambda: make_optimizer(trial))
    problems.attempt("schedule", lambda: schedule(start))
    falling = [_trial_metrics(stream, value) for value in (1.0, 0.0)]
    problems.attempt("selection", lambda: selection.best(falling))
    problems.raise_any()
    if config["patience"] is not None and selection.best(falling) == 1:
        message = f"selection={config['selection']['name']} never sees a worse one; leave patience out"
        fail("patience", config["patience"], message)
    if config["objective"] is not None:
        choose("objective", config["objective"], [f"validation.{name}" for name in falling[0]])
    norms = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.backbone.modules())
    if config["bn"] != "eval" and not norms:
        fail("bn", config["bn"], f"backbone {config['backbone']['name']!r} has no BatchNorm layer; leave it out")
    needing = [name for name, method in methods.items() if method.unlabelled > 0]
    if needing and any(stage.unlabelled is None for stage in stream.stages):
        message = f"has no unlabelled rows and method {needing[0]!r} needs them; use a data set with a target, "
        example = "e.g. dataset=rotated dataset.source=[0] dataset.target=[45]"
        fail("dataset", config["dataset"]["name"], message + example)
    smallest = min(min(config["batch_size"], len(stage.train)) for stage in stream.stages)
    if smallest < ranks():
        fail(
            "devices",
            config["devices"],
            f"more than the {smallest} rows of the smallest batch; give at most that many",
        )
    if needs_closure(made):
        name = config["optimizer"]["name"]
        if config["precision"].startswith("16"):
            message = f"scales gradients, and optimizer {name!r} takes them twice a step; use precision=bf16-mixed"
            fail("precision", config["precision"], message)
        if config["strategy"] == "fsdp":
            fail("strategy", "fsdp", f"optimizer {name!r} needs the norm of the whole gradient; use strategy=ddp")
    edits = [n for n, m in methods.items() if uses(m, "on_gradients") or uses(m, "combine")]
    if edits and config["precision"].startswith("16"):
        message = f"scales gradients and method {edits[0]!r} reads them; use precision=bf16-mixed"
        fail("precision", config["precision"], message)
    closed = [name for name in model.labels if model.head(name).closed_form]
    opinions = [m.trainable(model, start) for m in methods.values() if uses(m, "trainable")]
    frozen = any(opinion is not None for opinion in opinions) and not any(list(o or ()) for o in opinions)
    if closed and not frozen:
        message = "has a closed form and goes with a frozen backbone only; add method=[probe]"
        fail("head", config["head"]["name"], message)
    untrained = [name for name in closed if model.head(name).pooling is not None]
    if untrained:
        message = f"learns, and the head of {untrained[0]!r} has a closed form, which trains nothing; use auto or mean"
        fail("head.pooling", model.pooling[untrained[0]], message)
    check_frozen(model, methods, start)
    if config["gradient_checkpointing"]:
        checkpoint_blocks(model)


def _trial_metrics(stream: Stream, value: float) -> dict[str, float]:
    """Names as a validation gives them, in their order: what is best when high is `value`, the rest 1 - value."""
    tasks = stream.spec.tasks
    own = {task.name: (*kind_of(task).metrics, "loss") for task in tasks}
    names = dict.fromkeys(name for task in tasks for name in own[task.name])
    if len(tasks) > 1:
        names |= dict.fromkeys(f"{task.name}.{name}" for task in tasks for name in own[task.name])
    return {name: 1 - value if falls(name) else value for name in names}
