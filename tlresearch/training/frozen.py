"""Blocks that one method freezes by name and in which another one trains: nobody can have meant both."""

from __future__ import annotations

from collections.abc import Mapping

from tlresearch.config.errors import ConfigError, Problem
from tlresearch.core.method import Method, uses
from tlresearch.core.model import Model
from tlresearch.core.types import Clock
from tlresearch.nn.added import Added


def check_frozen(model: Model, methods: Mapping[str, Method], clock: Clock) -> None:
    """Raises ConfigError where a method's parameters move in a block that another method's option freezes whole."""
    freezing = {name: {id(p) for p in method.frozen} for name, method in methods.items() if list(method.frozen)}
    if not freezing:
        return
    moving = {
        name: {id(p) for p in method.trainable(model, clock) or ()}
        for name, method in methods.items()
        if uses(method, "trainable")
    }
    names = {id(module): name for name, module in model.backbone.named_modules()}
    for block in model.backbone.blocks():
        added = {id(p) for part in block.modules() if isinstance(part, Added) for p in part.parameters()}
        all_of_it = {id(p) for p in block.parameters()}
        for name, frozen in freezing.items():
            if not all_of_it - added <= frozen:
                continue
            for other, parameters in moving.items():
                if other != name and parameters & all_of_it:
                    message = f"{other!r} trains in block {names[id(block)]!r}, which {name!r} freezes by name"
                    raise ConfigError(Problem("method", f"{message}; leave the block out of one of them"))
