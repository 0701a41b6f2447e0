"""Networks with peft's adapter layers → plain networks."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from tlresearch.config.errors import ConfigError
from tlresearch.nn.added import Added, hand_over

N = TypeVar("N", bound=nn.Module)
METHODS = frozenset({"lora", "peft"})
"""The methods that put such layers into a backbone."""
SHARED = "peft_shared"
"""The module of a backbone that holds what its adapters share."""


def without_adapters(network: N, *, merge: bool = True) -> N:
    """A copy in which adapted layers are plain ones again: with the update added to their weights, or without it.

    Raises ConfigError for tuners whose update no plain layer can hold, or where another method acts below it.
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
                _merge(layer)
            below = layer.get_base_layer()  # merging may have put another one there
            hand_over(plain.get_submodule(name), below)
            parent, _, child = name.rpartition(".")
            setattr(plain.get_submodule(parent), child, below)
    for module in list(plain.modules()):
        if SHARED in module._modules:
            delattr(module, SHARED)
    return plain


def _merge(layer: BaseTunerLayer) -> None:
    try:
        with torch.no_grad():
            layer.merge()
    except (NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        kind = type(layer).__module__.removeprefix("peft.tuners.").partition(".")[0]
        raise ConfigError(f"the adapters of peft's {kind} cannot be merged into plain layers: {error}") from error


def adapted(network: nn.Module) -> list[str]:
    """The names of the layers that carry an adapter."""
    return [name for name, layer in network.named_modules() if isinstance(layer, BaseTunerLayer)]
