"""RandAugment: a few random operations of one magnitude on every image."""

from __future__ import annotations

from torchvision.transforms import v2

from tlresearch.config.errors import require
from tlresearch.config.registry import register
from tlresearch.core.method import Method
from tlresearch.core.model import Model
from tlresearch.core.types import Batch, Clock, Spec
from tlresearch.nn.augmenting import augmented, check_images

BINS = 31


@register("method", "rand_augment")
class RandAugment(Method):
    """N operations of magnitude M out of 14, drawn for every image anew (Cubuk et al., 2020, arXiv:1909.13719, sec. 3).

    torchvision's `v2.RandAugment` on each training image as the data give it, before the backbone's own augmentation
    and normalisation. Rows from the unlabelled set are left alone. It runs image by image on the batch's device, within
    the step: on one CPU core 0.2 ms an image of 32 pixels a side, 1.3 ms of 224.

    Args:
        operations: N, at least 0; 0 is plain fine-tuning.
        magnitude: M, an integer of 0 … 30.
    """

    batch_coupled = True  # not its loss, but what is drawn: every rank draws for its own rows

    neutral = {"operations": 0}

    def __init__(self, *, operations: int = 2, magnitude: int = 9) -> None:
        require(operations >= 0, "operations", operations, "an integer of at least 0")
        require(0 <= magnitude < BINS, "magnitude", magnitude, f"an integer of 0 … {BINS - 1}")
        self.operations = operations
        self.augment = v2.RandAugment(operations, magnitude, BINS)

    def setup(self, model: Model, spec: Spec) -> None:
        """Refuses what is no image."""
        check_images("rand_augment", spec)

    def batch(self, model: Model, batch: Batch, clock: Clock) -> Batch:
        """The same rows, their images changed."""
        return augmented(batch, self.augment) if self.operations else batch
