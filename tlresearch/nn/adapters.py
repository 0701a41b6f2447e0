"""Networks with peft's adapter layers → plain networks."""

from __future__ import annotations

import copy
from typing import TypeVar

from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

N = TypeVar("N", bound=nn.Module)


def without_adapters(network: N, *, merge: bool = True) -> N:
    """A copy in which adapted layers are plain ones again: with the update added to their weights, or without it."""
    plain = copy.deepcopy(network)
    for name, layer in list(plain.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            if merge:
                layer.merge()
            parent, _, child = name.rpartition(".")
            setattr(plain.get_submodule(parent), child, layer.get_base_layer())
    return plain


def adapted(network: nn.Module) -> list[str]:
    """The names of the layers that carry an adapter."""
    return [name for name, layer in network.named_modules() if isinstance(layer, BaseTunerLayer)]
