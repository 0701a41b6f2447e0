"""MNIST, straight from its compressed files."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tlresearch.config.errors import fail
from tlresearch.config.registry import register
from tlresearch.core.dataset import Dataset, find
from tlresearch.core.rows import Rows
from tlresearch.core.sampling import Sampling
from tlresearch.core.types import Spec, Stream, Task

_FILES = {"train": "train", "test": "t10k"}
_BYTES = 0x08
"""The type that an idx file of pixels or labels names: unsigned byte."""


@register("dataset", "mnist")
class MNIST(Dataset):
    """70,000 grey digits of 28 x 28 pixels, 10 classes (LeCun, Cortes and Burges, 1998); the official test set.

    Inputs: uint8 (1, 28, 28). Row numbers: training rows in the files' order, then test rows.

    path: folder of the four files as published: {train,t10k}-{images-idx3,labels-idx1}-ubyte.gz.
    """

    def __init__(self, sampling: Sampling, data_dir: Path | None, *, path: str = "mnist/MNIST/raw") -> None:
        self.sampling = sampling
        self.path = find("path", path, data_dir)

    def stream(self) -> Stream:
        """One stage; the validation rows are split off the training rows."""
        parts = {split: self._part(prefix) for split, prefix in _FILES.items()}
        shapes = {tuple(images.shape[1:]) for images, _ in parts.values()}
        if len(shapes) > 1:
            fail("path", str(self.path), f"training and test images differ in size, {sorted(shapes)}; mend the files")
        task = Task("digit", "classification", tuple(map(str, range(10))))
        images, labels = (torch.cat(column) for column in zip(*parts.values(), strict=True))
        rows, first = Rows(images, {task.name: labels}), len(parts["train"][0])
        train, test = rows.take(torch.arange(first)), rows.take(torch.arange(first, len(rows)))
        stage = self.sampling.stage("mnist", (task,), train, None, test)
        return Stream(Spec("image", tuple(images.shape[1:]), (task,)), (stage,))

    def _part(self, prefix: str) -> tuple[Tensor, Tensor]:
        """Images (N, 1, H, W) and labels (N,) of one of the two sets."""
        images = read_idx(self.path / f"{prefix}-images-idx3-ubyte.gz", 3)
        labels = read_idx(self.path / f"{prefix}-labels-idx1-ubyte.gz", 1).long()
        if len(images) != len(labels):
            fail("path", str(self.path), f"{prefix} has {len(images)} images and {len(labels)} labels; mend the files")
        if len(labels) and int(labels.max()) > 9:
            fail("path", str(self.path), f"{prefix} has the label {int(labels.max())}; digits are 0 to 9")
        return images.unsqueeze(1), labels


def read_idx(file: Path, dimensions: int) -> Tensor:
    """The unsigned bytes of a gzip-compressed idx file: big-endian header (0, 0, type, dimensions, sizes), then data.

    Raises ConfigError under `path` for a file that is absent, damaged, or of another type or number of dimensions.
    """
    try:
        with gzip.open(file) as opened:
            content = opened.read()
    except FileNotFoundError:
        fail("path", str(file), "no such file; give the folder of the four published .gz files")
    except (OSError, EOFError, zlib.error) as error:
        fail("path", str(file), f"cannot be read ({error}); put an intact copy there")
    start = 4 + 4 * dimensions
    if content[:4] != bytes([0, 0, _BYTES, dimensions]) or len(content) < start:
        fail("path", str(file), f"is no idx file of bytes in {dimensions} dimensions; put the published file there")
    sizes = [int(size) for size in np.frombuffer(content, ">u4", dimensions, 4)]
    if len(content) - start != np.prod(sizes, dtype=np.int64):
        fail("path", str(file), f"holds {len(content) - start} bytes, not {sizes}; put an intact copy there")
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=start).reshape(sizes).copy())
