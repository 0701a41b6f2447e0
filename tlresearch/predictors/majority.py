"""The most frequent class: what can be had without looking at the input."""

from __future__ import annotations

import torch
from torch import Tensor

from tlresearch.config.errors import fail
from tlresearch.config.registry import register
from tlresearch.core.predictor import Predictor
from tlresearch.core.rows import Rows
from tlresearch.core.types import IGNORE, Stage, Task


@register("predictor", "majority")
class Majority(Predictor):
    """Predicts log class frequencies, the same for every row: chance level, which every other number has to beat.

    log((n_c + 1) / (N + C)) over the labelled training rows of the stage: Laplace's rule, so that a class without a row
    keeps a finite log-likelihood. Each `fit` starts anew.
    """

    def __init__(self, task: Task) -> None:
        if task.kind != "classification":
            fail("", task.kind, "the majority class needs a classification task; choose another predictor")
        self.task = task

    def fit(self, stage: Stage) -> None:
        """Counts the labels of the stage's training rows, one more each."""
        y = stage.train.labels[self.task.name]
        counts = torch.bincount(y[y != IGNORE], minlength=len(self.task.labels)).double() + 1
        self.log_frequencies = (counts / counts.sum()).log().float()

    def predict(self, rows: Rows) -> Tensor:
        """(B, C) log-likelihoods."""
        return self.log_frequencies.expand(len(rows), -1)
