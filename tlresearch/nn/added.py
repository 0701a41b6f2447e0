"""Small modules that a method puts into a pretrained network, without renaming or replacing anything of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from torch import nn

from tlresearch.config.errors import fail
from tlresearch.core.backbone import Backbone


class Added(nn.Module):
    """What was put in. Other methods that look for layers to adapt leave it, and what is below it, alone."""


def surround(module: nn.Module, call: Callable[..., Any]) -> None:
    """From now on `module(…)` is `call(forward, …)`, where forward is what it was before.

    call: a bound method of something that belongs to the network, so that a copy of the network calls the copy's own.
    Blocks may be surrounded too: whoever replaces a block's forward (checkpointing, the cut of the feature cache)
    replaces this along with it, which a hook would survive.
    """
    module.forward = partial(call, module.forward)


def hand_over(layer: nn.Module, to: nn.Module) -> None:
    """What was put into a layer, and surrounds it, goes to another one that takes its place."""
    calls, forward = [], layer.__dict__.get("forward")
    while isinstance(forward, partial):
        calls.append(forward.func)
        forward = forward.args[0]
    for name, child in layer.named_children():
        if isinstance(child, Added):
            to.add_module(name, child)
    for call in reversed(calls):
        surround(to, call)


def modules(network: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Like `named_modules`, in order of definition, without what was put in and the inside of peft's layers."""
    yield prefix, network
    for name, child in network.named_children():
        if not isinstance(child, Added) and not is_peft(network):
            yield from modules(child, f"{prefix}.{name}" if prefix else name)


def is_peft(module: nn.Module) -> bool:
    """Whether it is a layer of peft, told without importing it."""
    return hasattr(module, "get_base_layer")


def base(module: nn.Module) -> nn.Module:
    """The layer that peft has wrapped; any other module itself."""
    found: nn.Module = module.get_base_layer() if is_peft(module) else module  # type: ignore[operator]
    return found


def chosen_blocks(backbone: Backbone, pattern: str, key: str = "blocks") -> dict[str, nn.Module]:
    """Name → block, shallow → deep, each once: all, or those in whose name the regular expression is found.

    Raises ConfigError for a pattern that is no regular expression, matches no block, or matches each of them.
    """
    names = {id(module): name for name, module in backbone.named_modules()}
    blocks = {names[id(block)]: block for block in backbone.blocks()}
    if pattern == "all":
        return blocks
    try:
        found = {name: block for name, block in blocks.items() if re.search(pattern, name)}
    except re.error as error:
        fail(key, pattern, f"no regular expression ({error}); give all, or one that is searched in names of blocks")
    if not found:
        fail(key, pattern, f"matches none of the backbone's blocks, which are {', '.join(blocks)}")
    if len(found) == len(blocks):
        fail(key, pattern, "matches every block of the backbone; say all, or name some of them")
    return found
