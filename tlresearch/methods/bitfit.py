"""BitFit: only the biases move."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from tlresearch.config.errors import ConfigError
from tlresearch.config.registry import register
from tlresearch.core.method import Method
from tlresearch.core.model import Model
from tlresearch.core.types import Clock, Spec
from tlresearch.nn.patterns import matching
from tlresearch.nn.roles import biases


@register("method", "bitfit")
class BitFit(Method):
    """Trains the bias terms of the backbone and the heads (Ben-Zaken et al., 2022, arXiv:2106.10199, section 3).

    Biases are b of every W x + b and of normalisation layers, in the backbone; W and scales rest.

    Args:
        targets: all, or a regular expression that is searched in the names of the biases; the paper's smaller set, the
            query's and the first feed-forward layer's, is `query|intermediate` in BERT.
    """

    learning_rate = 1e-3  # the paper searches 1e-4 to 1e-3 for BERT
    head_learning_rate = 1e-3

    def __init__(self, *, targets: str = "all") -> None:
        self.targets = targets
        self._parameters: list[nn.Parameter] = []

    def setup(self, model: Model, spec: Spec) -> None:
        """Finds the biases; refuses a backbone without any, and targets that choose none of them."""
        found = biases(model.backbone)
        if not found:
            raise ConfigError("this backbone has no bias; use norm_tuning, lora or partial instead")
        chosen = found if self.targets == "all" else matching("targets", self.targets, found, "bias of the backbone")
        self._parameters = [p for name, p in found.items() if name in chosen]  # a later method may rename modules

    def trainable(self, model: Model, clock: Clock) -> Iterable[nn.Parameter] | None:
        """The biases."""
        return self._parameters
