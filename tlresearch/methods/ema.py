"""An exponential moving average of the weights, used wherever the model is evaluated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from tlresearch.config.errors import require
from tlresearch.config.registry import register
from tlresearch.core.method import Batches, Method
from tlresearch.core.model import Model
from tlresearch.core.types import Clock, Stage


@register("method", "ema")
class EMA(Method):
    """Evaluates an average of the weights along the way (Tarvainen and Valpola, 2017, arXiv:1703.01780, section 2).

    As their teacher: θ' ← α_t θ' + (1 − α_t) θ after every step t = 1, 2, …, over all parameters that train, heads
    included, with α_t = min(decay, t / (t + 1)) as in their code: at first the plain mean of all weights so far. Each
    stage starts anew. Buffers (BatchNorm's statistics) are those of the last step.

    Memory: one copy of what trains, and as much again beside the best weights so far.

    Args:
        decay: α in [0, 1); 1 / (1 − α) is the number of steps that the average looks back.
    """

    conflicts = frozenset({"swa", "wise_ft"})  # each puts other weights in the place of the last ones

    neutral = {"decay": 0.0}

    def __init__(self, *, decay: float = 0.99) -> None:
        require(0 <= decay < 1, "decay", decay, "a number in [0, 1)")
        self.decay = decay
        self.steps = 0
        self.average: dict[str, Tensor] = {}

    def on_stage_start(self, model: Model, stage: Stage, batches: Batches) -> None:
        """The average starts anew, from the weights as they are."""
        self.steps, self.average = 0, {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def after_step(self, model: Model, clock: Clock) -> None:
        """One more step joins the average."""
        self.steps += 1
        decay = min(self.decay, self.steps / (self.steps + 1))
        for name, parameter in model.named_parameters():
            if parameter.requires_grad or name in self.average:
                average = self.average.get(name, parameter.clone()).to(parameter.device)
                self.average[name] = average.lerp_(parameter, 1 - decay)

    @contextmanager
    def evaluating(self, model: Model, batches: Batches) -> Iterator[None]:
        """The average stands in the place of the weights."""
        self._swap(model)
        try:
            yield
        finally:
            self._swap(model)

    @torch.no_grad()
    def _swap(self, model: Model) -> None:
        for name, parameter in model.named_parameters():
            if name in self.average:  # empty before the first stage
                kept = parameter.clone()
                parameter.copy_(self.average[name])
                self.average[name].copy_(kept)

    def state_dict(self) -> dict[str, Any]:
        """The average by parameter name, and the number of steps in it."""
        return {"steps": self.steps, **{f"average.{name}": tensor for name, tensor in self.average.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes the average over."""
        self.steps = state["steps"]
        self.average = {k.removeprefix("average."): v for k, v in state.items() if k != "steps"}
