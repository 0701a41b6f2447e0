"""L2-SP: weight decay towards the starting point."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tlresearch import Batch, Batches, Clock, Method, Model, Output, Stage, register, require


@register("method", "l2sp")
class L2SP(Method):
    """Keeps the backbone near the weights it started from (Li et al., 2018, arXiv:1802.01483, equation 2).

    Adds Ω(w) = α/2 · ‖w − w⁰‖² over the trainable weights of the backbone; w⁰ are those at the start of the stage, so
    that in a stream each stage stays near the one before. Deviation: the paper's second term, β/2 · ‖w_new‖² on the
    new layers, is left to the optimizer's weight decay.

    Args:
        strength: α, at least 0; the paper searches 0.001 to 0.1.
    """

    conflicts = frozenset({"probe"})  # nothing of the backbone moves there

    neutral = {"strength": 0.0}

    def __init__(self, *, strength: float = 0.01) -> None:
        require(strength >= 0, "strength", strength, "a number of at least 0")
        self.strength = strength
        self.start: dict[str, Tensor] = {}

    def on_stage_start(self, model: Model, stage: Stage, batches: Batches) -> None:
        self.start = {name: p.detach().clone() for name, p in model.backbone.named_parameters()}

    def loss(self, model: Model, batch: Batch, out: Output, clock: Clock) -> dict[str, Tensor]:
        distance = out.features.pooled.new_zeros(())
        for name, parameter in model.backbone.named_parameters():
            if parameter.requires_grad:
                distance = distance + (parameter - self.start[name]).square().sum()
        return {"distance": self.strength / 2 * distance}

    def state_dict(self) -> dict[str, Any]:
        return dict(self.start)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.start = dict(state)
