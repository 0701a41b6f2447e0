"""CutMix: a box of an image comes from another one, and so does its share of the label."""

from __future__ import annotations

import math

import torch

from tlresearch.config.errors import fail, require
from tlresearch.config.registry import register
from tlresearch.core.method import Method
from tlresearch.core.model import Model
from tlresearch.core.types import Batch, Clock, Spec
from tlresearch.nn.mixing import draw, mixed


@register("method", "cutmix")
class CutMix(Method):
    """Pastes a box of image b into image a: λ L(y_a) + (1 − λ) L(y_b) (Yun et al., 2019, arXiv:1905.04899, eq. 1, 2).

    λ ~ Beta(α, α) gives the box, √(1 − λ) of either side around a centre drawn evenly and cut off at the border; in the
    loss λ is the share of the image that is left, as in the authors' code. One box a step (and a rank); a row's partner
    is the one before it in the batch, which is in random order already (as torchvision does it). That comes before the
    backbone's own augmentation; rows from the unlabelled set are left alone. Images only.

    Args:
        alpha: α, at least 0; 0 is plain fine-tuning. The paper takes 1.
    """

    batch_coupled = True

    neutral = {"alpha": 0.0}

    def __init__(self, *, alpha: float = 1.0) -> None:
        require(alpha >= 0, "alpha", alpha, "a number of at least 0")
        self.alpha = alpha

    def setup(self, model: Model, spec: Spec) -> None:
        """Refuses what has no boxes."""
        if spec.modality != "image":
            fail("", "cutmix", f"cuts boxes out of images, and these data are of kind {spec.modality!r}; leave it out")

    def batch(self, model: Model, batch: Batch, clock: Clock) -> Batch:
        """Images with a box of their partner's, and soft labels."""
        if not self.alpha:
            return batch
        share = draw(self.alpha)
        height, width = batch.x.shape[-2:]  # type: ignore[union-attr]  # images are tensors
        across, down = int(torch.randint(width, (1,))), int(torch.randint(height, (1,)))
        half = 0.5 * math.sqrt(1 - share)
        left, right = max(across - int(half * width), 0), min(across + int(half * width), width)
        top, bottom = max(down - int(half * height), 0), min(down + int(half * height), height)
        left_over = 1 - (right - left) * (bottom - top) / (width * height)

        def paste(x: torch.Tensor, partners: torch.Tensor) -> torch.Tensor:
            x[..., top:bottom, left:right] = partners[..., top:bottom, left:right]
            return x

        return mixed(model, batch, left_over, paste)
