"""A linear layer on standardised features."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from tlresearch.config.registry import register
from tlresearch.core.backbone import Backbone
from tlresearch.core.head import Head
from tlresearch.core.types import Features, Task
from tlresearch.nn.linear import check_growth, grown


@register("head", "bn_linear")
class BNLinear(Head):
    """Logits = W BN(z) + b on the pooled features z (B, D), BN without scale and shift of its own.

    The linear probe of masked autoencoders (He et al., 2021, arXiv:2111.06377, appendix A.1): features of any scale
    bear the same learning rate. Of a regression it is the standardised target (B, 1). A batch of one row is normalised
    by the running statistics, as in evaluation.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"classification", "regression"})

    def __init__(self, backbone: Backbone, task: Task) -> None:
        super().__init__(task)
        self.labels = task.labels
        self.norm = nn.BatchNorm1d(backbone.feature_dim, affine=False, eps=1e-6)  # as in the authors' code
        self.output = nn.Linear(backbone.feature_dim, self.kind.outputs(task))

    def forward(self, features: Features) -> Tensor:
        """Pooled features → logits (B, C), or numbers (B, 1)."""
        z, norm = features.pooled, self.norm
        normed = norm(z) if len(z) > 1 else F.batch_norm(z, norm.running_mean, norm.running_var, eps=norm.eps)
        return self.kind(self.output(normed))

    def grow(self, task: Task) -> None:
        """Appends outputs for the new classes."""
        check_growth(self.labels, task.labels)
        self.labels = task.labels
        self.output = grown(self.output, len(task.labels))
