"""Learned tokens beside those of an image."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from tlresearch.config.errors import ConfigError, require
from tlresearch.config.registry import register
from tlresearch.core.backbone import Backbone
from tlresearch.core.method import Method
from tlresearch.core.model import Model
from tlresearch.core.types import Clock, Inputs, Spec
from tlresearch.nn.added import Added, surround
from tlresearch.nn.trial import evaluation, example

ALLOWED = "it takes vision transformers whose blocks read (B, L, D) tokens of any number L: ViT, DeiT, DINOv2 …"


@register("method", "visual_prompt")
class VisualPrompt(Method):
    """[x, P] → block: P are learned tokens (visual prompt tuning, Jia et al., 2022, arXiv:2203.12119); all else rests.

    shallow: P joins the tokens in front of the first block and leaves them behind the last one (eq. 4 and 5). deep:
    every block has its own P, and what it makes of them is dropped (eq. 7). P stands behind the other tokens instead of
    between class token and patches, which to attention is the same. Head, final norm and pooling never see P; the paper
    lets the final norm do, which treats each token by itself.

    Args:
        tokens: their number, at least 1.
        deep: whether every block has its own.
    """

    learning_rate = 1e-2  # prompts bear, and want, larger steps than weights: the paper's are far larger, with SGD
    head_learning_rate = 3e-3
    keeps_outputs = False

    def __init__(self, *, tokens: int = 10, deep: bool = True) -> None:
        require(tokens >= 1, "tokens", tokens, "an integer of at least 1")
        self.tokens, self.deep = tokens, deep
        self._parameters: list[nn.Parameter] = []

    def setup(self, model: Model, spec: Spec) -> None:
        """Puts the prompts in, and tries the network with them."""
        backbone = model.backbone
        if spec.modality != "image":
            raise ConfigError(f"this backbone reads {spec.modality}, and prompts stand beside patches; {ALLOWED}")
        x = example(backbone, spec)
        width = _width(backbone, x)
        blocks = backbone.blocks()
        for block in blocks if self.deep else blocks[:1]:
            prompts = Prompts(self.tokens, width)
            block.add_module("visual_prompt", prompts)
            surround(block, prompts.within if self.deep else prompts.enter)
            self._parameters += prompts.parameters()
        if not self.deep:
            surround(blocks[-1], prompts.leave)
        with evaluation(backbone):
            try:
                backbone(x)
            except (AssertionError, IndexError, RuntimeError, TypeError, ValueError) as error:  # fixed L
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                raise ConfigError(f"this backbone does not bear more tokens ({reason}); {ALLOWED}") from error

    def trainable(self, model: Model, clock: Clock) -> Iterable[nn.Parameter] | None:
        """The prompts alone."""
        return self._parameters


class Prompts(Added):
    """P: (1, count, D), drawn from ±√(6 / 2D). The paper's code has 3 · patch² + D for 2D: in ViT-B the same."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.prompts = nn.Parameter(torch.empty(1, count, width))
        bound = math.sqrt(6 / (2 * width))
        nn.init.uniform_(self.prompts, -bound, bound)

    def enter(self, block: Callable[..., Any], x: Tensor, *arguments: Any, **named: Any) -> Any:
        """The block on [x, P]."""
        return block(torch.cat([x, self.prompts.to(x.dtype).expand(len(x), -1, -1)], 1), *arguments, **named)

    def leave(self, block: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """What the block makes of x, without what it makes of P."""
        output = block(*arguments, **named)
        if isinstance(output, tuple):
            return (output[0][:, : -self.prompts.shape[1]], *output[1:])
        return output[:, : -self.prompts.shape[1]]

    def within(self, block: Callable[..., Any], x: Tensor, *arguments: Any, **named: Any) -> Any:
        """Both."""

        def entering(*inputs: Any, **more: Any) -> Any:
            return self.enter(block, *inputs, **more)

        return self.leave(entering, x, *arguments, **named)


def _width(backbone: Backbone, x: Inputs) -> int:
    """D of the tokens; raises ConfigError where not every block reads and returns the same (B, L, D), one by one."""
    seen: list[tuple[int, Any, Any]] = []
    blocks = backbone.blocks()
    hooks = [
        block.register_forward_hook(lambda _m, inputs, output, i=i: seen.append((i, inputs, output)))
        for i, block in enumerate(blocks)
    ]
    try:
        with evaluation(backbone):
            backbone(x)
    finally:
        for hook in hooks:
            hook.remove()
    if [i for i, _, _ in seen] != list(range(len(blocks))):
        raise ConfigError(f"this backbone does not call its blocks one after the other; {ALLOWED}")
    shapes = set()
    for _, inputs, output in seen:
        for value in (inputs[0] if inputs else None, output[0] if isinstance(output, tuple) else output):
            shapes.add(tuple(value.shape) if isinstance(value, Tensor) else None)
    (shape, *others) = sorted(shapes, key=str)
    if others or shape is None or len(shape) != 3:
        told = " and ".join(str(found) for found in sorted(shapes, key=str)[:2])
        raise ConfigError(f"this backbone's blocks read and return tensors of shape {told}; {ALLOWED}")
    return int(shape[2])
