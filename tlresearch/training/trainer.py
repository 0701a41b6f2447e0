"""The Fabric loop: the only owner of optimizer, backward pass, precision and devices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tlresearch.config.errors import ConfigError
from tlresearch.core.batching import move
from tlresearch.core.distributed import rank, ranks
from tlresearch.core.method import Batches, Method, uses
from tlresearch.core.model import Model
from tlresearch.core.seeding import reseed
from tlresearch.core.types import UNLABELLED, Batch, Clock
from tlresearch.training.data import Endless, Prepared, ahead
from tlresearch.training.gradients import Gradients, total
from tlresearch.training.keeping import Keeper
from tlresearch.training.meter import Meter
from tlresearch.training.parameters import (
    MakeOptimizer,
    Rates,
    build_optimizer,
    choose_trainable,
    keeping_statistics,
    needs_closure,
    parameter_groups,
    set_modes,
)
from tlresearch.training.reach import freeze_unreached

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Schedule = Callable[[Clock], float]
FEATURES = 1024
"""Rows of an evaluation's batch where only features are read."""


@dataclass(frozen=True)
class Plan:
    """How long and in what portions to train; the keys of the configuration, resolved."""

    seed: int
    epochs: int
    steps: int | None
    batch_size: int
    accumulate: int
    clip: float | None
    bn: str
    evaluate_every: int | None
    log_every: int
    progress: bool


@dataclass
class Position:
    """Where a stage's training stands; all that resuming needs beside tensors."""

    stage: int = 0
    step: int = 0
    total: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    """The validation metrics of every evaluation of this stage so far."""


class Trainer:
    """Trains one model through the stages of a stream.

    Args:
        fabric: launched; model: on its device, methods set up, heads present.
        log: takes values by name and the number of steps since the run began.
    """

    def __init__(
        self,
        fabric: Fabric,
        model: Model,
        methods: Mapping[str, Method],
        plan: Plan,
        rates: Rates,
        make_optimizer: MakeOptimizer,
        schedule: Schedule,
        log: Callable[[dict[str, float], int], None],
    ) -> None:
        self.fabric, self.model, self.methods, self.plan = fabric, model, dict(methods), plan
        self.rates, self.make_optimizer, self.schedule, self.log = rates, make_optimizer, schedule, log
        self.optimizer: torch.optim.Optimizer | None = None
        self.stepper: Any = None  # Fabric's wrapper of it, which undoes the scaling of half-precision gradients
        self.wrapped: nn.Module = model
        self.unreached: list[str] = []
        self.steps_before = 0
        self.flops, self.flops_per_row = 0.0, 0.0
        self._trainable: frozenset[int] | None = None
        self._rows: tuple[Prepared, Prepared | None]
        self._clipped: list[nn.Parameter] = []
        hooks = ("batch", "on_gradients", "after_step")
        self.hooks = {hook: [m for m in self.methods.values() if uses(m, hook)] for hook in hooks}
        self.gradients = Gradients(fabric, model, self.methods, plan.accumulate)

    def total_steps(self, rows: int) -> int:
        """Optimizer steps of a stage with so many training rows."""
        return self.plan.steps or self.plan.epochs * self.steps_per_epoch(rows)

    def steps_per_epoch(self, rows: int) -> int:
        """Optimizer steps of one pass over so many training rows."""
        return -(-rows // min(self.plan.batch_size, rows))

    def fit(self, train: Prepared, unlabelled: Prepared | None, position: Position, keeper: Keeper) -> None:
        """Takes the steps of one stage from `position` on; evaluates each epoch or every `evaluate_every` steps."""
        meter = self.begin(train, unlabelled, position, keeper)
        if meter is None:
            return
        per_epoch = self.steps_per_epoch(len(train))
        every = self.plan.evaluate_every or per_epoch
        batches, evaluated = self._batches(train, unlabelled, position.step, position.total), False
        while position.step < position.total:
            clock = self.clock(position, per_epoch)
            anew = evaluated or (position.step > 0 and position.step % per_epoch == 0)
            if anew and self._choose(clock, keeper):
                batches = self._batches(train, unlabelled, position.step, position.total)
            with keeper.waiting():
                batch = next(batches)
            self.step(batch, clock, meter)
            position.step += 1
            evaluated = position.step % every == 0 or position.step == position.total
            if evaluated and self.evaluate(position, meter, keeper):
                break
            if (evaluated or position.step % self.plan.log_every == 0) and keeper.due():
                keeper.save(position)  # only where the meter was read: no term is lost or non-finite
        self.end(position, meter)

    def begin(self, train: Prepared, unlabelled: Prepared | None, position: Position, keeper: Keeper) -> Meter | None:
        """All that comes before a stage's first step; None where nothing is to be stepped (closed forms alone)."""
        position.total = self.total_steps(len(train))
        per_epoch = self.steps_per_epoch(len(train))
        for name in self.unreached:  # by the loss of an earlier stage; this one's may reach it
            self.model.get_parameter(name).requires_grad_(True)
        self.optimizer, self._trainable, self.unreached = None, None, []
        meter = Meter(self.log, self.plan.log_every, position.total, self.steps_before, self.plan.progress)
        clock = self.clock(position, per_epoch)
        choose_trainable(self.model, self.methods, clock)
        set_modes(self.model, self.plan.bn)
        keeper.cut(clock)
        if not any(p.requires_grad for p in self.model.parameters()):
            return None
        self._rows = (train, unlabelled)
        self.unreached, self.flops_per_row = self._unreached(clock)
        self._choose(clock, keeper)
        keeper.restore(self.optimizer)
        return meter

    def evaluate(self, position: Position, meter: Meter, keeper: Keeper) -> bool:
        """Validates; returns whether to stop early."""
        meter.flush(position.step)
        position.history.append(keeper.evaluate())
        last = position.history[-1]
        values = {f"validation/{name}": value for name, value in last.items()}
        self.log(values, self.steps_before + position.step)
        meter.metric(last)
        meter.restart()
        set_modes(self.model, self.plan.bn)
        return keeper.after_evaluation(position)

    def end(self, position: Position, meter: Meter) -> None:
        """After a stage's last step."""
        meter.close()
        self.steps_before += position.step

    def step(self, batch: Batch, clock: Clock, meter: Meter) -> None:
        """One optimizer step on one global batch (this rank's rows of it)."""
        reseed(self.plan.seed, clock.stage, clock.step, rank())  # each step's randomness is its own: resuming is exact
        for method in self.hooks["batch"]:
            batch = method.batch(self.model, batch, clock)
        self.flops += self.flops_per_row * batch.rows
        meter.add(self._gradients(batch, clock), batch.rows, clock.step)
        if self.optimizer is not None:
            factor = self.schedule(clock)
            for group in self.optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor
            closure = (partial(self._again, batch, clock),) if needs_closure(self.optimizer) else ()
            self.stepper.step(*closure)
            self.optimizer.zero_grad()
        for method in self.hooks["after_step"]:
            method.after_step(self.model, clock)

    def _gradients(self, batch: Batch, clock: Clock) -> dict[str, Tensor]:
        """Fills `.grad` as the optimizer shall see it; returns the terms."""
        if needs_closure(self.optimizer):  # the next pass over these rows drops and augments as this one
            reseed(self.plan.seed, clock.stage, clock.step, rank(), "pass")
        terms = self.gradients(self.wrapped, batch, clock)
        for method in self.hooks["on_gradients"]:
            method.on_gradients(self.model, clock)
        if self.optimizer is not None and self.plan.clip is not None:
            self.fabric._precision.unscale_gradients(self.optimizer)
            nn.utils.clip_grad_norm_(self._clipped, self.plan.clip)
        return terms

    def _again(self, batch: Batch, clock: Clock) -> Tensor:
        """The closure: gradients of the same step where the optimizer has moved to; statistics count a batch once."""
        assert self.optimizer is not None
        self.optimizer.zero_grad()
        self.flops += self.flops_per_row * batch.rows
        with keeping_statistics(self.model):
            return total(self._gradients(batch, clock))

    def counters(self) -> dict[str, float]:
        """What is carried over to the process that resumes the run."""
        return {"steps_before": self.steps_before, "flops": self.flops}

    def load_counters(self, counters: Mapping[str, float]) -> None:
        """Takes over what `counters` gave before the run was interrupted."""
        self.steps_before, self.flops = int(counters["steps_before"]), counters["flops"]

    def batches(self, prepared: Mapping[str, Prepared]) -> Batches:
        """What methods get: split → its batches in order, sharded over ranks, on the device, before any transform."""

        def of(split: str) -> Iterator[Batch]:
            rows = prepared.get(split)
            if rows is None:
                raise ConfigError(f"there are no {split!r} rows here; this stage has {', '.join(sorted(prepared))}")
            size = max(self.plan.batch_size, FEATURES) if rows.lean else self.plan.batch_size
            plan = torch.arange(rank(), len(rows), ranks()).split(size)
            return (move(batch, self.fabric.device) for batch in rows.batches([part for part in plan if len(part)]))

        return of

    def _batches(self, train: Prepared, unlabelled: Prepared | None, start: int, stop: int) -> Iterator[Batch]:
        """The joined batches of steps start … stop - 1, on the device."""
        seed, stage_size = self.plan.seed, min(self.plan.batch_size, len(train))
        extra = sum(method.unlabelled for method in self.methods.values())
        orders = [(train, Endless(len(train), seed, "order", self.steps_before), stage_size)]
        if extra and unlabelled is not None:
            count = max(round(extra * stage_size), 1)
            orders.append((unlabelled, Endless(len(unlabelled), seed, "unlabelled", self.steps_before), count))

        def make(step: Tensor) -> Batch:
            parts = []
            for rows, order, count in orders:
                positions = order.positions(int(step) * count, count)[rank() :: ranks()]
                part = rows.batch(positions)
                parts.append(part if rows is train else part._replace(origin=torch.full_like(part.origin, UNLABELLED)))
            return self.model.backbone.join(parts) if len(parts) > 1 else parts[0]

        plan = torch.arange(start, stop)
        in_memory = all(rows.in_memory for rows, _, _ in orders)
        made = map(make, plan) if in_memory else ahead(make, iter(plan), workers=1)
        if self.fabric.device.type == "cpu":
            yield from made
        else:
            yield from (move(batch, self.fabric.device) for batch in made)

    def clock(self, position: Position, per_epoch: int) -> Clock:
        """Where a stage's training stands, for methods and schedule."""
        return Clock(position.stage, position.step // per_epoch, position.step, position.total, position.history)

    def _unreached(self, clock: Clock) -> tuple[list[str], float]:
        trial = next(self._batches(*self._rows, 0, 1))
        return freeze_unreached(self.model, self.gradients, self.methods, trial, clock)

    def _choose(self, clock: Clock, keeper: Keeper) -> bool:
        """Asks the methods what moves; a changed answer (True) means a new optimizer and a newly wrapped model."""
        before = {name for name, p in self.model.named_parameters() if p.requires_grad}
        chosen = choose_trainable(self.model, self.methods, clock)
        for name in self.unreached:
            self.model.get_parameter(name).requires_grad_(False)
        set_modes(self.model, self.plan.bn)
        if chosen == self._trainable:
            return False
        if self._trainable is not None:
            keeper.cut(clock)
            more, self.flops_per_row = self._unreached(clock)
            self.unreached += more
            keeper.thaw([name for name, p in self.model.named_parameters() if p.requires_grad and name not in before])
        self._trainable = chosen
        groups = parameter_groups(self.model, self.methods, clock, self.rates)
        self.optimizer = build_optimizer(self.make_optimizer, groups, self.optimizer)
        aux = {id(p) for p in self.model.aux.parameters()}
        self._clipped = [p for p in self.model.parameters() if p.requires_grad and id(p) not in aux]
        if self.optimizer is None or self.gradients.plain:
            self.wrapped, self.stepper = self.model, self.optimizer
        else:
            self.wrapped, self.stepper = self.fabric.setup(self.model, self.optimizer)
        return True
