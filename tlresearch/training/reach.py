"""Finds the parameters that no loss reaches, before they upset ranks or pass for trained."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from tlresearch.core.batching import take
from tlresearch.core.method import Method
from tlresearch.core.model import Model
from tlresearch.core.seeding import seeded
from tlresearch.core.types import TRAIN, UNLABELLED, Batch, Clock
from tlresearch.nn.flops import FlopCounter
from tlresearch.training.gradients import Gradients, total

logger = logging.getLogger("tlresearch")
ROWS = 4
"""Rows of each origin in the trial batch: enough for BatchNorm, cheap."""


def freeze_unreached(
    model: Model, gradients: Gradients, methods: Mapping[str, Method], batch: Batch, clock: Clock
) -> tuple[list[str], float]:
    """One trial pass over a few rows: trainable parameters without a gradient are frozen and their names returned.

    The second value is the floating-point operations of forward and backward pass per row of the batch, rows that
    methods add (replay) counted among both.

    It leaves no trace: random states, buffers and the methods' state are put back.
    """
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    rows = [torch.nonzero(batch.origin == origin).flatten()[:ROWS] for origin in (TRAIN, UNLABELLED)]
    part = take(batch, torch.cat(rows))
    with leaving_no_trace(model, methods), seeded("reach"), FlopCounter() as counter:
        for method in methods.values():
            part = method.batch(model, part, clock)
        with gradients.precision():
            out = model(part.x, part.activations)
        terms = gradients.terms(part, out, clock)
        grads: dict[str, Tensor | None] = dict.fromkeys(trainable)
        passes = [total(terms)] if gradients.combiner is None else list(terms.values())  # as in a step
        for loss in passes:
            found = _gradients(loss, trainable, retain_graph=len(passes) > 1)
            grads = {name: g if found[name] is None else found[name] for name, g in grads.items()}
    unreached = [name for name, gradient in grads.items() if gradient is None]
    for name in unreached:
        trainable[name].requires_grad_(False)
    if unreached:
        logger.info("no loss reaches %d parameters, which stay frozen: %s", len(unreached), ", ".join(unreached))
    return unreached, counter.get_total_flops() / part.rows


@contextmanager
def leaving_no_trace(model: Model, methods: Mapping[str, Method]) -> Iterator[None]:
    """Buffers and the methods' state are put back afterwards."""
    states = {name: copy.deepcopy(method.state_dict()) for name, method in methods.items()}
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    yield
    for name, buffer in model.named_buffers():
        if not torch.equal(buffer, buffers[name]):
            buffer.copy_(buffers[name])
    for name, method in methods.items():
        if states[name]:
            method.load_state_dict(states[name])


def _gradients(loss: Tensor, trainable: Mapping[str, Tensor], *, retain_graph: bool) -> dict[str, Tensor | None]:
    if not loss.requires_grad:
        return dict.fromkeys(trainable)
    values = torch.autograd.grad(loss, list(trainable.values()), allow_unused=True, retain_graph=retain_graph)
    return dict(zip(trainable, values, strict=True))
