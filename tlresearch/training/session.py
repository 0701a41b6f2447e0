"""One run in one process: the stages of a stream, trained, selected, evaluated and recorded."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from tlresearch.config.build import build
from tlresearch.config.errors import Problems, fail
from tlresearch.core.batching import move
from tlresearch.core.distributed import rank, ranks
from tlresearch.core.method import Batches, uses
from tlresearch.core.model import changed_names
from tlresearch.core.seeding import reseed, seeded
from tlresearch.core.tracker import Selection
from tlresearch.core.types import Clock, Stage, Stream
from tlresearch.training import carry, checkpoint
from tlresearch.training.assemble import Config, assemble, prepare_heads
from tlresearch.training.cost import Cost, peak_memory_bytes
from tlresearch.training.data import Prepared
from tlresearch.training.evaluate import Predictions, evaluating, metrics, predict, synchronise_buffers
from tlresearch.training.keeper import MODEL, RunKeeper
from tlresearch.training.kept import Kept
from tlresearch.training.logits import write_logits
from tlresearch.training.parameters import Rates, checkpoint_blocks, recalibrate
from tlresearch.training.scores import stage_row, summarise
from tlresearch.training.trainer import Plan, Position, Trainer

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Session:
    """Construction builds and checks everything and writes nothing; `run` does the work.

    Args:
        config: resolved configuration; stream: with test labels, which only `evaluate` sees.
        log: takes values by name and the number of steps since the run began.
    """

    def __init__(
        self, config: Config, stream: Stream, fabric: Fabric, rates: Rates, log: Callable[[dict[str, float], int], None]
    ) -> None:
        self.config, self.stream, self.fabric, self.cost = config, stream, fabric, Cost()
        with self.cost.phase("prepare"):
            carried = carry.load(config, stream)
            self.model, self.methods, self.original = assemble(config, stream.spec, stream.stages[0].tasks, carried)
            self.model.to(fabric.device)
            self.make_optimizer = build("optimizer", config["optimizer"])
            self.schedule = build("schedule", config["schedule"])
            self.selection: Selection = build("selection", config["selection"])
            self._check()
            plan = Plan(**{key: config[key] for key in Plan.__dataclass_fields__})
            self.trainer = Trainer(
                fabric, self.model, self.methods, plan, rates, self.make_optimizer, self.schedule, log
            )
            self.keeper = RunKeeper(
                config, self.model, self.methods, self.original, self.selection, self._validate, self.cost
            )
            self.keeper.trainer = self.trainer
            self.position = Position()
            self._prepare(stream.stages[0])
            self._try(carried)
            if config["compile"]:
                self.model.backbone.compile()
        self.kept = Kept(config["keep"])
        self.tests: dict[int, Prepared] = {}
        self.predictions: dict[int, dict[str, Predictions]] = {}

    def run(self, folder: Path) -> dict[str, Any]:
        """Trains every stage that is not done; returns the parts of the record that it knows."""
        resumed = self.keeper.open(folder, self._grow_heads)
        if resumed is not None:
            self.position = Position(**resumed)
        for number in range(self.position.stage, len(self.stream.stages)):
            self._stage(number, self.stream.stages[number])
        return {
            **summarise(self.stream, self.keeper.finished, self.predictions),
            "unreached": self.trainer.unreached,
            "cost": self._cost(),
        }

    def _stage(self, number: int, stage: Stage) -> None:
        fresh = self.position.step == 0
        if fresh:
            prepare_heads(self.model, self.config, stage.tasks)
        if stage is not self.stage:
            self._prepare(stage)
        batches, seen = self._batches(), stage.without_test_labels()
        if fresh:
            for name, method in self.methods.items():
                reseed(self.config["seed"], "stage start", number, name)
                method.on_stage_start(self.model, seen, batches)
        with self.cost.phase("train"):
            self.trainer.fit(self.prepared["train"], self.prepared.get("unlabelled"), self.position, self.keeper)
            if "last" in self.kept.parts and number + 1 == len(self.stream.stages):
                with seeded("keep"), evaluating(self.model, self.methods, batches):  # as weights are reported
                    self.kept.take(self.model, self.keeper.tensors())
            self.keeper.back_to_best()
            self._recalibrate()
        self._fit_closed_forms(stage)
        for name, method in self.methods.items():
            reseed(self.config["seed"], "stage end", number, name)
            method.on_stage_end(self.model, seen, batches)
        best = self.keeper.best[0] if self.keeper.best is not None else 0
        if not self.position.history:  # nothing was stepped: closed forms only
            self.position.history.append(self._validate())
        last = number + 1 == len(self.stream.stages)
        self._test(number, write=last)
        self.keeper.finished.append(stage_row(stage, self.position, best, self.predictions))
        self.position, self.keeper.best = Position(stage=number + 1), None
        if not last:
            self.keeper.save(self.position, within=False)

    def _prepare(self, stage: Stage) -> None:
        """Preprocesses the stage's rows; labels of test rows are masked here already."""
        memory = self.config["cache"]["memory_gb"] * 1e9
        parts = {"train": stage.train, "validation": stage.validation, "unlabelled": stage.unlabelled}
        with self.cost.phase("prepare"):
            self.stage = stage
            self.prepared = {
                name: Prepared(rows, self.model.backbone, "train" if name == "train" else "test", memory, name)
                for name, rows in parts.items()
                if rows is not None
            }

    def _batches(self) -> Batches:
        return self.trainer.batches(self.prepared)

    def _validate(self) -> dict[str, float]:
        values: dict[str, float] = {}
        found = self._predict(self.prepared["validation"], self.stage)
        for task in self.stage.tasks:
            if task.name in found:
                own = metrics(found[task.name])
                values = {**own, **values}
                if len(self.stage.tasks) > 1:
                    values |= {f"{task.name}.{name}": value for name, value in own.items()}
        return values

    def _predict(self, rows: Prepared, stage: Stage) -> dict[str, Predictions]:
        mixed = self.config["precision"] != "32-true"
        synchronise_buffers(self.model)
        with self.cost.phase("evaluate"), evaluating(self.model, self.methods, self._batches()):
            batches = self.trainer.batches({"rows": rows})("rows")
            tasks = [task.name for task in stage.tasks]
            found = predict(self.model, batches, tasks, self.fabric.autocast if mixed else nullcontext)
        self.cost.predictions += len(rows)
        return found

    def _test(self, number: int, *, write: bool) -> None:
        """Predictions on the test rows of every stage so far; at the end writes logits and the reported weights."""
        memory = self.config["cache"]["memory_gb"] * 1e9
        for i, stage in enumerate(self.stream.stages[: number + 1]):
            if i not in self.tests:
                self.tests[i] = Prepared(stage.test, self.model.backbone, "test", memory, f"test of {stage.name}")
            self.predictions[i] = self._predict(self.tests[i], stage)
        if not write or rank() or self.keeper.folder is None:
            return
        write_logits(self.keeper.folder, self.stream, self.predictions)
        # averaged weights are written as they are evaluated
        with evaluating(self.model, self.methods, self._batches()):
            labels = {task: list(names) for task, names in self.model.labels.items()}
            tensors = self.keeper.tensors()
            checkpoint.write(self.keeper.folder / MODEL, tensors, {"labels": labels})
        self.kept.write(self.keeper.folder, tensors, self.methods)

    def _grow_heads(self, stage: int) -> None:
        for earlier in self.stream.stages[: stage + 1]:
            prepare_heads(self.model, self.config, earlier.tasks)

    def _recalibrate(self) -> None:
        if self.config["bn"] == "recalibrate":
            plan = torch.arange(len(self.prepared["train"])).split(self.config["batch_size"])
            batches = self.prepared["train"].batches(plan)
            recalibrate(self.model, (move(batch, self.fabric.device).x for batch in batches))

    def _fit_closed_forms(self, stage: Stage) -> None:
        heads = [(task.name, self.model.head(task.name)) for task in stage.tasks]
        for name, head in heads:
            if head.closed_form:
                plan = torch.arange(len(self.prepared["train"])).split(self.config["batch_size"])
                with self.cost.phase("train"), evaluating(self.model, self.methods, self._batches()), torch.no_grad():
                    batches = (move(b, self.fabric.device) for b in self.prepared["train"].batches(plan))
                    head.fit((self.model.features(batch.x, name), batch.y[name]) for batch in batches)

    def _check(self) -> None:
        """Mistakes that show once everything is built."""
        config, model = self.config, self.model
        problems = Problems()
        trial = [{"params": [nn.Parameter(torch.zeros(1))], "lr": 1.0}]
        problems.attempt("optimizer", lambda: self.make_optimizer(trial))
        problems.attempt("schedule", lambda: self.schedule(self._start()))
        falling = [self._trial_metrics(value) for value in (1.0, 0.0)]
        problems.attempt("selection", lambda: self.selection.best(falling))
        problems.raise_any()
        if config["patience"] is not None and self.selection.best(falling) == 1:
            message = f"selection={config['selection']['name']} never sees a worse one; leave patience out"
            fail("patience", config["patience"], message)
        norms = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.backbone.modules())
        if config["bn"] != "eval" and not norms:
            fail("bn", config["bn"], f"backbone {config['backbone']['name']!r} has no BatchNorm layer; leave it out")
        needing = [name for name, method in self.methods.items() if method.unlabelled > 0]
        if needing and any(stage.unlabelled is None for stage in self.stream.stages):
            message = f"has no unlabelled rows and method {needing[0]!r} needs them; use a data set with a target, "
            example = "e.g. dataset=rotated dataset.source=[0] dataset.target=[45]"
            fail("dataset", config["dataset"]["name"], message + example)
        smallest = min(min(config["batch_size"], len(stage.train)) for stage in self.stream.stages)
        if smallest < ranks():
            fail(
                "devices",
                config["devices"],
                f"more than the {smallest} rows of the smallest batch; give at most that many",
            )
        edits = [n for n, m in self.methods.items() if uses(m, "on_gradients") or uses(m, "combine")]
        if edits and config["precision"].startswith("16"):
            message = f"scales gradients and method {edits[0]!r} reads them; use precision=bf16-mixed"
            fail("precision", config["precision"], message)
        closed = [name for name in model.labels if model.head(name).closed_form]
        opinions = [m.trainable(model, self._start()) for m in self.methods.values() if uses(m, "trainable")]
        frozen = any(opinion is not None for opinion in opinions) and not any(list(o or ()) for o in opinions)
        if closed and not frozen:
            message = "has a closed form and goes with a frozen backbone only; add method=[probe]"
            fail("head", config["head"]["name"], message)
        if config["gradient_checkpointing"]:
            checkpoint_blocks(model)

    def _try(self, carried: carry.Carried | None) -> None:
        """A forward pass of two rows, so that parts that do not fit each other show before anything is written."""
        rows = self.prepared["train"].batch(torch.arange(min(2, len(self.prepared["train"]))))
        example = move(rows, self.fabric.device)
        self.model.eval()
        with torch.no_grad(), seeded("try"):
            self.model(example.x)
            if carried is not None:
                carried.into_methods(self.model, self.methods, example, self.fabric.device)

    def _trial_metrics(self, value: float) -> dict[str, float]:
        """Names as `_validate` gives them, each rate `value`."""
        own = {"accuracy": value, "macro_f1": value, "loss": 1 - value}
        tasks = self.stream.spec.tasks if len(self.stream.spec.tasks) > 1 else ()
        return {**own, **{f"{task.name}.{name}": v for task in tasks for name, v in own.items()}}

    def _start(self) -> Clock:
        return Clock(0, 0, 0, 1, {})

    def _cost(self) -> dict[str, Any]:
        parameters = list(self.model.parameters())
        changed = changed_names(self.model, self.original)
        seconds = {f"seconds_{phase}": value for phase, value in self.cost.seconds.items()}
        return {
            "parameters_total": sum(p.numel() for p in parameters),
            "parameters_trainable": sum(p.numel() for p in parameters if p.requires_grad),
            "parameters_changed": sum(p.numel() for n, p in self.model.named_parameters() if n in changed),
            "flops": self.trainer.flops,
            **seconds,
            "seconds_per_prediction": self.cost.seconds["evaluate"] / max(self.cost.predictions, 1),
            "peak_memory_bytes": peak_memory_bytes(),
        }
