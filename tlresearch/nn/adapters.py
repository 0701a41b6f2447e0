"""Networks with peft's adapter layers → plain networks."""

from __future__ import annotations

import copy
from typing import TypeVar

from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from tlresearch.config.errors import ConfigError
from tlresearch.nn.added import Added, hand_over

N = TypeVar("N", bound=nn.Module)


def without_adapters(network: N, *, merge: bool = True) -> N:
    """A copy in which adapted layers are plain ones again: with the update added to their weights, or without it.

    Raises ConfigError where an update cannot be added, because another method acts on the layer below it.
    """
    plain = copy.deepcopy(network)
    for name, layer in list(plain.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            below = layer.get_base_layer()
            between = [child for child, module in below.named_children() if isinstance(module, Added)]
            if merge and between:
                message = f"stands between layer {name!r} and its LoRA, which cannot be merged; name it after LoRA"
                raise ConfigError(f"method {between[0]!r} {message} in method=[…]")
            if merge:
                layer.merge()
            hand_over(plain.get_submodule(name), below)
            parent, _, child = name.rpartition(".")
            setattr(plain.get_submodule(parent), child, below)
    return plain


def adapted(network: nn.Module) -> list[str]:
    """The names of the layers that carry an adapter."""
    return [name for name, layer in network.named_modules() if isinstance(layer, BaseTunerLayer)]
