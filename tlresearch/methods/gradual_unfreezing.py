"""Gradual unfreezing: one block more moves every epoch, or whenever validation stalls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import nn

from tlresearch.config.errors import require
from tlresearch.config.registry import register
from tlresearch.core.method import Method
from tlresearch.core.metrics import falls
from tlresearch.core.model import Model
from tlresearch.core.types import Clock, Spec


@register("method", "gradual_unfreezing")
class GradualUnfreezing(Method):
    """Thaws the backbone from its deepest block on (Howard & Ruder, 2018, arXiv:1801.06146, section 3.3).

    In epoch e (from 0) the last ⌊e / epochs_per_block⌋ blocks move, so that the first epochs train the heads alone;
    stem and embeddings join after the first block. The paper's first epoch trains the last layer, which is the head.
    With `patience` a block thaws instead whenever the headline metric on validation has not become better for that
    many evaluations (`evaluate_every`), counted anew after each; the best value so far is kept. This is the rule by
    which torch's ReduceLROnPlateau lowers a rate, applied to the plan of the paper, which has epochs alone.

    Args:
        epochs_per_block: epochs between two blocks, at least 1.
        patience: evaluations without a better one before the next block thaws, at least 1; null = by epochs.
        blocks: how many blocks thaw in the end, from 1 to their number; null = all of them, and what lies before.
    """

    def __init__(self, *, epochs_per_block: int = 1, patience: int | None = None, blocks: int | None = None) -> None:
        require(epochs_per_block >= 1, "epochs_per_block", epochs_per_block, "an integer of at least 1")
        require(patience is None or patience >= 1, "patience", patience, "an integer of at least 1, or null for epochs")
        plain = patience is None or epochs_per_block == 1
        require(plain, "epochs_per_block", epochs_per_block, "left out with patience, which waits for validation")
        require(blocks is None or blocks >= 1, "blocks", blocks, "an integer of at least 1, or null for all")
        self.epochs_per_block, self.patience, self.blocks = epochs_per_block, patience, blocks

    def setup(self, model: Model, spec: Spec) -> None:
        """Refuses a plan that is longer than the blocks."""
        there, planned = len(model.backbone.blocks()), self.blocks
        allowed = f"at most {there}, the blocks of this backbone, or null for all"
        require(planned is None or planned <= there, "blocks", planned, allowed)

    def trainable(self, model: Model, clock: Clock) -> Iterable[nn.Parameter] | None:
        """Parameters as deep as the blocks that have thawed by now."""
        backbone = model.backbone
        depths, there = backbone.depths(), len(backbone.blocks())
        thawed = clock.epoch // self.epochs_per_block
        if self.patience is not None:
            thawed = stalls(clock.history, self.patience)
        frozen = there - (thawed if self.blocks is None else min(thawed, self.blocks))
        return [p for name, p in backbone.named_parameters() if depths[name] > frozen]


def stalls(history: Sequence[Mapping[str, float]], patience: int) -> int:
    """How often the headline metric has stood still for `patience` evaluations, by all evaluations so far."""
    best, waited, count = None, 0, 0
    for metrics in history:
        name, value = next(iter(metrics.items()))
        value = -value if falls(name) else value
        if value == value and (best is None or value > best):
            best, waited = value, 0
        else:
            waited += 1
        if waited == patience:
            waited, count = 0, count + 1
    return count
