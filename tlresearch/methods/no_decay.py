"""No weight decay on biases and normalisation layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import nn

from tlresearch.config.registry import register
from tlresearch.core.method import Method
from tlresearch.core.model import Model
from tlresearch.core.types import Clock
from tlresearch.nn.roles import biases, norms


@register("method", "no_decay")
class NoDecay(Method):
    """Leaves biases, and scales and shifts of normalisation layers, out of the optimizer's weight decay.

    As in the training of BERT (Devlin et al., 2019, arXiv:1810.04805, in their code) and of ResNets (He et al., 2019,
    arXiv:1812.01187, section 3.1): decay pulls towards 0, which for a scale is no simpler a function than 1. It holds
    for backbone, heads and the modules of other methods alike.
    """

    def groups(self, model: Model, clock: Clock) -> Iterable[tuple[Iterable[nn.Parameter], Mapping[str, float]]]:
        """One group without decay."""
        exempt = {id(p): p for p in (*biases(model).values(), *norms(model).values())}
        return [(list(exempt.values()), {"weight_decay": 0.0})]
