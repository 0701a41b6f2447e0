"""Kinds of tasks. Whoever has to know what a task's labels are asks `kind_of(task)`; nobody else compares names."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tlresearch.config.errors import fail, nearest
from tlresearch.core.labels import labelled
from tlresearch.core.ranking import calibration_error, one_against_rest, spearman
from tlresearch.core.types import IGNORE, Task


class Kind(nn.Module):
    """The class knows labels and metrics; an instance is the last part of one head, from its outputs to answers.

    Attributes:
        name: `Task.kind`.
        metrics: the names of what `measure` gives, the headline metric first.
        classes: every row has one of `Task.labels`; without them a row's label is a number.
    """

    name: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
    classes: ClassVar[bool]

    @property
    def unit(self) -> float:
        """How much of a logit counts as one, when two answers to the same row are compared."""
        return 1.0

    @staticmethod
    def outputs(task: Task) -> int:
        """How many numbers a head computes for a row."""
        raise NotImplementedError

    def prepare(self, y: Tensor) -> None:
        """Sees the labels (N,) of the head's first stage, before the first step."""

    def forward(self, outputs: Tensor) -> Tensor:
        """Outputs of a head's last layer → its logits."""
        return outputs

    def folded(self, layer: nn.Linear) -> nn.Linear:
        """A linear layer and what `forward` makes of its outputs, as one layer."""
        return layer

    def standardised(self, y: Tensor) -> Tensor:
        """Labelled targets (N,) as outputs that `forward` would turn into them."""
        raise NotImplementedError

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """Per row (B,), 0 for rows without a label."""
        raise NotImplementedError

    def predict(self, logits: Tensor) -> Tensor:
        """Logits → answers that can be compared with labels (B,)."""
        raise NotImplementedError

    @staticmethod
    def strata(y: Tensor) -> Tensor:
        """(N,) integers: rows with the same one are split in equal shares, those with IGNORE are not split."""
        raise NotImplementedError

    @staticmethod
    def score(predicted: Tensor, y: Tensor) -> float:
        """The headline metric of N rows, NaN for none."""
        raise NotImplementedError

    @staticmethod
    def measure(logits: Tensor, predicted: Tensor, y: Tensor) -> dict[str, float]:
        """What every evaluation measures on its rows, at least one: `metrics`."""
        raise NotImplementedError

    @staticmethod
    def measure_finally(logits: Tensor, y: Tensor) -> dict[str, float]:
        """What is asked of a finished run alone, by other names."""
        return {}

    def __call__(self, outputs: Tensor) -> Tensor:  # nn.Module's own returns Any
        logits: Tensor = super().__call__(outputs)
        return logits


class Classification(Kind):
    """One of several classes: logits (B, C), ids (B,) or soft labels (B, C), metrics in [0, 1]."""

    name = "classification"
    metrics = ("accuracy", "macro_f1")
    classes = True

    @staticmethod
    def outputs(task: Task) -> int:
        """C."""
        return len(task.labels)

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """Cross entropy; a soft row of zeros is unlabelled."""
        if y.is_floating_point():
            return F.cross_entropy(logits, y, reduction="none")
        return F.cross_entropy(logits, y, reduction="none", ignore_index=IGNORE)

    def predict(self, logits: Tensor) -> Tensor:
        """Ids (B,)."""
        return logits.argmax(-1)

    @staticmethod
    def strata(y: Tensor) -> Tensor:
        """The classes."""
        return y

    @staticmethod
    def score(predicted: Tensor, y: Tensor) -> float:
        """Accuracy."""
        return float((predicted == y).float().mean())

    @staticmethod
    def measure(logits: Tensor, predicted: Tensor, y: Tensor) -> dict[str, float]:
        """accuracy, and macro_f1: 2 TP / (2 TP + FP + FN), the mean over the classes that are true or predicted."""
        right = predicted == y
        given, answered, hits = (ids.bincount(minlength=logits.shape[1]) for ids in (y, predicted, y[right]))
        either = given + answered  # 2 TP + FP + FN
        occurs = either > 0
        return {
            "accuracy": float(right.double().mean()),
            "macro_f1": float((2 * hits[occurs] / either[occurs].double()).mean()),
        }

    @staticmethod
    def measure_finally(logits: Tensor, y: Tensor) -> dict[str, float]:
        """roc_auc and average_precision: one against the rest, the mean over the classes that occur; NaN for one only.

        calibration_error: the expected one over 15 bins (Guo et al., 2017, arXiv:1706.04599, eq. 3).
        top5_accuracy: where there are more than 10 classes.
        """
        probabilities, classes = logits.double().softmax(1), logits.shape[1]
        present, ids = y.unique(return_inverse=True)
        values = {"roc_auc": math.nan, "average_precision": math.nan}
        if len(present) > 1:
            areas, precisions = one_against_rest(probabilities[:, present], ids)
            values |= {"roc_auc": float(areas.mean()), "average_precision": float(precisions.mean())}
        if classes > 1:
            values["calibration_error"] = calibration_error(probabilities, y)
        if classes > 10:
            values["top5_accuracy"] = float((probabilities.topk(5).indices == y.unsqueeze(1)).any(1).double().mean())
        return values


class Regression(Kind):
    """A number: logits (B, 1) in the target's own unit, float32 targets (B,), NaN where unlabelled.

    f = μ + σ o with mean μ and standard deviation σ (1 where it is 0) of the targets that `prepare` saw, both buffers,
    and the loss ((f − y) / σ)²: a head learns o, the standardised target, so that no rate depends on the unit.
    """

    name = "regression"
    metrics = ("rmse", "mae", "r2", "spearman")
    classes = False
    mean: Tensor  # ()
    scale: Tensor  # ()

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))

    @property
    def unit(self) -> float:
        """σ."""
        return float(self.scale)

    @staticmethod
    def outputs(task: Task) -> int:
        """1."""
        return 1

    @torch.no_grad()
    def prepare(self, y: Tensor) -> None:
        """Takes mean and standard deviation of the labelled rows."""
        known = y[labelled(y)].double()
        if len(known):
            deviation = known.std(correction=0)
            self.mean.copy_(known.mean())
            self.scale.copy_(deviation if deviation > 0 else torch.ones(()))

    def forward(self, outputs: Tensor) -> Tensor:
        """Standardised (B, 1) → in the target's unit, in float32: half precision would lose the digits beside μ."""
        return self.mean + self.scale * outputs.float()

    def standardised(self, y: Tensor) -> Tensor:
        """(y − μ) / σ."""
        return (y - self.mean) / self.scale

    @torch.no_grad()
    def folded(self, layer: nn.Linear) -> nn.Linear:
        """σ W and σ b + μ, by float64."""
        whole = nn.Linear(layer.in_features, layer.out_features)
        scale, mean = self.scale.double(), self.mean.double()
        whole.weight.copy_(layer.weight.double() * scale)
        whole.bias.copy_(layer.bias.double() * scale + mean)
        return whole

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """Squared errors of the standardised target."""
        errors = torch.where(labelled(y), logits[:, 0] - y, 0.0)
        return (errors / self.scale).square()

    def predict(self, logits: Tensor) -> Tensor:
        """Numbers (B,)."""
        return logits[:, 0]

    @staticmethod
    def strata(y: Tensor) -> Tensor:
        """One for all labelled rows: they are split at random."""
        return torch.where(labelled(y), 0, IGNORE)

    @staticmethod
    def score(predicted: Tensor, y: Tensor) -> float:
        """Root mean squared error."""
        return float((predicted.double() - y.double()).square().mean().sqrt())

    @staticmethod
    def measure(logits: Tensor, predicted: Tensor, y: Tensor) -> dict[str, float]:
        """rmse and mae in the target's unit; r2 and Spearman's rank correlation, NaN where a side does not vary.

        All in float64.
        """
        guesses, truth = predicted.double(), y.double()
        errors, deviations = guesses - truth, truth - truth.mean()
        varies = [bool((values != values[0]).any()) for values in (guesses, truth)]
        return {
            "rmse": float(errors.square().mean().sqrt()),
            "mae": float(errors.abs().mean()),
            "r2": 1 - float(errors.square().sum() / deviations.square().sum()) if varies[1] else math.nan,
            "spearman": spearman(guesses, truth) if all(varies) else math.nan,
        }


KINDS: dict[str, type[Kind]] = {kind.name: kind for kind in (Classification, Regression)}


def kind_of(task: Task) -> type[Kind]:
    """What stands behind `Task.kind`; raises ConfigError for a kind that is none."""
    if task.kind not in KINDS:
        fail(f"task {task.name}", task.kind, f"unknown kind; {nearest(task.kind, KINDS)}")
    return KINDS[task.kind]
