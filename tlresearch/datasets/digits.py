"""Handwritten digits that come with scikit-learn: real, small, there without any download."""

from __future__ import annotations

import torch

from tlresearch.config.registry import register
from tlresearch.core.dataset import Dataset
from tlresearch.core.rows import Rows
from tlresearch.core.sampling import Sampling
from tlresearch.core.types import Spec, Stream, Task


@register("dataset", "digits")
class Digits(Dataset):
    """1,797 grey images of 8 x 8 pixels, 10 classes (Alpaydin and Kaynak, 1998, UCI; the test part of that set).

    Inputs: uint8 (1, 8, 8), the original 17 grey levels 0 … 16 stretched to 0 … 255 (rounded).
    """

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling

    def stream(self) -> Stream:
        """One stage with all digits, split as the options say."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = torch.from_numpy(digits.images * 255 / 16).round().to(torch.uint8).unsqueeze(1)
        task = Task("digit", "classification", tuple(str(name) for name in digits.target_names))
        rows = Rows(images, {task.name: torch.from_numpy(digits.target).long()})
        return Stream(Spec("image", (1, 8, 8), (task,)), (self.sampling.stage("digits", (task,), rows, None, None),))
