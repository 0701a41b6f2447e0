"""Where attention, feed-forward and convolution sit within a block, told by structure and the usual names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from torch import nn

from tlresearch.nn.added import base, modules

_FEED_FORWARD = re.compile(r"^(mlp|ffn?|feed_?forward|densereludense)", re.IGNORECASE)
_ATTENTION = re.compile(r"att(n|ention)(?!_(block|grid))", re.IGNORECASE)
_OUTPUT = re.compile(r"(^|\.)(proj|out_proj|o_proj|c_proj|out_lin|dense|wo|o|out)$", re.IGNORECASE)
_ASIDE = re.compile(r"(^|\.)(downsample|shortcut|skip|se|squeeze\w*|gate|bottleneck)(\.|$)")


class Layer(NamedTuple):
    """A linear layer or a convolution. name: within the block; inputs, outputs: its widths."""

    name: str
    module: nn.Module
    inputs: int
    outputs: int

    @property
    def convolution(self) -> bool:
        """Whether its width is dimension 1 instead of the last one."""
        return isinstance(base(self.module), nn.Conv2d)


class Sublayer(NamedTuple):
    """first: the layer that reads its input; last: the projection that gives its output."""

    first: Layer
    last: Layer


class Sublayers(NamedTuple):
    """Of one block, in order; main: the layers that are in none of them and not beside the block's main path."""

    attention: list[Sublayer]
    feed_forward: list[Sublayer]
    main: list[Layer]


def layers(block: nn.Module) -> list[Layer]:
    """Every linear layer and convolution of a block, in order of definition."""
    found = []
    for name, module in modules(block):
        widths = _widths(base(module))
        if widths is not None:
            found.append(Layer(name, module, *widths))
    return found


def sublayers(block: nn.Module) -> Sublayers:
    """Attention: what lies below a module called so. Feed-forward: likewise, or two or more linear layers in a row."""
    attention: dict[str, list[Layer]] = {}
    feed_forward: dict[str, list[Layer]] = {}
    main: list[Layer] = []
    runs, after = [list[Layer]()], ""
    for layer in layers(block):
        kind, owner = _owner(layer.name)
        if after != owner:
            runs.append([])
        after = owner
        if kind == "attention":
            attention.setdefault(owner, []).append(layer)
        elif kind == "feed_forward":
            feed_forward.setdefault(owner, []).append(layer)
        elif not _ASIDE.search(layer.name):
            main.append(layer)
            runs[-1].append(layer)
    heads = [[layer for layer in group if not layer.convolution] for group in attention.values()]
    found = [Sublayer(group[0], _output(group)) for group in heads if len(group) > 1]
    pairs = [group for group in feed_forward.values() if len(group) > 1]
    for run in runs if found else []:  # BERT's intermediate.dense and output.dense belong to no module of their own
        if len(run) > 1 and not any(layer.convolution for layer in run):
            pairs.append(run)
            main = [layer for layer in main if layer not in run]
    return Sublayers(found, [Sublayer(group[0], group[-1]) for group in pairs], main)


def _widths(module: nn.Module) -> tuple[int, int] | None:
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if isinstance(module, nn.Conv2d):
        return module.in_channels, module.out_channels
    if type(module).__name__ == "Conv1D":  # GPT-2's linear layer, with its weight the other way round
        return module.nx, module.nf  # type: ignore[return-value]
    return None


def _owner(name: str) -> tuple[str, str]:
    """What a layer belongs to, and the name of the outermost module that says so."""
    parts = name.split(".")[:-1]
    for i, part in enumerate(parts):
        for kind, pattern in (("feed_forward", _FEED_FORWARD), ("attention", _ATTENTION)):
            if pattern.search(part):
                return kind, ".".join(parts[: i + 1])
    return "", ""


def _output(group: Sequence[Layer]) -> Layer:
    """The output projection: by its name, for some define other layers after it; the last one otherwise."""
    named = [layer for layer in group if _OUTPUT.search(layer.name)]
    return (named or group)[-1]
