"""Learned keys and values in front of those of every attention."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tlresearch.config.errors import ConfigError, require
from tlresearch.config.registry import register
from tlresearch.core.backbone import Backbone
from tlresearch.core.method import Method
from tlresearch.core.model import Model
from tlresearch.core.types import Clock, Spec
from tlresearch.nn.prefix_attention import ALLOWED, CHILD, Extension, extensible
from tlresearch.nn.trial import evaluation, example

CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.Sequential)
"""They attend to nothing, and mean their children."""


@register("method", "prefix")
class Prefix(Method):
    """Attention to [P_K, K] and [P_V, V] in every block: P_K and P_V are learned (Li & Liang, 2021, arXiv:2101.00190,
    section 4; as keys and values He et al., 2022, arXiv:2110.04366, eq. 5); all else rests.

    Every position sees the whole prefix, under padding and causal masks too, and it has no position itself: it stands
    behind rotary embeddings. With `hidden` P = W₂ tanh(W₁ E), as in the paper's section 4.3; each block has E, W₁ and
    W₂ of its own, where the paper shares E and W₁.

    Args:
        length: positions of the prefix, at least 1.
        hidden: units of the reparametrising network; null = P is learned itself.
    """

    learning_rate = 1e-2  # P is learned itself; small numbers want large steps (P-tuning v2 takes up to 1e-2)
    head_learning_rate = 3e-3
    keeps_outputs = False

    def __init__(self, *, length: int = 10, hidden: int | None = None) -> None:
        require(length >= 1, "length", length, "an integer of at least 1")
        require(hidden is None or hidden >= 1, "hidden", hidden, "an integer of at least 1, or null")
        self.length, self.hidden = length, hidden
        self._parameters: list[nn.Parameter] = []

    def setup(self, model: Model, spec: Spec) -> None:
        """Finds the attention of every block by trying the network, and puts prefixes there."""
        network = getattr(model.backbone, "network", None)
        if not isinstance(network, PreTrainedModel):
            raise ConfigError(f"{type(network or model.backbone).__name__} is no network of transformers; {ALLOWED}")
        extensible(network)
        for module, shape in _attentions(model.backbone, spec).items():
            prefix = KeysAndValues(self.length, shape, self.hidden)
            module.add_module(CHILD, prefix)
            self._parameters += prefix.parameters()

    def trainable(self, model: Model, clock: Clock) -> Iterable[nn.Parameter] | None:
        """The prefixes alone."""
        return self._parameters


class Shape(NamedTuple):
    """Of the keys and values of one attention: heads, and numbers a head."""

    heads: int
    keys: int
    values: int


class KeysAndValues(Extension):
    """P_K (H, P, D_K) and P_V (H, P, D_V), small at the start, so that every score of the prefix is near 0."""

    def __init__(self, length: int, shape: Shape, hidden: int | None) -> None:
        super().__init__()
        self.shape = shape
        width = shape.heads * (shape.keys + shape.values)
        self.embedding = nn.Parameter(torch.empty(length, width))
        nn.init.normal_(self.embedding, std=0.02)
        self.network = None
        if hidden is not None:
            self.network = nn.Sequential(nn.Linear(width, hidden), nn.Tanh(), nn.Linear(hidden, width))

    def forward(self) -> tuple[Tensor, Tensor]:
        """(1, H, P, D_K) and (1, H, P, D_V)."""
        found = self.embedding if self.network is None else self.network(self.embedding)
        heads, keys, values = self.shape
        both = found.view(1, len(found), heads, keys + values).transpose(1, 2)
        return both[..., :keys], both[..., keys:]

    def in_front(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """For every row of the batch."""
        keys, values = self()
        return keys.to(key.dtype).expand(len(key), -1, -1, -1), values.to(value.dtype).expand(len(value), -1, -1, -1)


class _Recorder(Extension):
    """Notes the shape of what an attention attends to, and leaves it."""

    seen: Shape | None = None

    def in_front(self, key: Tensor, value: Tensor) -> None:
        self.seen = Shape(key.shape[1], key.shape[3], value.shape[3])


def _attentions(backbone: Backbone, spec: Spec) -> dict[nn.Module, Shape]:
    """Every module of the blocks that attends, found on an example; raises ConfigError for a block without any."""
    blocks = {id(block): block for block in backbone.blocks()}
    inside = [module for block in blocks.values() for module in block.modules()]
    recorders = {module: _Recorder() for module in inside if not isinstance(module, CONTAINERS)}
    for module, recorder in recorders.items():
        module.add_module(CHILD, recorder)
    with evaluation(backbone):
        backbone(example(backbone, spec))
    for module in recorders:
        del module._modules[CHILD]
    found = {module: recorder.seen for module, recorder in recorders.items() if recorder.seen is not None}
    for block in blocks.values():
        if not any(module in found for module in block.modules()):
            name = type(block).__name__
            raise ConfigError(f"{name} of this backbone attends in a way of its own; {ALLOWED}")
    return found
