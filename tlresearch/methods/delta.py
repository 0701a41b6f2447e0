"""DELTA: feature maps stay near those of the starting model, the important channels most."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

from tlresearch.config.errors import choose, fail, require
from tlresearch.config.registry import register
from tlresearch.core.kinds import kind_of
from tlresearch.core.method import Batches, Method
from tlresearch.core.model import Model
from tlresearch.core.prefix import frozen_depth
from tlresearch.core.types import Batch, Clock, Output, Spec, Stage
from tlresearch.nn.channel_attention import channel_attention
from tlresearch.nn.maps import Maps, by_channel
from tlresearch.nn.starting import Starting

NAME = "delta"


@register("method", "delta")
class Delta(Method):
    """Regularises feature maps with channel attention (Li et al., 2019, arXiv:1901.09229, section 3).

    Adds α · mean over rows of Σ_z C_z Σ_j W_z,j · mean over places of (FM_z,j(ω) − FM_z,j(ω⁰))² over the last `blocks`
    blocks z and their C_z channels j, as far as they can move; ω⁰ is the model at the stage's start, run in evaluation
    mode on the very inputs of the step, augmented as they are. Padded tokens do not count.

    The weights W_z sum to 1. The paper: W_z,j = softmax_j(L(ω⁰ without j) − L(ω⁰)), L being the loss of a classifier
    fitted on the frozen features first. Here that classifier is a logistic regression on `samples` training rows, and
      attention=gradient: the rise of the loss is taken to first order, −∂L/∂FM_j · FM_j summed over places (Molchanov
        et al., 2017, arXiv:1611.06440), in one backward pass instead of one forward pass a channel;
      attention=ablation: as in the paper, each channel set to zero in turn, a pass over the samples for each of them;
      attention=uniform: W = 1 / C_z, which needs no labels and is plain feature-map regularisation.
    Deviations: one attention for all rows, not one a row (as in the authors' code); the mean over places instead of the
    sum and the factor C_z, so that α does not depend on sizes; β‖w_new‖² is left to the optimizer's weight decay.

    Memory: one copy of what trains, and as much again beside the best weights so far; the feature maps of both models
    of one batch. Time: one forward pass more a step.

    Args:
        strength: α, at least 0.
        attention: gradient, ablation or uniform.
        blocks: how many of the deepest blocks are held; null = all.
        samples: training rows that the attention is measured on, at least 1.
    """

    conflicts = frozenset({"probe"})  # nothing of the backbone moves there

    neutral = {"strength": 0.0}

    training_only = True

    def __init__(
        self,
        *,
        strength: float = 0.01,
        attention: Literal["gradient", "ablation", "uniform"] = "gradient",
        blocks: int | None = None,
        samples: int = 256,
    ) -> None:
        require(strength >= 0, "strength", strength, "a number of at least 0")
        require(blocks is None or blocks >= 1, "blocks", blocks, "an integer of at least 1, or null")
        require(samples >= 1, "samples", samples, "an integer of at least 1")
        self.attention = choose("attention", attention, ("gradient", "ablation", "uniform"))
        self.strength, self.blocks, self.samples = strength, blocks, samples
        self.start = Starting()
        self.weights: dict[int, Tensor] = {}
        """Depth of a block → W_z (C,); a block that is not in it has equal ones."""

    def setup(self, model: Model, spec: Spec) -> None:
        """Makes room for what the blocks return."""
        there = len(model.backbone.blocks())
        require(self.blocks is None or self.blocks <= there, "blocks", self.blocks, f"at most {there}, or null")
        if self.attention != "uniform" and not any(kind_of(task).classes for task in spec.tasks):
            fail("attention", self.attention, "needs a task with classes; use attention=uniform")
        model.aux[NAME] = Maps()

    def on_stage_start(self, model: Model, stage: Stage, batches: Batches) -> None:
        """Copies what is about to move, and measures the attention."""
        self.start.begin(model.backbone)
        watched(model).attach(model.backbone)
        self.weights = {}
        tasks = [task.name for task in stage.tasks if kind_of(task).classes]
        if self.attention != "uniform" and self.strength and tasks:
            exact = self.attention == "ablation"
            self.weights = channel_attention(model, watched(model), batches, tasks, self.samples, exact=exact)

    def batch(self, model: Model, batch: Batch, clock: Clock) -> Batch:
        """The same rows; watches the blocks of a run that goes on in the middle of a stage, too."""
        watched(model).attach(model.backbone)
        return batch

    def loss(self, model: Model, batch: Batch, out: Output, clock: Clock) -> dict[str, Tensor]:
        """The weighted squared distance of the feature maps."""
        self.start.see(model.backbone)
        maps = watched(model)
        inputs, own = maps.take()
        total = out.features.pooled.new_zeros(())
        first = self._first(model)
        if inputs is None or first is None:
            return {"distance": total}
        with maps.watching():
            self.start(model.backbone, inputs)
        _, old = maps.take()
        for depth in sorted(own):
            if depth >= first:
                total = total + self._distance(depth, own[depth], old[depth], out.features.mask)
        return {"distance": self.strength * total}

    def _first(self, model: Model) -> int | None:
        """Depth of the first block that is held; None where none moves."""
        front, there = frozen_depth(model.backbone), len(model.backbone.blocks())
        return None if front is None else max(front, there - (self.blocks or there)) + 1

    def _distance(self, depth: int, own: Tensor, old: Tensor, mask: Tensor | None) -> Tensor:
        squares = (by_channel(own) - by_channel(old)).square()  # (B, L, C)
        weights = self.weights.get(depth)
        weighted = squares.sum(2) if weights is None else squares @ (len(weights) * weights.to(squares.dtype))
        if mask is not None and mask.shape == weighted.shape:
            return (weighted * mask).sum(1).div(mask.sum(1).clamp(min=1)).mean()
        return weighted.mean()

    def state_dict(self) -> dict[str, Any]:
        """The starting weights by name and the attention by depth."""
        weights = {f"attention.{depth}": tensor for depth, tensor in self.weights.items()}
        return {**weights, **{f"start.{name}": tensor for name, tensor in self.start.tensors.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes both over."""
        parts: dict[str, dict[str, Tensor]] = {"start": {}, "attention": {}}
        for key, tensor in state.items():
            part, name = key.split(".", 1)
            parts[part][name] = tensor
        self.start.load(parts["start"])
        self.weights = {int(depth): tensor for depth, tensor in parts["attention"].items()}


def watched(model: Model) -> Maps:
    """Where a model that `setup` has seen keeps what its blocks return."""
    maps = model.aux[NAME]
    assert isinstance(maps, Maps)
    return maps
