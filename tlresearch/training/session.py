"""One run in one process: the stages of a stream, trained, selected, evaluated and recorded."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tlresearch.config.build import build
from tlresearch.core.backbone import Backbone
from tlresearch.core.batching import move
from tlresearch.core.distributed import gather, rank
from tlresearch.core.kinds import kind_of
from tlresearch.core.method import Batches
from tlresearch.core.model import changed_names, versions
from tlresearch.core.rows import Rows
from tlresearch.core.seeding import reseed, seeded
from tlresearch.core.tracker import Selection
from tlresearch.core.types import Batch, Clock, Stage, Stream
from tlresearch.nn.batch_norm import recalibrate
from tlresearch.training import carry, checkpoint
from tlresearch.training.assemble import Config, assemble, prepare_heads
from tlresearch.training.checks import check_together
from tlresearch.training.cost import Cost, peak_memory_bytes
from tlresearch.training.cuts import cuts, tell_cuts
from tlresearch.training.data import Prepared
from tlresearch.training.evaluate import Predictions, evaluating, metrics, predict, synchronise_buffers
from tlresearch.training.features import FeatureCache
from tlresearch.training.keeper import MODEL, RunKeeper
from tlresearch.training.kept import Kept
from tlresearch.training.logits import write_logits
from tlresearch.training.memory import memory, prepared_inputs
from tlresearch.training.parameters import Rates, choose_trainable
from tlresearch.training.reach import leaving_no_trace
from tlresearch.training.scores import stage_row, summarise
from tlresearch.training.trainer import Plan, Position, Trainer

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Session:
    """Construction builds and checks everything and writes nothing; `run` does the work.

    Args:
        config: resolved configuration; stream: with test labels, which only `evaluate` sees.
        log: takes values by name and the number of steps since the run began.
        backbone: one that another session has built and that no method touches; None = a fresh one.
    """

    trained = False
    """Whether the stage's steps were taken elsewhere, together with those of other runs."""

    def __init__(
        self,
        config: Config,
        stream: Stream,
        fabric: Fabric,
        rates: Rates,
        log: Callable[[dict[str, float], int], None],
        backbone: Backbone | None = None,
    ) -> None:
        self.config, self.stream, self.fabric, self.cost = config, stream, fabric, Cost()
        with self.cost.phase("prepare"):
            first = stream.stages[0]
            carried = carry.load(config, stream)
            built = assemble(config, stream.spec, first.tasks, first.train, backbone, carried)
            self.model, self.methods, self.original = built
            self.model.to(fabric.device)
            self.make_optimizer = build("optimizer", config["optimizer"])
            self.schedule = build("schedule", config["schedule"])
            self.selection: Selection = build("selection", config["selection"])
            check_together(config, stream, self.model, self.methods, self.make_optimizer, self.schedule, self.selection)
            plan = Plan(**{key: config[key] for key in Plan.__dataclass_fields__})
            self.trainer = Trainer(
                fabric, self.model, self.methods, plan, rates, self.make_optimizer, self.schedule, log
            )
            self.keeper = RunKeeper(
                config, self.model, self.methods, self.original, self.selection, self._validate, self._cut, self.cost
            )
            self.keeper.trainer = self.trainer
            self.position = Position()
            self._prepare(first)
            if backbone is None:
                self._try(carried)
            if config["compile"]:
                self.model.backbone.compile()
        self.features = FeatureCache(
            config, self.model, self.methods, self.original, self.trainer.gradients.precision, self._answers
        )
        self.kept = Kept(config["keep"])
        self.tests: dict[int, Prepared] = {}
        self.predictions: dict[int, dict[str, Predictions]] = {}
        self.validations: dict[int, dict[str, Predictions]] = {}

    def run(self, folder: Path) -> dict[str, Any]:
        """Trains every stage that is not done; returns the parts of the record that it knows."""
        resumed = self.keeper.open(folder, self._grow_heads)
        if resumed is not None:
            self.position = Position(**resumed)
        for number in range(self.position.stage, len(self.stream.stages)):
            self._stage(number, self.stream.stages[number])
        return {
            **summarise(self.stream, self.keeper.finished, self.predictions, self.validations),
            "unreached": self.trainer.unreached,
            "features": {**self.features.report, "rows_computed": self.features.rows.computed},
            "cost": self._cost(),
        }

    def _stage(self, number: int, stage: Stage) -> None:
        fresh = self.position.step == 0
        if fresh:
            prepare_heads(self.model, self.config, stage.tasks, stage.train)
        if stage is not self.stage:
            self._prepare(stage)
        tell_cuts(self.prepared, self.config)
        batches, seen = self._batches(), stage.without_test_labels()
        if fresh:
            choose_trainable(self.model, self.methods, self._start()._replace(stage=number))
            for name, method in self.methods.items():
                reseed(self.config["seed"], "stage start", number, name)
                method.on_stage_start(self.model, seen, batches)
        with self.cost.phase("train"):
            if not self.trained:
                self.trainer.fit(self.prepared["train"], self.prepared.get("unlabelled"), self.position, self.keeper)
            if "last" in self.kept.parts and number + 1 == len(self.stream.stages):
                with seeded("keep"), evaluating(self.model, self.methods, batches):  # as weights are reported
                    self.kept.take(self.model, self.keeper.tensors())
            self.keeper.back_to_best()
            self._recalibrate()
        self._fit_closed_forms(stage)
        ended = versions(self.model)
        for name, method in self.methods.items():
            reseed(self.config["seed"], "stage end", number, name)
            method.on_stage_end(self.model, seen, batches)
        best = self.keeper.best[0] if self.keeper.best is not None else 0
        changed = versions(self.model) != ended  # a method has chosen other weights, and those are reported
        if not self.position.history:  # nothing was stepped: closed forms only
            self.position.history.append(self._validate())
        elif changed:
            self.position.history[best] = self._validate()
        last = number + 1 == len(self.stream.stages)
        self._test(number, write=last)
        row = stage_row(stage, self.position, best, self.predictions)
        row |= {"changed_at_end": True} if changed else {}
        self.keeper.finished.append({**row, **cuts({**self.prepared, "test": self.tests[number]})})
        self.position, self.keeper.best = Position(stage=number + 1), None
        if not last:
            self.keeper.save(self.position, within=False)

    def _prepare(self, stage: Stage) -> None:
        """Preprocesses the stage's rows; labels of test rows are masked here already."""
        parts = {"train": stage.train, "validation": stage.validation, "unlabelled": stage.unlabelled}
        with self.cost.phase("prepare"):
            self.stage = stage
            self.prepared = {
                name: self._prepared(rows, "train" if name == "train" else "test", name)
                for name, rows in parts.items()
                if rows is not None
            }

    def _prepared(self, rows: Rows, split: str, name: str) -> Prepared:
        known = prepared_inputs(self.config, self.stream.spec, split)
        return Prepared(rows, self.model.backbone, split, self.config["cache"]["memory_gb"] * 1e9, name, known)

    def _cut(self, clock: Clock) -> None:
        """Keeps the activations of what rests from now on, where that pays."""
        steps = max(clock.total - clock.step, 0)
        every = self.config["evaluate_every"] or self.trainer.steps_per_epoch(len(self.stage.train))
        learning = any(p.requires_grad for p in self.model.parameters())
        drawn = steps * min(self.config["batch_size"], len(self.stage.train)) / len(self.stage.train)
        passes = {"train": drawn if learning else 1.0, "validation": max(steps / every, 1.0) if learning else 1.0}
        with self.cost.phase("features"):
            self.features.plan(self.prepared, passes)

    def _answers(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Outputs and loss terms of a batch, as a step would compute them, without leaving a trace."""
        with leaving_no_trace(self.model, self.methods):
            for method in self.trainer.hooks["batch"]:
                batch = method.batch(self.model, batch, self._start())
            with torch.no_grad(), self.trainer.gradients.precision():
                out = self.model(batch.x, batch.activations)
                terms = self.trainer.gradients.terms(batch, out, self._start())
        return {**terms, **{f"the output for {task}": logits for task, logits in out.logits.items()}}

    def _batches(self) -> Batches:
        return self.trainer.batches(self.prepared)

    def _validate(self) -> dict[str, float]:
        values: dict[str, float] = {}
        found = self._predict(self.prepared["validation"], self.stage)
        for task in self.stage.tasks:
            if task.name in found:
                own = metrics(found[task.name], kind_of(task))
                values |= {name: value for name, value in own.items() if name not in values}  # the headline stays first
                if len(self.stage.tasks) > 1:
                    values |= {f"{task.name}.{name}": value for name, value in own.items()}
        return values

    def _predict(self, rows: Prepared, stage: Stage) -> dict[str, Predictions]:
        mixed = self.config["precision"] != "32-true"
        synchronise_buffers(self.model)
        with self.cost.phase("evaluate"), evaluating(self.model, self.methods, self._batches()):
            if not self.features.valid:
                self.features.drop({**self.prepared, "rows": rows}, "a method changes weights that rest")
            batches = self.trainer.batches({"rows": rows})("rows")
            tasks = [task.name for task in stage.tasks]
            found = predict(self.model, batches, tasks, self.fabric.autocast if mixed else nullcontext)
        self.cost.predictions += len(rows)
        return found

    def _test(self, number: int, *, write: bool) -> None:
        """Predictions on the test rows of every stage so far; at the end writes logits and the reported weights.

        At the end of several stages also on the validation rows of all: what a stream's settings are chosen by.
        """
        for i, stage in enumerate(self.stream.stages[: number + 1]):
            if i not in self.tests:
                self.tests[i] = self._prepared(stage.test, "test", f"test of {stage.name}")
            with self.cost.phase("features"):
                self.features.attach(f"test of {stage.name}", self.tests[i])
            self.predictions[i] = self._predict(self.tests[i], stage)
            if write and number:
                self.validations[i] = self._predict(self._validation(stage), stage)
        if not write or rank() or self.keeper.folder is None:
            return
        write_logits(self.keeper.folder, self.stream, self.predictions)
        # averaged weights are written as they are evaluated
        with evaluating(self.model, self.methods, self._batches()):
            labels = {task: list(names) for task, names in self.model.labels.items()}
            tensors = self.keeper.tensors()
            checkpoint.write(self.keeper.folder / MODEL, tensors, {"labels": labels})
        self.kept.write(self.keeper.folder, tensors, self.methods)

    def _validation(self, stage: Stage) -> Prepared:
        """The validation rows of any stage so far."""
        if stage is self.stage:
            return self.prepared["validation"]
        rows = self._prepared(stage.validation, "test", f"validation of {stage.name}")
        with self.cost.phase("features"):
            self.features.attach(f"validation of {stage.name}", rows)
        return rows

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
                    found = ((self.model.features(b.x, name, b.activations), b.y[name]) for b in batches)
                    head.fit(found)

    def _try(self, carried: carry.Carried | None) -> None:
        """Two rows pass, once in a process for the same parts: what does not fit shows before anything is written."""
        parts = json.dumps([self.config[key] for key in ("backbone", "head", "heads", "method")], sort_keys=True)
        key = ("tried", parts, self.stream.spec)
        if carried is None and memory.get(key):
            return
        rows = self.prepared["train"].some(range(min(2, len(self.prepared["train"]))))
        example = move(rows, self.fabric.device)
        self.model.eval()
        with torch.no_grad(), seeded("try"):
            self.model(example.x)
            if carried is not None:
                carried.into_methods(self.model, self.methods, example, self.fabric.device)
        memory.keep(key, True)

    def _start(self) -> Clock:
        return Clock(0, 0, 0, 1, ())

    def _cost(self) -> dict[str, Any]:
        parameters = list(self.model.parameters())
        changed = changed_names(self.model, self.original)
        seconds = {f"seconds_{phase}": value for phase, value in self.cost.seconds.items()}
        return {
            "parameters_total": sum(p.numel() for p in parameters),
            "parameters_trainable": sum(p.numel() for p in parameters if p.requires_grad),
            "parameters_changed": sum(p.numel() for n, p in self.model.named_parameters() if n in changed),
            "flops": sum(gather(self.trainer.flops)),
            "flops_features": self.features.flops,
            **seconds,
            "seconds_per_prediction": self.cost.seconds["evaluate"] / max(self.cost.predictions, 1),
            "peak_memory_bytes": peak_memory_bytes(),
        }
