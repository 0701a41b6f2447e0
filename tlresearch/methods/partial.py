"""Partial fine-tuning: the deepest blocks move, and what names choose."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from tlresearch.config.errors import fail, require
from tlresearch.config.registry import register
from tlresearch.core.method import Method
from tlresearch.core.model import Model
from tlresearch.core.types import Clock, Spec
from tlresearch.nn.patterns import matching


@register("method", "partial")
class Partial(Method):
    """Trains the last n blocks of the backbone and what lies behind them (Yosinski et al., 2014, arXiv:1411.1792).

    What lies in front is at rest, and where it pays its activations are computed once (`cache.features`). Patterns are
    regular expressions that are searched in the names of the backbone's parameters: moving is what the blocks or
    `include` choose and `exclude` does not.

    Args:
        blocks: n, from 0 (the final norm alone, where there is one) to the number of blocks.
        include: names that move beside the blocks; null = none.
        exclude: names that rest although blocks or `include` choose them; null = none.
    """

    def __init__(self, *, blocks: int = 2, include: str | None = None, exclude: str | None = None) -> None:
        require(blocks >= 0, "blocks", blocks, "an integer of at least 0")
        self.blocks, self.include, self.exclude = blocks, include, exclude
        self._parameters: list[nn.Parameter] | None = None  # where patterns have a say

    def setup(self, model: Model, spec: Spec) -> None:
        """Refuses more blocks than there are, and patterns that choose nothing, nothing more, or everything."""
        there = len(model.backbone.blocks())
        require(self.blocks <= there, "blocks", self.blocks, f"at most {there}, the blocks of this backbone")
        if self.include is None and self.exclude is None:
            return
        moving = set(self._last_blocks(model))
        named = dict(model.backbone.named_parameters())
        if self.include is not None:
            more = matching("include", self.include, named, "parameter of the backbone", instead="use finetune")
            if more <= moving:
                fail("include", self.include, f"matches nothing beyond the last {self.blocks} blocks; leave it out")
            moving |= more
        if self.exclude is not None:
            what = "parameter that would move"
            excluded = matching("exclude", self.exclude, sorted(moving), what, instead="use probe")
            moving -= excluded
            self.frozen = [named[name] for name in excluded]
        self._parameters = [p for name, p in named.items() if name in moving]  # a later method may rename modules

    def trainable(self, model: Model, clock: Clock) -> Iterable[nn.Parameter] | None:
        """Parameters of the last blocks and outside of blocks behind them, with what the patterns change of that."""
        return self._last_blocks(model).values() if self._parameters is None else self._parameters

    def _last_blocks(self, model: Model) -> dict[str, nn.Parameter]:
        backbone = model.backbone
        depths, there = backbone.depths(), len(backbone.blocks())
        inside = {id(p) for block in backbone.blocks() for p in block.parameters()}
        front = there - self.blocks
        return {
            name: p
            for name, p in backbone.named_parameters()
            if depths[name] > front or (depths[name] == there and id(p) not in inside)
        }
