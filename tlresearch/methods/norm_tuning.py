"""Tuning the normalisation layers alone."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from tlresearch.config.errors import ConfigError
from tlresearch.config.registry import register
from tlresearch.core.method import Method
from tlresearch.core.model import Model
from tlresearch.core.types import Clock, Spec
from tlresearch.nn.roles import norms


@register("method", "norm_tuning")
class NormTuning(Method):
    """Trains scale γ and shift β of every normalisation layer, y = γ · (x − μ) / σ + β, and the heads.

    For BatchNorm as in Frankle et al. (2021, arXiv:2003.00152, section 3), whose statistics then follow the new data
    (Mudrakarta et al., 2019, arXiv:1810.10703, section 3); for LayerNorm as in Zhao et al. (2023, arXiv:2312.11420).
    """

    learning_rate = 1e-3  # few parameters that bear more than a full matrix, as biases do
    head_learning_rate = 1e-3

    def __init__(self) -> None:
        self._parameters: list[nn.Parameter] = []

    def setup(self, model: Model, spec: Spec) -> None:
        """Finds the layers; refuses a backbone without any that has parameters."""
        self._parameters = list(norms(model.backbone).values())
        if not self._parameters:
            raise ConfigError("this backbone has no normalisation layer with parameters; use bitfit, lora or partial")

    def trainable(self, model: Model, clock: Clock) -> Iterable[nn.Parameter] | None:
        """Scales and shifts."""
        return self._parameters
