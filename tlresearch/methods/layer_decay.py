"""Layer-wise decay of the learning rate."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from torch import nn

from tlresearch.config.errors import require
from tlresearch.config.registry import register
from tlresearch.core.method import Method
from tlresearch.core.model import Model
from tlresearch.core.types import Clock


@register("method", "layer_decay")
class LayerDecay(Method):
    """Lets shallow layers learn more slowly (Clark et al., 2020, arXiv:2003.10555, appendix A).

    lr_d = lr · decay^(L − d) for a parameter at depth d of L blocks (0: the stem), the discriminative fine-tuning of
    Howard and Ruder (2018, arXiv:1801.06146, section 3.2). The last block, and what comes after it, learns at the full
    rate; heads have their own.

    Args:
        decay: the ratio of neighbouring rates, in (0, 1]; ULMFiT: 1 / 2.6, ELECTRA: 0.8 (base) and 0.9 (large).
    """

    conflicts = frozenset({"probe"})  # nothing of the backbone moves there

    neutral = {"decay": 1.0}

    def __init__(self, *, decay: float = 0.8) -> None:
        require(0 < decay <= 1, "decay", decay, "a number in (0, 1]")
        self.decay = decay

    def groups(self, model: Model, clock: Clock) -> Iterable[tuple[Iterable[nn.Parameter], Mapping[str, float]]]:
        """One group a depth."""
        depths = model.backbone.depths()
        members: defaultdict[int, list[nn.Parameter]] = defaultdict(list)
        for name, parameter in model.backbone.named_parameters():
            members[depths[name]].append(parameter)
        last = len(model.backbone.blocks())
        return [(members[depth], {"lr_scale": self.decay ** (last - depth)}) for depth in sorted(members)]
