"""Mixup: rows are mixed in pairs, inputs and labels alike."""

from __future__ import annotations

from tlresearch.config.errors import fail, require
from tlresearch.config.registry import register
from tlresearch.core.method import Method
from tlresearch.core.model import Model
from tlresearch.core.types import Batch, Clock, Spec
from tlresearch.nn.mixing import draw, mixed


@register("method", "mixup")
class Mixup(Method):
    """Trains on λ x_a + (1 − λ) x_b with λ L(y_a) + (1 − λ) L(y_b) (Zhang et al., 2018, arXiv:1710.09412, section 1).

    One λ ~ Beta(α, α) a step (and a rank); a row's partner is the one before it in the batch, which is in random order
    already (as torchvision does it). Inputs are mixed before the backbone's own augmentation and normalisation; rows
    from the unlabelled set are left alone. Images and vectors only: token numbers cannot be mixed.

    Args:
        alpha: α, at least 0; 0 is plain fine-tuning. The paper takes 0.2 to 0.4 on ImageNet, 1 on CIFAR-10.
    """

    batch_coupled = True

    neutral = {"alpha": 0.0}

    def __init__(self, *, alpha: float = 0.2) -> None:
        require(alpha >= 0, "alpha", alpha, "a number of at least 0")
        self.alpha = alpha

    def setup(self, model: Model, spec: Spec) -> None:
        """Refuses what cannot be mixed."""
        if spec.modality == "text":
            fail("", "mixup", "mixes inputs number by number, and these are texts; leave it out")

    def batch(self, model: Model, batch: Batch, clock: Clock) -> Batch:
        """Mixed inputs with soft labels."""
        if not self.alpha:
            return batch
        share = draw(self.alpha)
        return mixed(model, batch, share, lambda x, partners: share * x + (1 - share) * partners)
