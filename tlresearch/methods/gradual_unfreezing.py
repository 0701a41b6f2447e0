"""Gradual unfreezing: one block more moves every epoch."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from tlresearch.config.errors import require
from tlresearch.config.registry import register
from tlresearch.core.method import Method
from tlresearch.core.model import Model
from tlresearch.core.types import Clock


@register("method", "gradual_unfreezing")
class GradualUnfreezing(Method):
    """Thaws the backbone from its deepest block on (Howard & Ruder, 2018, arXiv:1801.06146, section 3.3).

    In epoch e (from 0) the last ⌊e / epochs_per_block⌋ blocks move, so that the first epochs train the heads alone;
    stem and embeddings join after the first block. The paper's first epoch trains the last layer, which is the head.

    Args:
        epochs_per_block: epochs between two blocks, at least 1.
    """

    def __init__(self, *, epochs_per_block: int = 1) -> None:
        require(epochs_per_block >= 1, "epochs_per_block", epochs_per_block, "an integer of at least 1")
        self.epochs_per_block = epochs_per_block

    def trainable(self, model: Model, clock: Clock) -> Iterable[nn.Parameter] | None:
        """Parameters as deep as the blocks that have thawed by now."""
        backbone = model.backbone
        depths, there = backbone.depths(), len(backbone.blocks())
        frozen = there - clock.epoch // self.epochs_per_block
        return [p for name, p in backbone.named_parameters() if depths[name] > frozen]
