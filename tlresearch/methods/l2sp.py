"""L2-SP: weight decay towards the starting point."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tlresearch.config.errors import require
from tlresearch.config.registry import register
from tlresearch.core.method import Batches, Method
from tlresearch.core.model import Model
from tlresearch.core.types import Batch, Clock, Output, Stage
from tlresearch.nn.starting import Starting


@register("method", "l2sp")
class L2SP(Method):
    """Keeps the backbone near the weights it started from (Li et al., 2018, arXiv:1802.01483, equation 2).

    Adds Ω(w) = α/2 · ‖w − w⁰‖² over the trainable weights of the backbone; w⁰ are those at the start of the stage (or
    when a weight begins to train, which is the same), so that in a stream each stage stays near the one before. With
    adapters it is the adapters' own weights that stay near theirs. Deviation: the paper's second term, β/2 · ‖w_new‖²
    on the new layers, is left to the optimizer's weight decay.

    Memory: w⁰, one copy of the backbone's trainable weights, and as much again beside the best weights so far.

    Args:
        strength: α, at least 0; the paper searches 0.001 to 0.1.
    """

    conflicts = frozenset({"probe"})  # nothing of the backbone moves there

    neutral = {"strength": 0.0}

    def __init__(self, *, strength: float = 0.01) -> None:
        require(strength >= 0, "strength", strength, "a number of at least 0")
        self.strength = strength
        self.start = Starting()

    def on_stage_start(self, model: Model, stage: Stage, batches: Batches) -> None:
        """Takes w⁰."""
        self.start.begin(model.backbone)

    def loss(self, model: Model, batch: Batch, out: Output, clock: Clock) -> dict[str, Tensor]:
        """α/2 times the squared distance."""
        self.start.see(model.backbone)
        distance = out.features.pooled.new_zeros(())
        for name, parameter in model.backbone.named_parameters():
            if parameter.requires_grad:
                distance = distance + (parameter - self.start.tensors[name]).square().sum()
        return {"distance": self.strength / 2 * distance}

    def state_dict(self) -> dict[str, Any]:
        """w⁰ by name."""
        return dict(self.start.tensors)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes w⁰ over."""
        self.start.load(state)
