"""Surgical fine-tuning: chosen blocks move."""

from __future__ import annotations

import re
from collections.abc import Iterable

from torch import nn

from tlresearch.config.errors import fail, nearest, require
from tlresearch.config.registry import register
from tlresearch.core.method import Method
from tlresearch.core.model import Model
from tlresearch.core.types import Clock, Spec

STEM, END = "stem", "end"


@register("method", "surgical")
class Surgical(Method):
    """Trains the named blocks of the backbone and the heads (Lee et al., 2023, arXiv:2210.11466, section 2).

    The paper's finding: the first blocks for a shift of the inputs (noise, blur), middle ones for a shift of features,
    the last ones for a shift of the outputs, each with few labels. Its first block is that of a residual network.

    Args:
        blocks: positions (0 is the first block, -1 the last), names of blocks in the backbone, `stem` for what lies
            before the first block (patch or token embeddings), or `end` for what lies behind the last (a final norm).
    """

    def __init__(self, *, blocks: list[str] = ["0"]) -> None:
        require(bool(blocks), "blocks", blocks, "at least one block; probe moves none")
        self.blocks = blocks
        self._parameters: list[nn.Parameter] = []

    def setup(self, model: Model, spec: Spec) -> None:
        """Finds the blocks; refuses an unknown one, one named twice, and a choice of all there is."""
        parts = _parts(model)
        names = {id(module): name for name, module in model.backbone.named_modules()}
        known = [STEM, *(names[id(block)] for block in model.backbone.blocks()), END]
        chosen = [self._number(block, known) for block in self.blocks]
        for block, number in zip(self.blocks, chosen, strict=True):
            if chosen.count(number) > 1:
                fail("blocks", self.blocks, f"names {known[number]!r} twice, once as {block!r}; name it once")
            if not parts[number]:
                fail("blocks", block, "this backbone has no parameters there; leave it out")
        if all(number in chosen for number, part in enumerate(parts) if part):
            fail("blocks", self.blocks, "is the whole backbone; use finetune")
        self._parameters = [p for number in sorted(chosen) for p in parts[number]]

    def trainable(self, model: Model, clock: Clock) -> Iterable[nn.Parameter] | None:
        """The chosen blocks' parameters."""
        return self._parameters

    def _number(self, block: str, known: list[str]) -> int:
        """Where a block stands in `known`."""
        if re.fullmatch(r"-?\d+", block):
            there = len(known) - 2
            require(-there <= int(block) < there, "blocks", block, f"from {-there} to {there - 1}: there are {there}")
            return int(block) % there + 1
        if block not in known:
            fail("blocks", block, f"no position and no block of this backbone; {nearest(block, known)}")
        return known.index(block)


def _parts(model: Model) -> list[list[nn.Parameter]]:
    """Parameters of the stem, of every block, and of what lies behind the last."""
    backbone, blocks = model.backbone, model.backbone.blocks()
    depths = backbone.depths()
    inside = {id(p) for block in blocks for p in block.parameters()}
    parts: list[list[nn.Parameter]] = [[] for _ in range(len(blocks) + 2)]
    for name, parameter in backbone.named_parameters():
        behind = depths[name] > 0 and id(parameter) not in inside
        parts[-1 if behind else depths[name]].append(parameter)
    return parts
