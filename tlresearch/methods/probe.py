"""Linear probing: the backbone stays as it is."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from tlresearch.config.registry import register
from tlresearch.core.method import Method
from tlresearch.core.model import Model
from tlresearch.core.types import Clock


@register("method", "probe")
class Probe(Method):
    """Trains the heads on frozen features (Alain & Bengio, 2016, arXiv:1610.01644); the whole backbone is at rest.

    A frozen backbone runs in evaluation mode: no dropout, BatchNorm statistics kept (`bn` says otherwise).
    """

    head_learning_rate = 3e-3  # features at rest bear more than features that move: chosen on validation, see LOG.md

    def trainable(self, model: Model, clock: Clock) -> Iterable[nn.Parameter] | None:
        """Nothing: the backbone stays frozen."""
        return ()
