"""A backbone cut in two: what its frozen front makes of a row is computed once and given from then on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from tlresearch.core.backbone import Backbone
from tlresearch.core.head import pool
from tlresearch.core.types import Features, Inputs
from tlresearch.nn.pooling import LEARNT

BLOCK = "block"


class CannotCut(Exception):
    """This backbone passes more from block to block than one tensor, or calls a block more than once."""


class _Reached(Exception):
    """Ends a forward pass at the cut: what lies behind is not wanted."""


class Cut:
    """Where a backbone is cut.

    Args:
        depth: blocks in front of the cut; None = behind everything: what is given are pooled features (B, D).
        poolings: `head.pooling` of the heads; without a depth, each is given under its own name.
        key: stands for all that the activations depend on. Names of activations hold it, so that those of another cut
            (in rows that a method has kept) are never taken for these.
    """

    def __init__(self, backbone: Backbone, depth: int | None, poolings: Iterable[str], key: str = "") -> None:
        self.depth, self.key = depth, key
        poolings = list(poolings)
        if depth is None and not LEARNT.isdisjoint(poolings):
            raise CannotCut("a pooling that learns reads tokens")
        self.blocks = [] if depth is None else backbone.blocks()[:depth]
        if len({id(block) for block in self.blocks}) < len(self.blocks):
            raise CannotCut("it shares one block between several depths")
        parts = dict.fromkeys(["auto", *poolings]) if depth is None else [BLOCK]
        self.names = {part: f"{key}/{part}" for part in parts}
        self.forms: list[Callable[[Tensor], Any]] = []  # how each block returns its activation, once it has been seen

    def compute(self, backbone: Backbone, x: Inputs) -> dict[str, Tensor]:
        """Preprocessed inputs → activations by name; in the backbone's mode, up to the cut and no further.

        Raises CannotCut where blocks hand on more than one tensor, or rows are not the first dimension.
        """
        transformed = backbone.transform(x, "test")
        if self.depth is None:
            features = backbone(transformed)
            found = {name: pool(features, how).pooled for how, name in self.names.items()}
        else:
            found = {self.names[BLOCK]: self._at_cut(backbone, transformed)}
        rows = len(next(iter(x.values()))) if isinstance(x, dict) else len(x)
        if any(activation.shape[:1] != (rows,) for activation in found.values()):
            raise CannotCut("its activations do not have the rows as their first dimension")
        return found

    def features(self, backbone: Backbone, x: Inputs, split: str, given: Mapping[str, Tensor]) -> dict[str, Features]:
        """Pooling → features from activations; what lies behind the cut is computed. x may be empty without a depth."""
        if self.depth is None:
            return {how: Features(None, given[name].float(), None) for how, name in self.names.items()}
        with self._skipping(given[self.names[BLOCK]].float()):
            return {"auto": backbone(backbone.transform(x, split))}

    def serves(self, given: Mapping[str, Tensor]) -> bool:
        """Whether these activations are of this very cut."""
        return all(name in given for name in self.names.values())

    def _at_cut(self, backbone: Backbone, x: Inputs) -> Tensor:
        """The output of the last block in front; learns what each block returns."""
        calls: list[int] = []
        forms: dict[int, Callable[[Tensor], Any]] = {}
        found: list[Tensor] = []

        def watch(number: int, output: Any) -> None:
            calls.append(number)
            forms[number], hidden = _form(output)
            if number == len(self.blocks) - 1:
                found.append(hidden)
                raise _Reached

        hooks = [
            block.register_forward_hook(lambda _m, _a, output, i=i: watch(i, output))
            for i, block in enumerate(self.blocks)
        ]
        try:
            backbone(x)
        except _Reached:
            pass
        finally:
            for hook in hooks:
                hook.remove()
        if calls != list(range(len(self.blocks))):
            raise CannotCut(f"its blocks are called in the order {calls}")
        self.forms = [forms[i] for i in range(len(self.blocks))]
        return found[0]

    @contextmanager
    def _skipping(self, activation: Tensor) -> Iterator[None]:
        """Blocks in front hand on what they get; the last of them gives the activation."""
        assert self.forms, "compute has to be called once before"
        kept = [block.__dict__.get("forward") for block in self.blocks]
        last = len(self.blocks) - 1
        for i, (block, form) in enumerate(zip(self.blocks, self.forms, strict=True)):
            block.forward = _given(form, activation) if i == last else _handing_on(form)
        try:
            yield
        finally:
            for block, forward in zip(self.blocks, kept, strict=True):
                del block.forward
                if forward is not None:
                    block.forward = forward


def _form(output: Any) -> tuple[Callable[[Tensor], Any], Tensor]:
    """How a block returns its activation (bare, or first of a tuple whose rest is None), and the activation."""
    if isinstance(output, Tensor):
        return lambda hidden: hidden, output
    if isinstance(output, tuple) and isinstance(output[0], Tensor) and all(part is None for part in output[1:]):
        rest = output[1:]
        return lambda hidden: (hidden, *rest), output[0]
    raise CannotCut("its blocks return more than their activations")


def _given(form: Callable[[Tensor], Any], activation: Tensor) -> Callable[..., Any]:
    return lambda *_args, **_kwargs: form(activation)


def _handing_on(form: Callable[[Tensor], Any]) -> Callable[..., Any]:
    return lambda *args, **kwargs: form(args[0] if args else next(iter(kwargs.values())))


def frozen_depth(backbone: Backbone) -> int | None:
    """Blocks in front of the first trainable parameter, None where the whole backbone is frozen; 0: nothing is."""
    depths, blocks = backbone.depths(), backbone.blocks()
    first = min((depths[n] for n, p in backbone.named_parameters() if p.requires_grad), default=len(blocks) + 1)
    return None if first > len(blocks) else max(first - 1, 0)


def front_tensors(backbone: Backbone, depth: int | None) -> dict[str, Tensor]:
    """Every parameter and buffer that activations at the cut can depend on, by name."""
    tensors: Sequence[tuple[str, Tensor]] = [*backbone.named_parameters(), *backbone.named_buffers()]
    if depth is None:
        return dict(tensors)
    depths = backbone.depths()
    behind = {id(t) for block in backbone.blocks()[depth:] for t in _tensors(block)}
    return {name: t for name, t in tensors if id(t) not in behind and depths.get(name, 0) <= depth}


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()
