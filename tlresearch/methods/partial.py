"""Partial fine-tuning: the deepest blocks move."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from tlresearch.config.errors import require
from tlresearch.config.registry import register
from tlresearch.core.method import Method
from tlresearch.core.model import Model
from tlresearch.core.types import Clock, Spec


@register("method", "partial")
class Partial(Method):
    """Trains the last n blocks of the backbone and what lies behind them (Yosinski et al., 2014, arXiv:1411.1792).

    What lies in front is at rest, and where it pays its activations are computed once (`cache.features`).

    Args:
        blocks: n, from 0 (the final norm alone, where there is one) to the number of blocks.
    """

    def __init__(self, *, blocks: int = 2) -> None:
        require(blocks >= 0, "blocks", blocks, "an integer of at least 0")
        self.blocks = blocks

    def setup(self, model: Model, spec: Spec) -> None:
        """Refuses more blocks than there are."""
        there = len(model.backbone.blocks())
        require(self.blocks <= there, "blocks", self.blocks, f"at most {there}, the blocks of this backbone")

    def trainable(self, model: Model, clock: Clock) -> Iterable[nn.Parameter] | None:
        """Parameters of the last blocks, and those outside of blocks that come after the first of them."""
        backbone = model.backbone
        depths, there = backbone.depths(), len(backbone.blocks())
        inside = {id(p) for block in backbone.blocks() for p in block.parameters()}
        front = there - self.blocks
        return [
            p
            for name, p in backbone.named_parameters()
            if depths[name] > front or (depths[name] == there and id(p) not in inside)
        ]
