"""Many heads in one pass: runs over the same frozen features take their steps together, as one batched computation."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tlresearch.core.kinds import kind_of
from tlresearch.core.labels import blank, labelled
from tlresearch.core.types import Batch, Features
from tlresearch.training.evaluate import Predictions, metrics
from tlresearch.training.gradients import TASK
from tlresearch.training.member import CannotJoin, Member
from tlresearch.training.meter import NonFiniteLoss
from tlresearch.training.progress import Bar
from tlresearch.training.stacked import Heads


def train_together(members: Sequence[Member]) -> list[Member]:
    """Takes all steps of all members; those that ended well, with their sessions as after their own training."""
    start = time.perf_counter()
    ended = _Together(members).run()
    for member in ended:
        member.session.cost.seconds["train"] += (time.perf_counter() - start) / len(members)
        member.trainer.end(member.position, member.meter)
        member.session.trained = True
    return ended


class _Stack:
    """Members that can be stacked: lanes of equally many, those of a lane draw the same rows."""

    def __init__(self, lanes: Sequence[Sequence[Member]]) -> None:
        self.lanes = [lane[0] for lane in lanes]
        self.members = [member for lane in lanes for member in lane]
        self.heads = Heads([[member.head for member in lane] for lane in lanes])
        self.device = next(iter(self.heads.parameters.values())).device

    def step_back(self, step: int) -> Tensor:
        """Each member's weighted mean loss (K,), as `task_terms` has it for one; its gradient is in its parameters."""
        return self.heads.step_back(*self._rows(step)).flatten()

    def _rows(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Features (L, B, D), labels (L, B, …), weights (L, B); short batches are filled up with rows of weight 0."""
        longest = max(lane.size for lane in self.lanes)
        parts = []
        for lane in self.lanes:
            batch, missing = lane.batch(step), longest - lane.size
            x, y, weight = batch.activations[lane.features], batch.y[lane.task], batch.weight
            if missing:
                x = torch.cat([x, x.new_zeros(missing, *x.shape[1:])])
                y = torch.cat([y, y.new_full((missing, *y.shape[1:]), blank(y))])
                weight = torch.cat([weight, weight.new_zeros(missing)])
            parts.append((x.float(), y, weight))
        x, y, weight = (torch.stack(column).to(self.device) for column in zip(*parts, strict=True))
        return x, y, weight


def _stacks(members: Sequence[Member]) -> list[_Stack]:
    lanes: dict[object, list[Member]] = {}
    for member in members:
        lanes.setdefault(member.lane, []).append(member)
    by_length: dict[int, list[list[Member]]] = {}
    for lane in lanes.values():
        by_length.setdefault(len(lane), []).append(lane)
    return [_Stack(alike) for alike in by_length.values()]


class _Together:
    """All members that still train. One optimizer of a kind steps the groups of all: what they do stands in those."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = list(members)
        self.optimizers: dict[type, torch.optim.Optimizer] = {}
        for member in members:
            self.optimizers.setdefault(type(member.optimizer), member.optimizer)
        self.step = 0
        self._stack()
        self.sums, self.since = torch.zeros(len(self.members)), [0] * len(self.members)

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
        self.stacks = _stacks(self.members)
        self.members = [member for stack in self.stacks for member in stack.members]
        self._join_groups(self._factors())

    def _join_groups(self, factors: Sequence[float]) -> None:
        """Groups of equal settings, and for now of equal schedule, become one: fewer calls, the same steps."""
        joined: dict[str, tuple[dict[str, Any], list[int]]] = {}
        for optimizer in self.optimizers.values():
            optimizer.param_groups = []
        for k, (member, factor) in enumerate(zip(self.members, factors, strict=True)):
            optimizer = self.optimizers[type(member.optimizer)]
            for group in member.groups:
                settings = {name: value for name, value in group.items() if name not in ("params", "lr")}
                key = repr((type(optimizer), factor, sorted(settings.items())))
                if key not in joined:
                    joined[key] = ({**group, "params": []}, [])
                    optimizer.param_groups.append(joined[key][0])
                joined[key][0]["params"] += group["params"]
                joined[key][1].append(k)
        self.groups = list(joined.values())

    def _factors(self) -> list[float]:
        """The schedules', each asked once."""
        found: dict[str, float] = {}
        for member in self.members:
            if member.pace not in found:
                factor = member.factor()  # which may change the pace
                found[member.pace] = factor
        return [found[member.pace] for member in self.members]

    def _set_rates(self) -> None:
        factors = self._factors()
        if any(factors[k] != factors[of[0]] for _, of in self.groups for k in of):
            self._join_groups(factors)
        for group, of in self.groups:
            group["lr"] = group["initial_lr"] * factors[of[0]]

    def _leave(self, gone: Sequence[Member]) -> None:
        for stack in self.stacks:
            stack.heads.release()
        kept = {id(member): k for k, member in enumerate(self.members)}
        self.members = [member for member in self.members if member not in gone]
        if self.members:
            self._stack()
        stay = [kept[id(member)] for member in self.members]
        self.sums, self.since = self.sums[stay], [self.since[k] for k in stay]

    def _losses(self) -> Tensor:
        """Each member's, detached; the gradients are in the parameters."""
        return torch.cat([stack.step_back(self.step) for stack in self.stacks])

    def _compare(self) -> None:
        """The first batch's losses are those that each run has alone, or else nothing is trained together."""
        try:
            together = self._losses()
        except RuntimeError as error:  # a loss or a head that torch cannot batch, such as one that branches on values
            raise CannotJoin(f"it cannot be batched: {error}") from error
        with torch.no_grad():
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
        for member in self.members:
            if member.trainer.plan.clip is not None:
                nn.utils.clip_grad_norm_(member.head.parameters(), member.trainer.plan.clip)
        self._set_rates()
        for optimizer in self.optimizers.values():
            if optimizer.param_groups:
                optimizer.step()
        self.sums += losses.to(self.sums.device)
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
        """Each head by itself on rows that are gathered once: it is all products, which are as quick alone."""
        rows: dict[tuple[int, str], tuple[Batch, Tensor, Tensor, Tensor]] = {}
        for member in due:
            session, key = member.session, (id(member.session.stage.validation), member.features)
            if key not in rows:
                prepared = session.prepared["validation"]
                batch = prepared.batch(torch.arange(len(prepared)))
                keep = labelled(batch.y[member.task])
                rows[key] = batch, batch.activations[member.features][keep].float(), batch.y[member.task][keep], keep
            batch, x, y, keep = rows[key]
            device = next(member.head.parameters()).device
            logits = member.head(Features(None, x.to(device), None)).float()
            predicted, losses = member.head.predict(logits, None).cpu(), member.head.loss(logits, y.to(device)).cpu()
            found = Predictions(logits.cpu(), y, predicted, losses, batch.domain[keep], batch.index[keep])
            member.values = metrics(found, kind_of(session.stage.tasks[0]))
