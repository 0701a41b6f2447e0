"""Stochastic weight averaging: the mean of the weights along the end of training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from tlresearch.config.errors import require
from tlresearch.config.registry import register
from tlresearch.core.distributed import mean_over_ranks
from tlresearch.core.method import Batches, Method
from tlresearch.core.model import Model
from tlresearch.core.types import Clock, Stage
from tlresearch.nn.batch_norm import Layer, layers, recalibrate


@register("method", "swa")
class SWA(Method):
    """Evaluates the plain mean of the weights of the last steps (Izmailov et al., 2018, arXiv:1803.05407, algorithm 1).

    w_SWA ← (w_SWA · n + w) / (n + 1) over all parameters that train, heads included, at every `every`-th step from the
    share `start` of a stage's steps on; the first takes its place as it is, and until then the weights themselves are
    evaluated. Then the statistics of the BatchNorm layers that train are measured anew for w_SWA, in one pass over the
    training rows without their labels (the last line of the algorithm), at every evaluation; those at rest keep theirs.
    The paper averages under a constant or cyclical rate, once an epoch: choose `schedule=constant`. With
    `selection=last` it is w_SWA that is reported for sure; otherwise whatever evaluation was best. A next stage goes on
    from the last weights, not from their mean.

    Memory: one copy of what trains, and as much again beside the best weights so far.

    Args:
        start: the share of a stage's steps before the first one that counts, in [0, 1]; 1 is plain fine-tuning.
        every: steps from one that counts to the next, at least 1.
    """

    conflicts = frozenset({"ema", "wise_ft"})  # each puts other weights in the place of the last ones

    neutral = {"start": 1.0}

    def __init__(self, *, start: float = 0.75, every: int = 1) -> None:
        require(0 <= start <= 1, "start", start, "a number in [0, 1]")
        require(every >= 1, "every", every, "an integer of at least 1")
        self.start, self.every = start, every
        self.steps = 0  # since `start`, those between two that count included
        self.average: dict[str, Tensor] = {}

    def on_stage_start(self, model: Model, stage: Stage, batches: Batches) -> None:
        """The average starts anew."""
        self.steps, self.average = 0, {}

    @torch.no_grad()
    def after_step(self, model: Model, clock: Clock) -> None:
        """One more step joins the average, where its turn has come."""
        if clock.progress < self.start:
            return
        counted, rest = divmod(self.steps, self.every)
        self.steps += 1
        if rest:
            return
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                if name in self.average:
                    average = self.average[name]
                    average += (parameter - average) / (counted + 1)
                else:
                    self.average[name] = parameter.detach().clone()

    @contextmanager
    def evaluating(self, model: Model, batches: Batches) -> Iterator[None]:
        """The average and its own statistics stand in the place of the weights and theirs."""
        chosen = _moving(model) if self.average else []
        kept = [{name: buffer.clone() for name, buffer in layer.named_buffers()} for layer in chosen]
        self._swap(model)
        try:
            if chosen:
                recalibrate(model, (batch.x for batch in batches("train")), chosen)
                _agree(chosen)
            yield
        finally:
            self._swap(model)
            for layer, buffers in zip(chosen, kept, strict=True):
                for name, buffer in layer.named_buffers():
                    buffer.copy_(buffers[name])

    @torch.no_grad()
    def _swap(self, model: Model) -> None:
        for name, parameter in model.named_parameters():
            if name in self.average:
                kept = parameter.clone()
                parameter.copy_(self.average[name])
                self.average[name].copy_(kept)

    def state_dict(self) -> dict[str, Any]:
        """The average by parameter name, and the number of steps since `start`."""
        return {"steps": self.steps, **{f"average.{name}": tensor for name, tensor in self.average.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes the average over."""
        self.steps = state.get("steps", 0)
        self.average = {k.removeprefix("average."): v for k, v in state.items() if k != "steps"}


def _moving(model: Model) -> list[Layer]:
    """Layers whose statistics have moved with the weights: those of frozen layers rest."""
    return [layer for layer in layers(model) if any(p.requires_grad for p in layer.parameters())]


def _agree(chosen: list[Layer]) -> None:
    """Every rank has seen its own rows: the mean of their statistics (of unequal shares, weighted as if equal)."""
    for layer in chosen:
        for buffer in layer.buffers():
            if buffer.is_floating_point():
                buffer.copy_(mean_over_ranks(buffer))
