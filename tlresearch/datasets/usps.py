"""USPS: digits that the post read from envelopes."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import torch

from tlresearch.config.errors import fail
from tlresearch.config.registry import register
from tlresearch.core.dataset import Dataset, find
from tlresearch.core.rows import Rows
from tlresearch.core.sampling import Sampling
from tlresearch.core.types import Spec, Stream, Task

_ARRAYS = {"x_train": 3, "y_train": 1, "x_test": 3, "y_test": 1}


@register("dataset", "usps")
class USPS(Dataset):
    """9,298 grey digits of 16 x 16 pixels, 10 classes (Hull, 1994), in the split of Hastie, Tibshirani and Friedman.

    Ink is bright, as in MNIST, and fills the frame, as it does not there; the test set is harder than training.
    Inputs: uint8 (1, 16, 16). Row numbers: training rows in the file's order, then test rows.

    path: an .npz file with uint8 x_train, x_test (N, 16, 16) and labels y_train, y_test (N,), 0 to 9.
    """

    def __init__(self, sampling: Sampling, data_dir: Path | None, *, path: str = "usps/usps.npz") -> None:
        self.sampling = sampling
        self.path = find("path", path, data_dir)

    def stream(self) -> Stream:
        """One stage; the validation rows are split off the training rows."""
        arrays = self._read()
        images = torch.from_numpy(np.concatenate([arrays["x_train"], arrays["x_test"]])).unsqueeze(1)
        labels = torch.from_numpy(np.concatenate([arrays["y_train"], arrays["y_test"]]).astype(np.int64))
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) <= 9:
            fail("path", str(self.path), f"has labels {int(labels.min())} to {int(labels.max())}; digits are 0 to 9")
        task = Task("digit", "classification", tuple(map(str, range(10))))
        rows, first = Rows(images, {task.name: labels}), len(arrays["x_train"])
        train, test = rows.take(torch.arange(first)), rows.take(torch.arange(first, len(rows)))
        stage = self.sampling.stage("usps", (task,), train, None, test)
        return Stream(Spec("image", tuple(images.shape[1:]), (task,)), (stage,))

    def _read(self) -> dict[str, np.ndarray]:
        """The four arrays, with the shapes that they must have."""
        path = str(self.path)
        try:
            with np.load(self.path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in _ARRAYS if name in file}
        except (OSError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
            reason = str(error).partition("\n")[0]
            fail("path", path, f"is not a plain .npz file ({reason}); give one with {', '.join(_ARRAYS)}")
        missing = sorted(_ARRAYS.keys() - arrays.keys())
        if missing:
            fail("path", path, f"lacks {', '.join(missing)}; give an .npz file with {', '.join(_ARRAYS)}")
        for name, dimensions in _ARRAYS.items():
            array = arrays[name]
            if array.ndim != dimensions or array.dtype.kind not in "iu" or (dimensions == 3 and array.dtype != "uint8"):
                wanted = "uint8 (N, 16, 16)" if dimensions == 3 else "integers (N,)"
                fail("path", path, f"{name} is {array.dtype} {array.shape}; must be {wanted}")
        for split in ("train", "test"):
            images, labels = arrays[f"x_{split}"], arrays[f"y_{split}"]
            if len(images) != len(labels):
                fail("path", path, f"{len(images)} {split} images and {len(labels)} labels; they must be as many")
        if arrays["x_train"].shape[1:] != arrays["x_test"].shape[1:]:
            fail("path", path, "training and test images differ in size; they must be of one")
        return arrays
