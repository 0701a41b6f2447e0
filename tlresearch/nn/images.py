"""Images as they come (files, PIL images, arrays, tensors) → uint8 tensors; shifts and flips per row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from tlresearch.config.errors import fail, require
from tlresearch.core.rows import Row
from tlresearch.core.types import Spec
from tlresearch.nn.image_files import MODES, plain, read


def fixed_shape(spec: Spec, image_size: int | None) -> tuple[int, ...]:
    """The one shape of all inputs: the data's own, or (C, image_size, image_size) for images, RGB where they vary."""
    require(image_size is None or image_size >= 1, "image_size", image_size, "an integer of at least 1, or null")
    if image_size is not None:
        require(spec.modality == "image", "image_size", image_size, f"null: the data are of kind {spec.modality!r}")
        return (spec.input_shape[0] if spec.input_shape else 3, image_size, image_size)
    if spec.input_shape is None:
        fail("image_size", image_size, "the images differ in size and this backbone needs one; give image_size=32")
    return spec.input_shape


def to_pil(value: Any, channels: int) -> Image.Image:
    """A path, PIL image, tensor (C, H, W) or (H, W), or array (H, W), (H, W, C) or (C, H, W) → PIL image, grey or RGB.

    Files and PIL images come upright and in 8 bits, as `image_files.plain` says; numbers are taken as 0 … 255.
    channels: 1 or 3. Raises ConfigError naming a file that cannot be read, ValueError for such a PIL image.
    """
    if isinstance(value, Path):
        try:
            return read(value, channels)
        except ValueError as error:
            fail("", str(value), f"is not a readable image ({error}); mend or remove the file")
    if isinstance(value, Image.Image):
        return plain(ImageOps.exif_transpose(value), channels)
    array = _bytes(value)
    if array.ndim == 3 and array.shape[0] in MODES and (isinstance(value, Tensor) or array.shape[2] not in MODES):
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    return plain(Image.fromarray(np.ascontiguousarray(array)), channels)


def to_pixels(value: Any, shape: tuple[int, ...]) -> Tensor:
    """Anything `to_pil` reads → uint8 (C, H, W) of exactly `shape`; resized (bilinear) where its size differs."""
    if isinstance(value, Tensor) and value.dtype == torch.uint8 and tuple(value.shape) == shape:
        return value
    channels, height, width = shape
    image = to_pil(value, channels)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(image)).reshape(height, width, channels).permute(2, 0, 1).contiguous()


def row_to_pixels(shape: tuple[int, ...]) -> Callable[[Row], Row]:
    """Preprocessing of a backbone whose images have one shape: a row → the same with `to_pixels` of its input."""

    def image(row: Row) -> Row:
        return {**row, "input": to_pixels(row["input"], shape)}

    return image


def shift(x: Tensor, most: int) -> Tensor:
    """Moves each image of (B, C, H, W) by up to `most` pixels either way; the edges are repeated."""
    rows, _, height, width = x.shape
    dtype = x.dtype
    padded = F.pad(x.float() if dtype == torch.uint8 else x, [most] * 4, mode="replicate").to(dtype)
    top, left = torch.randint(0, 2 * most + 1, (2, rows, 1, 1), device=x.device)
    down = torch.arange(height, device=x.device).view(1, -1, 1) + top
    across = torch.arange(width, device=x.device).view(1, 1, -1) + left
    which = torch.arange(rows, device=x.device).view(-1, 1, 1)
    return padded[which, :, down, across].permute(0, 3, 1, 2)


def flip(x: Tensor) -> Tensor:
    """Mirrors each image of (B, C, H, W) left to right with probability 1/2."""
    chosen = torch.rand(len(x), device=x.device) < 0.5
    return torch.where(chosen.view(-1, 1, 1, 1), x.flip(-1), x)


def _bytes(value: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
    array = value.numpy() if isinstance(value, Tensor) else np.asarray(value)
    return array if array.dtype == np.uint8 else array.round().clip(0, 255).astype(np.uint8)
