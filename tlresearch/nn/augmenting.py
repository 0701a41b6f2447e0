"""Augmentations of torchvision, image by image, on a batch as it comes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tlresearch.config.errors import fail
from tlresearch.core.types import UNLABELLED, Batch, Spec


def check_images(method: str, spec: Spec) -> None:
    """Refuses data that are no images, or have other channels than grey or RGB."""
    if spec.modality != "image":
        fail("", method, f"changes images, and these data are of kind {spec.modality!r}; leave it out")
    if spec.input_shape is not None and spec.input_shape[0] not in (1, 3):
        fail("", method, f"changes grey or RGB images, and these have {spec.input_shape[0]} channels; leave it out")


def augmented(batch: Batch, augment: Callable[[Tensor], Tensor]) -> Batch:
    """Each image (C, H, W) of its own; rows from the unlabelled set stay as they are.

    Batches are uint8, 0 … 255; images that were mixed before are floats on the same scale, and are rounded for it.
    """
    x = batch.x
    assert isinstance(x, Tensor)
    images = x if x.dtype == torch.uint8 else x.round().clamp(0, 255).to(torch.uint8)
    chosen = (batch.origin != UNLABELLED).tolist()
    changed = torch.stack([augment(image) if own else image for image, own in zip(images, chosen, strict=True)])
    return batch._replace(x=changed.to(x.dtype), activations={})
