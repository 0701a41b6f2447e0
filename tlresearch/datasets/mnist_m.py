"""MNIST-M: digits blended with patches of photos, made here as the paper says."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np
import torch
from torch import Tensor

from tlresearch.config.cache import location
from tlresearch.config.errors import ConfigError, Problem, fail, require
from tlresearch.config.registry import register
from tlresearch.core.dataset import Dataset, find, single_stage
from tlresearch.core.rows import Rows
from tlresearch.core.sampling import Sampling
from tlresearch.core.types import Stream
from tlresearch.nn import image_files

RECIPE = 1
"""Grows with every change of `blend`, so that what an older one has made is not taken for this one's."""


@register("dataset", "mnist_m")
class MNISTM(Dataset):
    """70,000 coloured digits of 28 x 28 pixels: MNIST over photos (Ganin et al., 2016, arXiv:1505.07818, sec. 5.2.4).

    Each digit is |patch − digit|, channel by channel, of a patch of 28 x 28 pixels that is drawn anew for each digit
    from the photos: photo, row and column uniformly. Inputs: uint8 (3, 28, 28); row numbers and splits are MNIST's.
    The published files are not reproducible (their draws are unknown): give `patch_seed` with results.

    What is made (165 MB for the whole of MNIST) is kept in the user's cache folder (XDG_CACHE_HOME, else ~/.cache),
    below tlresearch/mnist_m, by recipe: its version, the seed and the hashes of digits and photos. A damaged file is
    made anew. JPEG decoders may differ by a grey level; the fingerprint of the data then tells.

    path: folder of MNIST's four files; photos_path: folder of the photos (the paper's: BSDS500).
    patch_seed: draws the patches, at least 0; equal for all runs of a comparison.
    """

    def __init__(
        self,
        sampling: Sampling,
        data_dir: Path | None,
        *,
        path: str = "mnist/MNIST/raw",
        photos_path: str = "bsds500/train",
        patch_seed: int = 0,
    ) -> None:
        require(patch_seed >= 0, "patch_seed", patch_seed, "an integer of at least 0")
        self.sampling, self.data_dir, self.patch_seed = sampling, data_dir, patch_seed
        self.path = find("path", path, data_dir)
        self.photos_path = find("photos_path", photos_path, data_dir)

    def stream(self) -> Stream:
        """One stage, MNIST's but for the inputs."""
        try:
            spec, stage = single_stage("mnist", {"path": str(self.path)}, self.sampling, self.data_dir)
        except ConfigError as error:
            own = (Problem(p.key.removeprefix("base_arguments."), p.message) for p in error.problems)
            raise ConfigError(*own) from error
        digits = stage.train.inputs
        assert isinstance(digits, Tensor)
        height, width = digits.shape[2:]
        images = self._images(digits.numpy()[:, 0], _photos(self.photos_path, height, width))

        def blended(rows: Rows) -> Rows:
            return Rows(images, rows.labels, rows.domain, rows.index, rows.weight, rows.positions)

        parts = (blended(rows) for rows in (stage.train, stage.validation, stage.test))
        train, validation, test = parts
        stage = stage._replace(name="mnist_m", train=train, validation=validation, test=test)
        return Stream(spec._replace(input_shape=(3, height, width)), (stage,))

    def _images(self, digits: np.ndarray, photos: Sequence[Path]) -> Tensor:
        """The blended digits (N, 3, H, W), out of the cache where they are there."""
        recipe = {
            "recipe": RECIPE,
            "patch_seed": self.patch_seed,
            "digits": _sha256(digits),
            "photos": [hashlib.sha256(photo.read_bytes()).hexdigest() for photo in photos],
        }
        key = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:16]
        place = location().parent / "mnist_m" / f"{key}.safetensors"
        found = _load(place)
        if found is None:
            found = torch.from_numpy(blend(digits, [_pixels(photo) for photo in photos], self.patch_seed))
            _save(place, found)
        return found


def blend(digits: np.ndarray, photos: Sequence[np.ndarray], seed: int) -> np.ndarray:
    """|patch − digit| per channel: digits (N, H, W) and photos (h, w, 3) of at least H x W, all uint8 → (N, 3, H, W).

    Of three draws of numpy's default generator for each digit the first chooses the photo, the others the corner.
    """
    count, height, width = digits.shape
    draws = np.random.default_rng(seed).random((count, 3))
    chosen = (draws[:, 0] * len(photos)).astype(np.int64)
    images = np.empty((count, 3, height, width), np.uint8)
    for number, photo in enumerate(photos):
        mine = np.flatnonzero(chosen == number)
        room = np.array([photo.shape[0] - height + 1, photo.shape[1] - width + 1])
        for i, (top, left) in zip(mine, (draws[mine, 1:] * room).astype(np.int64), strict=True):
            patch = photo[top : top + height, left : left + width].transpose(2, 0, 1).astype(np.int16)
            images[i] = np.abs(patch - digits[i])
    return images


def _photos(folder: Path, height: int, width: int) -> list[Path]:
    """All photos below a folder, by name; raises ConfigError where there is none or one is too small or unreadable."""
    photos = image_files.find(folder).images if folder.is_dir() else []
    if not photos:
        fail("photos_path", str(folder), "is no folder with images; give the folder of the photos (BSDS500's train)")
    for photo in photos:
        try:
            with image_files.header(photo) as image:
                across, down = image.size
        except Exception as error:  # decoders raise what they like
            fail("photos_path", str(photo), f"cannot be read ({error}); mend or remove it")
        if across < width or down < height:
            fail("photos_path", str(photo), f"has {across} x {down} pixels, too few for a patch of {width} x {height}")
    return photos


def _pixels(photo: Path) -> np.ndarray:
    try:
        return np.array(image_files.read(photo, 3))
    except ValueError as error:
        fail("photos_path", str(photo), f"cannot be read ({error}); mend or remove it")


def _sha256(array: np.ndarray) -> str:
    return hashlib.sha256(f"{array.shape} ".encode() + np.ascontiguousarray(array).tobytes()).hexdigest()


def _load(place: Path) -> Tensor | None:
    """What was kept, None where there is nothing or its checksum is wrong."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(place, "pt") as file:
            images, checksum = file.get_tensor("images"), (file.metadata() or {}).get("sha256")
    except (OSError, SafetensorError):
        return None
    return images if _sha256(images.numpy()) == checksum else None


def _save(place: Path, images: Tensor) -> None:
    """Keeps it, in one step; a folder that cannot be written to only costs the time to make it again."""
    from safetensors.torch import save

    metadata: Mapping[str, str] = {"sha256": _sha256(images.numpy())}
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=place.parent, suffix=".partial", delete=False) as temporary:
            try:
                temporary.write(save({"images": images}, dict(metadata)))
            except OSError:
                os.unlink(temporary.name)
                raise
        os.replace(temporary.name, place)
    except OSError:
        return
