"""Bottleneck adapters in every block."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from tlresearch.config.errors import choose, fail, require
from tlresearch.config.registry import register
from tlresearch.core.method import Method
from tlresearch.core.model import Model
from tlresearch.core.types import Clock, Spec
from tlresearch.nn.added import Added, base, chosen_blocks, surround
from tlresearch.nn.sublayers import Layer, Sublayers, sublayers

Forward = Callable[[Tensor], Tensor]
FORMS = ("houlsby", "pfeiffer", "parallel")


@register("method", "adapter")
class Adapter(Method):
    """h + s · W_up ReLU(W_down x + b) + b_up with few units in between; the pretrained weights rest.

    houlsby: x = h is what the last projection of a sublayer gives, in front of dropout, residual and norm; after
    attention and after the feed-forward part (Houlsby et al., 2019, arXiv:1902.00751, section 2.1). pfeiffer: after the
    feed-forward part alone (Pfeiffer et al., 2020, arXiv:2005.00247, section 3.3). parallel: beside the feed-forward
    part, x is its input and h its output (He et al., 2022, arXiv:2110.04366, table 1).
    Convolutional blocks have adapters of 1×1 convolutions: pfeiffer behind the last layer of their main path (series,
    Rebuffi et al., 2017, arXiv:1705.08045), parallel beside every convolution wider than 1×1 (Rebuffi et al., 2018,
    arXiv:1803.10082, eq. 4); those of the papers are one linear map without a bottleneck.
    Of several feed-forward parts in a block the last one counts. W_up and b_up start at zero: the network starts as it
    was. ReLU is that of Pfeiffer and He in all forms.

    Args:
        form: houlsby, pfeiffer or parallel.
        reduction: the bottleneck has (width of h) // reduction units; from 1 to the smallest width there is.
        scale: s > 0; He et al. take 4 for parallel.
        blocks: all (that have a layer to stand at), or a regular expression that is searched in the names of the
            backbone's blocks.
    """

    learning_rate = 1e-3  # the middle of Houlsby's and Pfeiffer's ranges
    head_learning_rate = 3e-3  # as beside LoRA, which leaves the backbone as it is just so

    def __init__(
        self,
        *,
        form: Literal["houlsby", "pfeiffer", "parallel"] = "pfeiffer",
        reduction: int = 16,
        scale: float = 1.0,
        blocks: str = "all",
    ) -> None:
        require(reduction >= 1, "reduction", reduction, "an integer of at least 1")
        require(scale > 0, "scale", scale, "a number above 0")
        self.form, self.reduction = choose("form", form, FORMS), reduction
        self.scale, self.blocks = scale, blocks
        self._parameters: list[nn.Parameter] = []

    def setup(self, model: Model, spec: Spec) -> None:
        """Puts the adapters into the blocks; everything is checked before the first one is put in."""
        places: list[Place] = []
        chosen = chosen_blocks(model.backbone, self.blocks)
        last = list(chosen)[-1]
        for name, block in chosen.items():
            found = sublayers(block)
            if self.blocks == "all" and not any(found) and (places or name != last):
                continue  # a norm or an activation of its own, as VGG's blocks are
            for place in self._places(name, found):
                allowed = f"at most {place.layer.outputs}, the width of {f'{name}.{place.layer.name}'.rstrip('.')!r}"
                require(self.reduction <= place.layer.outputs, "reduction", self.reduction, allowed)
                places.append(place)
        for place in places:
            self._parameters += put_in(place, self.reduction, self.scale).parameters()

    def trainable(self, model: Model, clock: Clock) -> Iterable[nn.Parameter] | None:
        """The adapters' parameters alone."""
        return self._parameters

    def _places(self, name: str, found: Sublayers) -> list[Place]:
        """Where the form has its adapters within a block; raises ConfigError where it has no place for any."""
        attention, feed_forward, main = found
        if self.form == "houlsby":
            if attention and feed_forward:
                return [Place(None, part.last) for part in (*attention, *feed_forward)]
            missing, others = "no attention with a feed-forward part", "pfeiffer or parallel"
        elif self.form == "pfeiffer":
            last = feed_forward[-1].last if feed_forward else main[-1] if main else None
            if last is not None:
                return [Place(None, last)]
            missing, others = "no feed-forward part and no layer on its main path", ""
        else:
            if feed_forward:
                return [Place(*feed_forward[-1])]
            fitting = [layer for layer in main if _keeps_places(base(layer.module))]
            wide = [layer for layer in fitting if _is_wide(base(layer.module))] or fitting[-1:]
            if wide:
                return [Place(layer, layer) for layer in wide]
            missing, others = "no feed-forward part and no layer to stand beside", "pfeiffer"
        instead = f"choose {others}" if others and (feed_forward or main) else "no form fits it"
        fail("form", self.form, f"block {name!r} has {missing}; {instead}, or leave it out with method.adapter.blocks")


class Place(NamedTuple):
    """source: the layer whose input the adapter reads, None: it reads the output of `layer`, to which it adds."""

    source: Layer | None
    layer: Layer


class Bottleneck(Added):
    """(B, …, D_in) or (B, D_in, H, W) → s · W_up ReLU(W_down x + b) + b_up, which is zero at the start."""

    def __init__(self, inputs: int, like: Layer, reduction: int, scale: float) -> None:
        super().__init__()
        width = like.outputs // reduction
        self.scale = scale
        self.down: nn.Linear | nn.Conv2d
        self.up: nn.Linear | nn.Conv2d
        layer = base(like.module)
        if isinstance(layer, nn.Conv2d):
            self.down, self.up = nn.Conv2d(inputs, width, 1), nn.Conv2d(width, like.outputs, 1)
        else:
            self.down, self.up = nn.Linear(inputs, width), nn.Linear(width, like.outputs)
        for parameter in self.up.parameters():
            nn.init.zeros_(parameter)
        self.read = _Held()

    def forward(self, x: Tensor) -> Tensor:
        """What is added."""
        update: Tensor = self.up(torch.relu(self.down(x)))
        return self.scale * update

    def behind(self, layer: Forward, x: Tensor) -> Tensor:
        """The layer and the adapter in series."""
        h = layer(x)
        return h + self.forward(h)

    def beside(self, layer: Forward, x: Tensor) -> Tensor:
        """The layer and the adapter in parallel."""
        return layer(x) + self.forward(x)

    def enter(self, layer: Forward, x: Tensor) -> Tensor:
        """The first layer of a part that the adapter stands beside: keeps its input."""
        self.read.value = x
        return layer(x)

    def leave(self, layer: Forward, x: Tensor) -> Tensor:
        """The last layer of that part."""
        read, self.read.value = self.read.value, None
        assert read is not None, "a feed-forward part whose last layer is called first"
        return layer(x) + self.forward(read)


class _Held:
    """A tensor on its way from one layer to another. Copies of a network hold none."""

    value: Tensor | None = None

    def __deepcopy__(self, memo: object) -> _Held:
        return _Held()


def put_in(place: Place, reduction: int, scale: float) -> Bottleneck:
    """An adapter at a place."""
    source, target = place
    reads = target.outputs if source is None else source.inputs
    adapter = Bottleneck(reads, target, reduction, scale)
    target.module.add_module("adapter", adapter)
    if source is None:
        surround(target.module, adapter.behind)
    elif source is target:
        layer = base(target.module)
        if isinstance(layer, nn.Conv2d) and isinstance(adapter.down, nn.Conv2d):
            adapter.down.stride = layer.stride  # as many places as the convolution leaves
        surround(target.module, adapter.beside)
    else:
        surround(source.module, adapter.enter)
        surround(target.module, adapter.leave)
    return adapter


def _is_wide(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and max(layer.kernel_size) > 1


def _keeps_places(layer: nn.Module) -> bool:
    """Whether a 1×1 convolution of the same stride has as many outputs: padded by half of the kernel, or "same"."""
    if not isinstance(layer, nn.Conv2d) or layer.padding == "same" or type(layer).__name__ == "Conv2dSame":
        return True
    if isinstance(layer.padding, str):
        return False
    pairs = zip(layer.padding, layer.dilation, layer.kernel_size, strict=True)
    return all(2 * p == d * (k - 1) for p, d, k in pairs)
