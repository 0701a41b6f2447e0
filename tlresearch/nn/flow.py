"""What a network calls when, seen in one pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn


class Flow(NamedTuple):
    """order: numbers of the blocks as they were called first; behind: modules called only after the last block."""

    order: tuple[int, ...]
    behind: frozenset[str]


@torch.no_grad()
def flow(network: nn.Module, blocks: Sequence[nn.Module], run: Callable[[], Any]) -> Flow:
    """Watches one pass. What is read without being called (tables of positions) is thus never behind."""
    order: dict[int, None] = {}
    before, behind = set[str](), set[str]()
    inside = {id(module) for block in blocks for module in block.modules()}

    def enter(name: str) -> None:
        (behind if len(order) == len(blocks) and name not in before else before).add(name)

    hooks = [block.register_forward_hook(lambda *_, i=i: order.setdefault(i)) for i, block in enumerate(blocks)]
    hooks += [
        module.register_forward_pre_hook(lambda *_, n=name: enter(n))
        for name, module in network.named_modules()
        if id(module) not in inside
    ]
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.random.fork_rng(devices=[]):
            run()
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
    return Flow(tuple(order), frozenset(behind - before))
