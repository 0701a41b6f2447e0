"""The contract of a predictor: answers without training; passes the Trainer by."""

from __future__ import annotations

from torch import Tensor

from tlresearch.core.rows import Rows
from tlresearch.core.types import Stage


class Predictor:
    """A plugin is written as `__init__(self, task, *, its own options)`."""

    def fit(self, stage: Stage) -> None:
        """Looks at the labelled rows of a stage (examples for a prompt, class frequencies)."""

    def predict(self, rows: Rows) -> Tensor:
        """(B, C) logits or log-likelihoods, or numbers (B, 1), one row each; labels of `rows` are masked."""
        raise NotImplementedError
