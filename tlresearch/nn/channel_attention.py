"""How much a classifier needs each channel of a backbone's blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tlresearch.core.batching import take
from tlresearch.core.distributed import gather, mean_over_ranks, ranks
from tlresearch.core.labels import labelled
from tlresearch.core.method import Batches
from tlresearch.core.model import Model
from tlresearch.core.types import Batch
from tlresearch.nn.maps import Maps, by_channel, channel_dimension
from tlresearch.nn.starting import at_rest

Classifiers = Mapping[str, nn.Linear]


def channel_attention(
    model: Model, maps: Maps, batches: Batches, tasks: Sequence[str], samples: int, *, exact: bool
) -> dict[int, Tensor]:
    """Depth of a block → softmax over its channels of how much the loss rises without each, (C,).

    The loss is that of a logistic regression a task on pooled features, fitted on the same `samples` training rows.
    exact: each channel is set to zero in turn; otherwise the rise is taken to first order.
    """
    rows = list(_first(batches("train"), -(-samples // ranks())))
    count = sum(batch.rows for batch in rows)
    rises: dict[int, Tensor] = {}
    with at_rest(model), maps.watching(), _reached(model.backbone):
        classifiers = _classifiers(model, rows, tasks)
        for batch in rows:
            found = first_order(model, maps, batch, classifiers)
            if exact:
                found = {depth: ablated(model, depth, len(rise), batch, classifiers) for depth, rise in found.items()}
            for depth, rise in found.items():
                rises[depth] = rises.get(depth, torch.zeros_like(rise)) + rise / count
        maps.take()
    return {depth: mean_over_ranks(rise).softmax(0) for depth, rise in rises.items()}


def first_order(model: Model, maps: Maps, batch: Batch, classifiers: Classifiers) -> dict[int, Tensor]:
    """−Σ over rows and places of ∂L/∂a · a for each channel of every block that gradients reach, by depth."""
    with torch.enable_grad():
        loss = _loss(model, batch, classifiers)
        reached = {depth: a for depth, a in maps.take()[1].items() if a.requires_grad}
        gradients = torch.autograd.grad(loss, list(reached.values()), allow_unused=True)
    return {
        depth: -by_channel(gradient * a.detach()).sum((0, 1))
        for (depth, a), gradient in zip(reached.items(), gradients, strict=True)
        if gradient is not None
    }


@torch.no_grad()
def ablated(model: Model, depth: int, channels: int, batch: Batch, classifiers: Classifiers) -> Tensor:
    """L without a channel − L, summed over rows, for each channel of one block: (C,)."""
    block, whole = model.backbone.blocks()[depth - 1], _loss(model, batch, classifiers)
    rises = []
    for channel in range(channels):
        with _without(block, channel):
            rises.append(_loss(model, batch, classifiers) - whole)
    return torch.stack(rises)


@contextmanager
def _reached(backbone: nn.Module) -> Iterator[None]:
    """Gradients reach every block inside, those that rest for now as well: they may thaw."""
    resting = [p for p in backbone.parameters() if p.is_floating_point() and not p.requires_grad]
    for parameter in resting:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter in resting:
            parameter.requires_grad_(False)


@contextmanager
def _without(block: nn.Module, channel: int) -> Iterator[None]:
    def silence(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        first = output[0] if isinstance(output, tuple) else output
        index = torch.tensor([channel], device=first.device)
        first = first.index_fill(channel_dimension(first), index, 0.0)
        return (first, *output[1:]) if isinstance(output, tuple) else first

    handle = block.register_forward_hook(silence)
    try:
        yield
    finally:
        handle.remove()


def _loss(model: Model, batch: Batch, classifiers: Classifiers) -> Tensor:
    """The classifiers' cross entropy, summed over labelled rows."""
    pooled = model(batch.x).features.pooled
    losses = [F.cross_entropy(c(pooled), batch.y[task], reduction="sum") for task, c in classifiers.items()]
    return torch.stack(losses).sum()


def _classifiers(model: Model, rows: Sequence[Batch], tasks: Sequence[str]) -> dict[str, nn.Linear]:
    with torch.no_grad():
        features = torch.cat([model(batch.x).features.pooled for batch in rows])
    found = {}
    for task in tasks:
        y = torch.cat([batch.y[task] for batch in rows])
        own = (features[labelled(y)].cpu(), y[labelled(y)].cpu())
        x, ids = (torch.cat(parts) for parts in zip(*gather(own), strict=True))
        found[task] = logistic_regression(x, ids, len(model.labels[task])).to(features.device)
    return found


def logistic_regression(x: Tensor, y: Tensor, classes: int) -> nn.Linear:
    """Softmax regression on features (N, D) and ids (N,): mean cross entropy + ‖W‖² / 2N, minimised by L-BFGS."""
    layer = nn.Linear(x.shape[1], classes, device=x.device)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        with torch.enable_grad():
            loss = F.cross_entropy(layer(x), y) + layer.weight.square().sum() / (2 * len(x))
            loss.backward()
        return loss

    optimizer.step(closure)
    return layer.requires_grad_(False)


def _first(batches: Any, count: int) -> Iterator[Batch]:
    for batch in batches:
        if count > 0:
            yield take(batch, slice(0, count))
        count -= batch.rows
