"""Domain-adversarial training."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from tlresearch.config.errors import require
from tlresearch.config.registry import register
from tlresearch.core.method import Method
from tlresearch.core.model import Model
from tlresearch.core.types import REPLAYED, UNLABELLED, Batch, Clock, Output, Spec
from tlresearch.nn.gradient_reversal import reverse_gradient


@register("method", "dann")
class DANN(Method):
    """Features that a domain classifier cannot tell apart (Ganin et al., 2016, arXiv:1505.07818, eq. 9 and 17–18).

    Adds the cross entropy of a classifier of source (labelled rows) against target (unlabelled rows) behind a layer
    that reverses gradients, with λ_p = weight · (2 / (1 + exp(−γ p)) − 1), p the progress in [0, 1] (sec. 5.2.2).

    Args:
        weight: final λ ≥ 0; 0 trains the domain classifier and leaves the features alone.
        gamma: γ > 0, how fast λ rises (10 in the paper); 0 holds λ at `weight` from the start.
        width: hidden units of the domain classifier's two hidden layers, ≥ 1.
        share: unlabelled rows a batch, as a share of `batch_size`, > 0.
    """

    neutral = {"weight": 0.0}

    def __init__(self, *, weight: float = 1.0, gamma: float = 10.0, width: int = 100, share: float = 1.0) -> None:
        require(weight >= 0, "weight", weight, "a number of at least 0")
        require(gamma >= 0, "gamma", gamma, "a number of at least 0")
        require(width >= 1, "width", width, "an integer of at least 1")
        require(share > 0, "share", share, "a number above 0")
        self.weight, self.gamma, self.width, self.unlabelled = weight, gamma, width, share

    def setup(self, model: Model, spec: Spec) -> None:
        """Adds the domain classifier to the model."""
        model.aux["dann"] = nn.Sequential(
            nn.Linear(model.backbone.feature_dim, self.width),
            nn.ReLU(),
            nn.Linear(self.width, self.width),
            nn.ReLU(),
            nn.Linear(self.width, 1),
        )

    def factor(self, clock: Clock) -> float:
        """λ at this step."""
        if self.gamma == 0:
            return self.weight
        return self.weight * (2 / (1 + math.exp(-self.gamma * clock.progress)) - 1)

    def loss(self, model: Model, batch: Batch, out: Output, clock: Clock) -> dict[str, Tensor]:
        """The domain classifier's cross entropy over the rows of this stage, behind the reversed gradient."""
        pooled = reverse_gradient(out.features.pooled, self.factor(clock))
        logits = model.aux["dann"](pooled).squeeze(1)
        target = (batch.origin == UNLABELLED).to(logits.dtype)
        current = (batch.origin != REPLAYED).to(logits.dtype)  # replayed rows belong to neither domain of this stage
        losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        return {"domain": (losses * current).sum() / current.sum().clamp(min=1)}
