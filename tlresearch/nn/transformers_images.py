"""Images as a network of transformers wants them, by the image processor that its folder brings along."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import transformers
from torch import Tensor

from tlresearch.config.errors import fail
from tlresearch.nn.images import to_pil
from tlresearch.nn.transformers_network import reason


class ImageReader:
    """An image → uint8 pixels (3, H, W), resized and cropped as the checkpoint's processor says.

    size: pixels a side in place of the checkpoint's, None = its own.
    mean, std: (3, 1, 1) on the scale 0 … 255: (pixels − mean) / std is what the processor gives to the network.
    """

    def __init__(self, source: str, size: int | None) -> None:
        try:
            self.processor: Any = transformers.AutoImageProcessor.from_pretrained(source, trust_remote_code=False)
        except (OSError, ValueError, KeyError, ImportError) as error:
            fail("model", source, f"has no usable preprocessor_config.json ({reason(error, source)})")
        if size is not None:
            _resize(self.processor, size)
        factor = self.processor.rescale_factor if self.processor.do_rescale else 1.0
        normalises = self.processor.do_normalize
        mean = self.processor.image_mean if normalises else [0.0] * 3
        std = self.processor.image_std if normalises else [1.0] * 3
        self.mean, self.std = (torch.tensor(values).view(-1, 1, 1) / factor for values in (mean, std))

    def __call__(self, value: Any) -> Tensor:
        made = self.processor(to_pil(value, 3), do_rescale=False, do_normalize=False, return_tensors="pt")
        pixels: Tensor = made["pixel_values"][0]
        return pixels.round().clamp(0, 255).to(torch.uint8)


def _resize(processor: Any, side: int) -> None:
    """The processor's sizes in the same proportion, and what it gives out `side` pixels high and wide."""
    size, crop = _plain(processor.size), _plain(getattr(processor, "crop_size", None))
    cropped = crop is not None and getattr(processor, "do_center_crop", False)
    own = (crop if cropped else size) or {}
    before = own.get("height") or own.get("shortest_edge") or side
    if size is not None:
        processor.size = type(processor.size)(**{key: round(value * side / before) for key, value in size.items()})
    if crop is not None:
        processor.crop_size = type(processor.crop_size)(**dict.fromkeys(crop, side))


def _plain(size: Any) -> dict[str, int] | None:
    """A size as numbers by name; None where there is none."""
    if size is None or isinstance(size, int):
        return None
    found: Mapping[str, Any] = dict(size)
    return {key: value for key, value in found.items() if value is not None}
