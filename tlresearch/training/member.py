"""One run of those that train together: its rows, its schedule, and whether it may join."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from tlresearch.core.head import Head
from tlresearch.core.types import Batch, Clock
from tlresearch.training.data import Endless
from tlresearch.training.parameters import wanted
from tlresearch.training.session import Session


class CannotJoin(Exception):
    """Why a run trains alone."""


class Member:
    """One of the runs: a session that has begun its stage, from features alone. Raises CannotJoin for any other."""

    def __init__(self, session: Session) -> None:
        self.session, self.trainer, self.position = session, session.trainer, session.position
        stage, plan, train = session.stage, session.trainer.plan, session.prepared["train"]
        self.task, self.train = stage.tasks[0].name, train
        self.head: Head = session.model.head(self.task)
        _check(session, self.head)
        meter = self.trainer.begin(train, session.prepared.get("unlabelled"), self.position, session.keeper)
        cut = session.model.cut
        if meter is None or cut is None or not train.lean or self.trainer.optimizer is None:
            raise CannotJoin(f"its methods need more than features ({session.features.report['why']})")
        if not type(self.trainer.optimizer).__module__.startswith("torch."):
            raise CannotJoin("its optimizer may look beyond its parameters")
        self.meter, self.optimizer = meter, self.trainer.optimizer
        self.groups = list(self.optimizer.param_groups)
        self.features = cut.names[session.model.pooling[self.task]]
        self.size = min(plan.batch_size, len(train))
        self.order = Endless(len(train), plan.seed, "order", self.trainer.steps_before)
        self.lane = (id(stage.train), self.features, plan.seed, self.size)
        self.per_epoch = self.trainer.steps_per_epoch(len(train))
        self.every = plan.evaluate_every or self.per_epoch
        self.values: dict[str, float] = {}
        session.keeper.evaluate = lambda: self.values
        self.pace = repr((session.config["schedule"], self.position.total, self.per_epoch))
        start = self.trainer.clock(self.position, self.per_epoch)
        epochs = range(1 + self.position.total // self.per_epoch)
        if not all(self.rests(start._replace(epoch=epoch)) for epoch in epochs):
            raise CannotJoin("more than its head moves in a later epoch")

    def batch(self, step: int) -> Batch:
        """The rows of one step, as the run alone would draw them."""
        return self.train.batch(self.order.positions(step * self.size, self.size))

    def rests(self, clock: Clock) -> bool:
        """Whether the methods leave the whole backbone at rest."""
        return not wanted(self.session.model, self.session.methods, clock)

    def factor(self) -> float:
        """The schedule's. Members of one pace have one; a schedule that heeds validations gives a pace of its own."""
        history = _Noticing(self.position.history)
        clock = self.trainer.clock(self.position, self.per_epoch)._replace(history=history)
        value = float(self.session.schedule(clock))
        if history.noticed:
            self.pace = str(id(self))
        return value


class _Noticing(Sequence[Mapping[str, float]]):
    """A history that notices when somebody looks at it."""

    def __init__(self, values: Sequence[Mapping[str, float]]) -> None:
        self.values, self.noticed = values, False

    def __getitem__(self, i: Any) -> Any:
        self.noticed = True
        return self.values[i]

    def __len__(self) -> int:
        self.noticed = True
        return len(self.values)


def _check(session: Session, head: Head) -> None:
    if len(session.stream.stages) > 1 or len(session.stage.tasks) > 1:
        raise CannotJoin("several stages or tasks")
    if session.trainer.plan.accumulate > 1 or head.closed_form:
        raise CannotJoin("micro-batches, or a head with a closed form")
    if any(isinstance(m, nn.modules.dropout._DropoutNd) and m.p > 0 for m in head.modules()):
        raise CannotJoin("a head that drops features at random")
    if any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in head.modules()):
        raise CannotJoin("a head that normalises by the batch")
