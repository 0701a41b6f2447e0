"""Full fine-tuning: everything moves."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from tlresearch.config.registry import register
from tlresearch.core.method import Method
from tlresearch.core.model import Model
from tlresearch.core.types import Clock


@register("method", "finetune")
class FineTune(Method):
    """Trains every parameter of the backbone, which is also what happens without any method.

    It says "everything", so it is left out of a run's identity beside methods without an opinion on what moves, and
    refused beside those that have one.
    """

    neutral = {}

    def trainable(self, model: Model, clock: Clock) -> Iterable[nn.Parameter] | None:
        """All parameters of the backbone."""
        return model.backbone.parameters()
