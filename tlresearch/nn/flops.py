"""Counting floating-point operations without looking at modules."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode


class _Whole:
    """In place of torch's module tracker, whose hooks break backward passes of networks that hand parameters to modules
    as inputs (DeBERTa's relative positions)."""

    parents = frozenset({"Global"})

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def _convolution_backward(
    grad_shape: Sequence[int], x_shape: Sequence[int], w_shape: Sequence[int], *rest: Any, **_: Any
) -> int:
    """Each of the gradients of input and weight costs what the forward pass does.

    torch's own formula leaves groups out of the weight's gradient: of a depthwise convolution it counts that gradient
    as many times as there are channels.
    """
    transposed, mask = rest[4], rest[7]
    places = math.prod((x_shape if transposed else grad_shape)[2:])
    return 2 * x_shape[0] * places * math.prod(w_shape) * (int(mask[0]) + int(mask[1]))


class FlopCounter(FlopCounterMode):
    """Counts what is computed inside: `with FlopCounter() as counter: …; counter.get_total_flops()`.

    Matrix products, convolutions and attention, a multiplication and an addition as two; nothing else.
    """

    def __init__(self) -> None:
        super().__init__(display=False, custom_mapping={torch.ops.aten.convolution_backward: _convolution_backward})
        self.mod_tracker: Any = _Whole()
