"""Self-distillation: answers stay near those of the starting model."""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
from torch import Tensor

from tlresearch.config.errors import choose, fail, require
from tlresearch.config.registry import register
from tlresearch.core.method import Batches, Method
from tlresearch.core.model import Model
from tlresearch.core.types import Batch, Clock, Output, Spec, Stage
from tlresearch.nn.starting import Starting

NAME = "self_distillation"


@register("method", "self_distillation")
class SelfDistillation(Method):
    """The old-task term of learning without forgetting (Li & Hoiem, 2016, arXiv:1606.09282, equations 2 to 4).

    Adds λ · mean over rows of L_old(y_o, ŷ_o) = −Σ_i y'_o,i log ŷ'_o,i, where y' and ŷ' are the softmax at temperature
    T of what the starting model answers and of what the model answers now. The starting model is the one of the stage's
    start, asked anew for every batch in evaluation mode and before augmentation (the paper records its answers once,
    which is the same while batches are not mixed).

    to=heads: the run's own heads. From the second stage on, those classes count that earlier stages have taught, as in
    the paper. In the first stage all do, so start from a model that knows the task (`init_from`, a probe first: a new
    head's answers are random); of a regression it is ((f − f_o) / unit)². to=source: the checkpoint's own classifier,
    a copy of which is trained along as the paper's θ_o; refused for a backbone that has none.

    Memory: one copy of what trains, and as much again beside the best weights so far. Time: one forward pass more.

    Args:
        strength: λ_o, at least 0; the paper takes 1.
        temperature: T above 0; the paper takes 2.
        to: heads or source.
    """

    neutral = {"strength": 0.0}

    training_only = True

    def __init__(
        self, *, strength: float = 1.0, temperature: float = 2.0, to: Literal["heads", "source"] = "heads"
    ) -> None:
        require(strength >= 0, "strength", strength, "a number of at least 0")
        require(temperature > 0, "temperature", temperature, "a number above 0")
        self.strength, self.temperature = strength, temperature
        self.to_source = choose("to", to, ("heads", "source")) == "source"
        self.start = Starting()
        self.known: dict[str, int] | None = None
        """Task → outputs that earlier stages have taught; None in the first stage."""

    def setup(self, model: Model, spec: Spec) -> None:
        """With to=source, a copy of the checkpoint's classifier becomes part of the model."""
        if self.to_source:
            head = model.backbone.pretrained_head
            if head is None:
                fail("to", "source", "the backbone's weights bring no classifier along; use to=heads or other weights")
            model.aux[NAME] = copy.deepcopy(head).requires_grad_(True)

    def on_stage_start(self, model: Model, stage: Stage, batches: Batches) -> None:
        """Copies what is about to move."""
        self.start.begin(model)

    def loss(self, model: Model, batch: Batch, out: Output, clock: Clock) -> dict[str, Tensor]:
        """One term a task (to=source: one alone), named after it."""
        self.start.see(model)
        old: Output = self.start(model, batch.x, batch.activations)
        if self.to_source:
            head = model.aux[NAME]
            recorded = self.start(head, old.features.pooled, below=f"aux.{NAME}.")
            return {"source": self.strength * distillation(head(out.features.pooled), recorded, self.temperature)}
        return {
            task: self.strength * self._distance(model, task, logits, old.logits[task])
            for task, logits in out.logits.items()
            if not model.head(task).closed_form
        }

    def _distance(self, model: Model, task: str, own: Tensor, old: Tensor) -> Tensor:
        kind = model.head(task).kind
        count = old.shape[1] if self.known is None else self.known.get(task, 0)
        if not count:  # a task that no earlier stage has taught
            return own.new_zeros(())
        if not kind.classes:
            return ((own - old) / kind.unit).square().mean()
        return distillation(own[:, :count], old[:, :count], self.temperature)

    def on_stage_end(self, model: Model, stage: Stage, batches: Batches) -> None:
        """Remembers what has been taught."""
        self.known = {task: max(len(labels), 1) for task, labels in model.labels.items()}  # a regression has none

    def state_dict(self) -> dict[str, Any]:
        """The starting weights by name, and what was taught."""
        return {"known": self.known, **{f"start.{name}": tensor for name, tensor in self.start.tensors.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes both over."""
        self.known = state.get("known")
        self.start.load({k.removeprefix("start."): v for k, v in state.items() if k != "known"})


def distillation(own: Tensor, old: Tensor, temperature: float) -> Tensor:
    """Mean over rows of −Σ_i softmax(old / T)_i · log softmax(own / T)_i; logits (B, C)."""
    return torch.nn.functional.cross_entropy(own / temperature, (old / temperature).softmax(1))
