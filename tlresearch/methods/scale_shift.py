"""A scale and a shift behind every layer."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

from tlresearch.config.errors import fail
from tlresearch.config.registry import register
from tlresearch.core.method import Method
from tlresearch.core.model import Model
from tlresearch.core.types import Clock, Spec
from tlresearch.nn.added import Added, base, chosen_blocks, modules, surround
from tlresearch.nn.sublayers import layers


@register("method", "scale_shift")
class ScaleShift(Method):
    """y = γ ⊙ x + β behind every linear layer, convolution and norm of the blocks (Lian et al., 2022, arXiv:2210.08823,
    eq. 3); the pretrained weights rest.

    γ and β have a number for each channel. They can be folded into the layer: W' = γ ⊙ W, b' = γ ⊙ b + β (eq. 5).
    Where timm joins a norm with its activation, they stand between the two. γ = 1 and β = 0 at the start, where the
    paper draws them around these values: the network starts as it was. Patch embedding and final norm, which lie
    outside of the blocks, have none.

    Args:
        blocks: all, or a regular expression that is searched in the names of the backbone's blocks.
    """

    learning_rate = 3e-3  # the paper's are 1e-3 to 1e-2 with AdamW
    head_learning_rate = 3e-3

    def __init__(self, *, blocks: str = "all") -> None:
        self.blocks = blocks
        self._parameters: list[nn.Parameter] = []

    def setup(self, model: Model, spec: Spec) -> None:
        """Puts a scale and a shift behind every layer of the blocks."""
        places: dict[int, tuple[nn.Module, int, int]] = {}
        for name, block in chosen_blocks(model.backbone, self.blocks).items():
            there = {id(place[0]): place for place in _places(block)}
            if not there:
                fail("blocks", self.blocks, f"block {name!r} has no linear layer, convolution or norm; leave it out")
            places |= there
        for module, channels, dimension in places.values():
            added = Affine(channels, dimension)
            module.add_module("scale_shift", added)
            surround(module, added.behind)
            self._parameters += added.parameters()

    def trainable(self, model: Model, clock: Clock) -> Iterable[nn.Parameter] | None:
        """Scales and shifts alone."""
        return self._parameters


class Affine(Added):
    """x → γ ⊙ x + β along a dimension: 1 or the last one."""

    def __init__(self, channels: int, dimension: int) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.dimension = dimension

    def forward(self, x: Tensor) -> Tensor:
        """Of x's own type, also where scale and shift are wider."""
        shape = [-1, *[1] * (x.ndim - 2)] if self.dimension == 1 else [-1]
        return x * self.scale.to(x.dtype).view(shape) + self.shift.to(x.dtype).view(shape)

    def behind(self, layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """The layer, scaled and shifted."""
        return self.forward(layer(x))


def _places(block: nn.Module) -> Iterator[tuple[nn.Module, int, int]]:
    """(module, its channels, their dimension) of all that is scaled and shifted."""
    for layer in layers(block):
        yield layer.module, layer.outputs, 1 if layer.convolution else -1
    for _, module in modules(block):
        norm = base(module)
        weight = getattr(norm, "weight", None)
        if "norm" in type(norm).__name__.lower() and isinstance(weight, Tensor) and weight.ndim == 1:
            between = getattr(module, "drop", None) if hasattr(module, "act") else None
            yield between or module, len(weight), 1 if _channels_first(norm) else -1


def _channels_first(norm: nn.Module) -> bool:
    """Whether a norm's channels are dimension 1; timm says so in the names of its own."""
    kinds = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm)
    return isinstance(norm, kinds) or re.search(r"2d$", type(norm).__name__, re.IGNORECASE) is not None
