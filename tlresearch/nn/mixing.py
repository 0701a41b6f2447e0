"""Rows mixed in pairs, with their labels: what mixup and cutmix share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tlresearch.core.batching import one_hot
from tlresearch.core.model import Model
from tlresearch.core.types import UNLABELLED, Batch

Mix = Callable[[Tensor, Tensor], Tensor]


def draw(alpha: float) -> float:
    """λ from Beta(α, α), by torch's generator as torchvision does."""
    both = torch.tensor(alpha)
    return float(torch.distributions.Beta(both, both).sample(()))


def mixed(model: Model, batch: Batch, share: float, mix: Mix) -> Batch:
    """Every row with the one before it, the first with the last; its loss is λ · L(y_a) + (1 − λ) · L(y_b).

    share: λ, what is left of a row's own label. mix: (x, partners) → inputs, of equal shapes. Rows from the unlabelled
    set stay as they are. Labels become soft ones, in which cross entropy is linear; of a regression the targets are
    mixed, which changes the squared error by a constant. Weights of rows are weights of their loss, and are mixed, too.
    """
    x = batch.x
    assert isinstance(x, Tensor)
    own = (batch.origin != UNLABELLED).nonzero().flatten()
    partners = own.roll(1)
    x = x.float() if x.dtype == torch.uint8 else x.clone()
    x[own] = mix(x[own], x[partners])
    shares = share * batch.weight[own], (1 - share) * batch.weight[partners]
    weight = batch.weight.clone()
    weight[own] = shares[0] + shares[1]
    y = {}
    for task, labels in batch.y.items():
        soft = softened(model, task, labels)
        parts = [s.view(-1, *[1] * (soft.ndim - 1)) for s in (*shares, weight[own].clamp(min=1e-12))]
        rows = soft.clone()
        rows[own] = (parts[0] * soft[own] + parts[1] * soft[partners]) / parts[2]
        y[task] = rows
    return batch._replace(x=x, y=y, weight=weight, activations={})


def softened(model: Model, task: str, y: Tensor) -> Tensor:
    """Ids (B,) → (B, C), zeros where unlabelled; soft labels and targets of a regression as they are."""
    if y.is_floating_point():
        return y
    return one_hot(y, len(model.labels[task]))
