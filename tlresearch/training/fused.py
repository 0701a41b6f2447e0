"""Many heads in one pass: runs over the same frozen features take their steps together, as one batched computation."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from tlresearch.core.head import Head
from tlresearch.core.kinds import kind_of
from tlresearch.core.labels import blank, labelled
from tlresearch.core.types import Batch, Clock, Features
from tlresearch.training.data import Endless
from tlresearch.training.evaluate import Predictions, metrics
from tlresearch.training.gradients import TASK
from tlresearch.training.meter import NonFiniteLoss
from tlresearch.training.parameters import wanted
from tlresearch.training.progress import Bar
from tlresearch.training.session import Session

LOGITS = 5e7
"""Numbers of logits that an evaluation holds at a time."""


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
        """The schedule's."""
        return float(self.session.schedule(self.trainer.clock(self.position, self.per_epoch)))


def _check(session: Session, head: Head) -> None:
    if len(session.stream.stages) > 1 or len(session.stage.tasks) > 1:
        raise CannotJoin("several stages or tasks")
    if session.trainer.plan.accumulate > 1 or head.closed_form:
        raise CannotJoin("micro-batches, or a head with a closed form")
    if any(isinstance(m, nn.modules.dropout._DropoutNd) and m.p > 0 for m in head.modules()):
        raise CannotJoin("a head that drops features at random")
    if any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in head.modules()):
        raise CannotJoin("a head that normalises by the batch")


def train_together(members: Sequence[Member]) -> list[Member]:
    """Takes all steps of all members; those that ended well, with their sessions as after their own training."""
    start = time.perf_counter()
    ended = _Together(members).run()
    for member in ended:
        member.session.cost.seconds["train"] += (time.perf_counter() - start) / len(members)
        member.trainer.end(member.position, member.meter)
        member.session.trained = True
    return ended


class _Together:
    """The heads of all members that still train, stacked; their parameters are views of the stack."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = list(members)
        self.optimizers: dict[type, torch.optim.Optimizer] = {}
        for member in members:  # of a kind, one steps the groups of all: what they do stands in the groups
            self.optimizers.setdefault(type(member.optimizer), member.optimizer)
        self.step = 0
        self.sums, self.since = torch.zeros(len(self.members)), [0] * len(self.members)
        self._stack()

    def run(self) -> list[Member]:
        ended: list[Member] = []
        self._compare()
        longest = max(member.position.total for member in self.members)
        bar = Bar(f"training {len(self.members)} runs", longest, enabled=self.members[0].trainer.plan.progress)
        while self.members:
            self._take_step()
            self.step += 1
            bar.update(self.step)
            gone = self._report()
            if gone:
                ended += [member for member, well in gone if well]
                self._leave([member for member, _ in gone])
        bar.close()
        return ended

    def _stack(self) -> None:
        heads: list[nn.Module] = [member.head for member in self.members]
        self.parameters, self.buffers = stack_module_state(heads)
        self.own = [[dict(head.named_parameters())[name] for name in self.parameters] for head in heads]
        for stack, *parameters in zip(self.parameters.values(), *self.own, strict=True):
            for parameter, part in zip(parameters, stack.detach(), strict=True):
                parameter.data = part
        for kind, optimizer in self.optimizers.items():
            own = [member for member in self.members if type(member.optimizer) is kind]
            optimizer.param_groups = [group for member in own for group in member.groups]
        lanes = dict.fromkeys(member.lane for member in self.members)
        numbers = {lane: i for i, lane in enumerate(lanes)}
        self.lanes = [next(m for m in self.members if m.lane == lane) for lane in lanes]
        self.lane = torch.tensor([numbers[member.lane] for member in self.members])

    def _leave(self, gone: Sequence[Member]) -> None:
        for member in gone:
            for parameter in member.head.parameters():
                parameter.data = parameter.data.clone()
                parameter.grad = None
        stay = [k for k, member in enumerate(self.members) if member not in gone]
        self.members = [self.members[k] for k in stay]
        self.sums, self.since = self.sums[stay], [self.since[k] for k in stay]
        if self.members:
            self._stack()

    def _rows(self) -> tuple[Tensor, Tensor, Tensor]:
        """Features (K, B, D), labels (K, B, …), weights (K, B); short batches are filled up with rows of weight 0."""
        longest = max(lane.size for lane in self.lanes)
        parts = []
        for lane in self.lanes:
            batch, missing = lane.batch(self.step), longest - lane.size
            x, y, weight = batch.activations[lane.features], batch.y[lane.task], batch.weight
            if missing:
                x = torch.cat([x, x.new_zeros(missing, *x.shape[1:])])
                y = torch.cat([y, y.new_full((missing, *y.shape[1:]), blank(y))])
                weight = torch.cat([weight, weight.new_zeros(missing)])
            parts.append((x.float(), y, weight))
        device = next(iter(self.parameters.values())).device
        x, y, weight = (torch.stack(column).to(device)[self.lane] for column in zip(*parts, strict=True))
        return x, y, weight

    def _logits(self, x: Tensor, chosen: slice | Tensor = slice(None)) -> Tensor:
        """Features (K, N, D) or, for all alike, (N, D) → logits (K, N, C)."""
        head = self.members[0].head

        def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor], features: Tensor) -> Tensor:
            given = Features(None, features, None)
            logits: Tensor = functional_call(head, (parameters, buffers), (given,))
            return logits

        parameters = {name: p[chosen] for name, p in self.parameters.items()}
        buffers = {name: b[chosen] for name, b in self.buffers.items()}
        logits: Tensor = vmap(one, in_dims=(0, 0, 0 if x.ndim == 3 else None))(parameters, buffers, x)
        return logits

    def _losses(self) -> Tensor:
        """Each member's weighted mean loss (K,), as `task_terms` has it for one."""
        x, y, weight = self._rows()
        head, shape = self.members[0].head, weight.shape
        losses = head.training_loss(self._logits(x).flatten(0, 1), y.flatten(0, 1)).view(shape)
        counted = (head.count(y.flatten(0, 1)).view(shape) * weight).sum(1)
        return (losses * weight).sum(1) / counted.clamp(min=1e-12)

    def _compare(self) -> None:
        """The first batch's losses are those that each run has alone, or else nothing is trained together."""
        with torch.no_grad():
            together = self._losses()
            for member, found in zip(self.members, together.tolist(), strict=True):
                batch = member.batch(0)
                device = together.device
                x = {name: a.to(device) for name, a in batch.activations.items()}
                batch = batch._replace(y={t: y.to(device) for t, y in batch.y.items()}, weight=batch.weight.to(device))
                clock = member.trainer.clock(member.position, member.per_epoch)
                terms = member.trainer.gradients.terms(batch, member.session.model({}, x), clock)
                alone = float(sum(terms.values()))
                if terms.keys() != {TASK + member.task} or not abs(alone - found) <= 1e-5 * max(1.0, abs(alone)):
                    raise CannotJoin(f"its loss is {alone} alone and {found} together")

    def _take_step(self) -> None:
        losses = self._losses()
        gradients = [g.unbind() for g in torch.autograd.grad(losses.sum(), list(self.parameters.values()))]
        for k, member in enumerate(self.members):
            for parameter, gradient in zip(self.own[k], gradients, strict=True):
                parameter.grad = gradient[k]
            if member.trainer.plan.clip is not None:
                nn.utils.clip_grad_norm_(self.own[k], member.trainer.plan.clip)
            factor = member.factor()
            for group in member.groups:
                group["lr"] = group["initial_lr"] * factor
        for optimizer in self.optimizers.values():
            if optimizer.param_groups:
                optimizer.step()
        self.sums += losses.detach().to(self.sums.device)
        self.since = [steps + 1 for steps in self.since]

    def _report(self) -> list[tuple[Member, bool]]:
        """Logs and validates where it is time; the members that are through, and whether they ended well."""
        gone: list[tuple[Member, bool]] = []
        for member in self.members:
            member.position.step = self.step
        due = [m for m in self.members if self.step % m.every == 0 or self.step == m.position.total]
        logged = self.step % self.members[0].trainer.plan.log_every == 0
        self._validate(due)
        for k, member in enumerate(self.members if logged or due else ()):
            if not logged and member not in due:
                continue
            steps = self.since[k]
            member.trainer.flops += member.trainer.flops_per_row * member.size * steps
            member.meter.take(TASK + member.task, self.sums[k : k + 1].clone(), steps, steps * member.size)
            self.sums[k], self.since[k] = 0.0, 0
            try:
                if member not in due:
                    member.meter.flush(self.step)
                    continue
                stopped = member.trainer.evaluate(member.position, member.meter, member.session.keeper)
                if stopped or self.step == member.position.total:
                    gone.append((member, True))
                elif not member.rests(member.trainer.clock(member.position, member.per_epoch)):
                    gone.append((member, False))  # thawed by what validation says: it trains alone
            except NonFiniteLoss:  # alone, it will say so
                gone.append((member, False))
        return gone

    @torch.no_grad()
    def _validate(self, due: Sequence[Member]) -> None:
        by_rows: dict[tuple[int, str], list[int]] = {}
        for k, member in enumerate(self.members):
            if member in due:
                by_rows.setdefault((id(member.session.stage.validation), member.features), []).append(k)
        for chosen in by_rows.values():
            first = self.members[chosen[0]]
            rows = first.session.prepared["validation"]
            batch = rows.batch(torch.arange(len(rows)))
            device = next(iter(self.parameters.values())).device
            x, y = batch.activations[first.features].float().to(device), batch.y[first.task].to(device)
            keep = labelled(y)
            x, y = x[keep], y[keep]
            labels = len(first.session.model.labels[first.task])
            portion = max(int(LOGITS / max(len(x) * max(labels, 1), 1)), 1)
            for part in torch.tensor(chosen).split(portion):
                for k, logits in zip(part.tolist(), self._logits(x, part), strict=True):
                    self.members[k].values = self._metrics(first.head, logits.float(), y, batch, keep)

    def _metrics(self, head: Head, logits: Tensor, y: Tensor, batch: Batch, keep: Tensor) -> dict[str, float]:
        predicted, losses, keep = head.predict(logits, None).cpu(), head.loss(logits, y).cpu(), keep.cpu()
        found = Predictions(logits.cpu(), y.cpu(), predicted, losses, batch.domain[keep], batch.index[keep])
        return metrics(found, kind_of(self.members[0].session.stage.tasks[0]))
