"""Co-Tuning: the checkpoint's own classifier learns along, on the source categories that target classes resemble."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tlresearch.config.errors import choose, fail, require
from tlresearch.config.registry import register
from tlresearch.core.distributed import gather
from tlresearch.core.kinds import kind_of
from tlresearch.core.labels import labelled
from tlresearch.core.method import Batches, Method
from tlresearch.core.model import Model
from tlresearch.core.types import Batch, Clock, Output, Spec, Stage
from tlresearch.nn.starting import at_rest

NAME = "co_tuning"
INVERSE_STRENGTHS = (1e4, 3e3, 1e3, 3e2, 1e2, 3e1, 1e1, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01)
"""What the authors' code tries for scikit-learn's C."""


@register("method", "co_tuning")
class CoTuning(Method):
    """Transfer of the source classifier, too (You et al., 2020, Co-Tuning for Transfer Learning, NeurIPS, section 3).

    Adds λ · mean over rows of −Σ_s p(s | y_t) log softmax(G_s(F(x)))_s, where F is the backbone, G_s a copy of the
    checkpoint's own classifier (`Backbone.pretrained_head`), trained along, and p(s | y_t) the relationship between
    source categories and target classes, estimated at the stage's start from the labels and p(s | x) =
    softmax(G_s(F(x)) / T) of the training rows:
      relation=direct: the mean of p(s | x) over the rows of class y_t;
      relation=reverse: p(y_t | s) p(s) / p(y_t), where p(y_t | s) is what a logistic regression from p(s | x) to y_t
        answers to the source category itself, its strength chosen on the validation rows, and p(s) the mean p(s | x).
    Deviation: the paper calibrates G_s on source data, which are not here; T stands for it. Rows without a label count
    nothing, soft labels mix the relationships. Refused where the backbone's weights bring no classifier along.

    Memory: the copy of the classifier with its optimizer state, S · D numbers each; no copy of the backbone.

    Args:
        strength: λ, at least 0; the paper takes 2.3.
        relation: direct or reverse.
        temperature: T above 0; the authors' code takes 1.25.
    """

    conflicts = frozenset({"probe"})  # nothing of the backbone moves there

    neutral = {"strength": 0.0}

    training_only = True

    def __init__(
        self, *, strength: float = 2.3, relation: Literal["direct", "reverse"] = "reverse", temperature: float = 1.25
    ) -> None:
        require(strength >= 0, "strength", strength, "a number of at least 0")
        require(temperature > 0, "temperature", temperature, "a number above 0")
        self.strength, self.temperature = strength, temperature
        self.relation = choose("relation", relation, ("direct", "reverse"))
        self.related: dict[str, Tensor] = {}
        """Task → p(s | y_t), (classes, S)."""

    def setup(self, model: Model, spec: Spec) -> None:
        """A copy of the checkpoint's classifier becomes part of the model."""
        head = model.backbone.pretrained_head
        if head is None:
            message = "needs the checkpoint's own classifier, and this backbone's weights bring none; leave it out"
            fail("", NAME, message)
        if not any(kind_of(task).classes for task in spec.tasks):
            fail("", NAME, f"needs a task with classes, and {spec.tasks[0].name!r} has none; leave it out")
        model.aux[NAME] = copy.deepcopy(head).requires_grad_(True)

    def on_stage_start(self, model: Model, stage: Stage, batches: Batches) -> None:
        """Estimates the relationship of every task with classes."""
        tasks = [task.name for task in stage.tasks if kind_of(task).classes]
        train, validation = (self._answers(model, batches(split), tasks) for split in ("train", "validation"))
        self.related = {}
        for task in tasks:
            classes = len(model.labels[task])
            own = train[task]
            found = direct(*own, classes) if self.relation == "direct" else reverse(own, validation[task], classes)
            self.related[task] = found.to(next(model.parameters()).device)

    def loss(self, model: Model, batch: Batch, out: Output, clock: Clock) -> dict[str, Tensor]:
        """One term a task, named after it."""
        terms: dict[str, Tensor] = {}
        logits = model.aux[NAME](out.features.pooled)
        for task, related in self.related.items():
            y = batch.y[task]
            soft = y @ related if y.is_floating_point() else related[y.clamp(min=0)]
            losses = F.cross_entropy(logits, soft, reduction="none")
            terms[task] = self.strength * (losses * labelled(y)).mean()
        return terms

    def _answers(self, model: Model, rows: Iterable[Batch], tasks: list[str]) -> dict[str, tuple[Tensor, Tensor]]:
        """Task → p(s | x) (N, S) and y (N,) of the labelled rows of all ranks, on the CPU."""
        probabilities, labels = [], []
        with at_rest(model), torch.no_grad():
            for batch in rows:
                logits = model.aux[NAME](model(batch.x, batch.activations).features.pooled)
                probabilities.append((logits.double() / self.temperature).softmax(1).cpu())
                labels.append({task: batch.y[task].cpu() for task in tasks})
        everyone = gather((probabilities, labels))
        p = torch.cat([part for own, _ in everyone for part in own])
        y = {task: torch.cat([part[task] for _, own in everyone for part in own]) for task in tasks}
        return {task: (p[labelled(y[task])], y[task][labelled(y[task])]) for task in tasks}

    def state_dict(self) -> dict[str, Any]:
        """The relationships by task."""
        return dict(self.related)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes them over."""
        self.related = dict(state)


def direct(p: Tensor, y: Tensor, classes: int) -> Tensor:
    """p(s | y_t) as the mean of p(s | x) (N, S) over the rows of each class; (classes, S), even where it has no row."""
    counts = y.bincount(minlength=classes)
    sums = torch.zeros(classes, p.shape[1], dtype=p.dtype).index_add_(0, y, p)
    means = sums / counts.clamp(min=1).unsqueeze(1)
    return torch.where(counts.unsqueeze(1) > 0, means, torch.full_like(means, 1 / p.shape[1])).float()


def reverse(train: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor], classes: int) -> Tensor:
    """p(s | y_t) by Bayes' rule from a logistic regression that answers p(y_t | s)."""
    from sklearn.linear_model import LogisticRegression

    p, y = (tensor.numpy() for tensor in train)
    present = np.unique(y)
    if len(present) < 2:
        return direct(*train, classes)  # one class: Bayes' rule gives p(s), and that is its mean
    fitted = [LogisticRegression(C=c, max_iter=2000, random_state=0).fit(p, y) for c in INVERSE_STRENGTHS]
    held = [tensor.numpy() for tensor in validation]
    best = max(fitted, key=lambda one: one.score(*held))  # of equals the least regularised
    joint = best.predict_proba(np.eye(p.shape[1])).T * p.mean(0)  # (present, S)
    found = torch.full((classes, p.shape[1]), 1 / p.shape[1])
    found[torch.from_numpy(present)] = torch.from_numpy(joint / joint.sum(1, keepdims=True)).float()
    return found
