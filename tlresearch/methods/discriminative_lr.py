"""Discriminative fine-tuning: the deeper a block lies, the faster it learns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Literal

from torch import nn

from tlresearch.config.errors import choose, require
from tlresearch.config.registry import register
from tlresearch.core.method import Method
from tlresearch.core.model import Model
from tlresearch.core.types import Clock


@register("method", "discriminative_lr")
class DiscriminativeLR(Method):
    """η^(l − 1) = η^l / factor from the head down (Howard & Ruder, 2018, arXiv:1801.06146, section 3.2).

    The head is layer L + 1 and keeps its rate η: the backbone at depth d of L blocks (0: the stem) learns with
    η / factor^(L + 1 − d). With `between=backbone` all of it learns with η / factor, as one layer below the head. With
    optimizer.lr=null η is the backbone's own recommendation, and the head's beside it is left as it is.

    Args:
        factor: the ratio of neighbouring rates, at least 1; 2.6 in the paper.
        between: blocks (a factor a block) or backbone (one factor between backbone and head).
    """

    conflicts = frozenset({"probe", "layer_decay"})  # nothing moves there; each depth's rate would be given twice

    neutral = {"factor": 1.0}

    def __init__(self, *, factor: float = 2.6, between: Literal["blocks", "backbone"] = "blocks") -> None:
        require(factor >= 1, "factor", factor, "a number of at least 1")
        self.factor, self.between = factor, choose("between", between, ("blocks", "backbone"))

    def groups(self, model: Model, clock: Clock) -> Iterable[tuple[Iterable[nn.Parameter], Mapping[str, float]]]:
        """One group a depth, or one for the whole backbone."""
        backbone = model.backbone
        if self.between == "backbone":
            return [(list(backbone.parameters()), {"lr_scale": 1 / self.factor})]
        depths, head = backbone.depths(), len(backbone.blocks()) + 1
        members: defaultdict[int, list[nn.Parameter]] = defaultdict(list)
        for name, parameter in backbone.named_parameters():
            members[depths[name]].append(parameter)
        return [(members[depth], {"lr_scale": self.factor ** (depth - head)}) for depth in sorted(members)]
