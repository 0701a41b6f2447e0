"""Several heads of one form as one computation: their parameters stacked, their linear maps single products."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode

from tlresearch.core.head import Head
from tlresearch.core.types import Features


class Heads:
    """L × M heads of one form: M that read the same rows, L times over.

    Each head's parameters become views of its part of the stack until `release`.
    """

    def __init__(self, heads: Sequence[Sequence[Head]]) -> None:
        self.lanes, self.each = len(heads), len(heads[0])
        self.heads = [head for lane in heads for head in lane]
        parameters, buffers = stack_module_state(list[nn.Module](self.heads))
        self.parameters = {name: self._parted(p).requires_grad_() for name, p in parameters.items()}
        self.buffers = {name: self._parted(b) for name, b in buffers.items()}
        self.own = [[dict(head.named_parameters())[name] for name in parameters] for head in self.heads]
        for stack, *own in zip(self.parameters.values(), *self.own, strict=True):
            for parameter, part in zip(own, stack.detach().flatten(0, 1), strict=True):
                parameter.data = part
        self.graph: torch.fx.GraphModule | None = None

    def _parted(self, stack: Tensor) -> Tensor:
        parted: Tensor = stack.detach().unflatten(0, (self.lanes, self.each))
        return parted

    def _logits(self, stacked: dict[str, Tensor], x: Tensor) -> Tensor:
        """Features (L, B, D) → logits (L, B, M, C)."""
        head = self.heads[0]

        def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor], features: Tensor) -> Tensor:
            logits: Tensor = functional_call(head, (parameters, buffers), (Features(None, features, None),))
            return logits

        each = vmap(one, (0, 0, None), out_dims=1)
        with _StackedLinear():
            logits: Tensor = vmap(each)(stacked, self.buffers, x)
        return logits

    def step_back(self, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        """Features (L, B, D), labels (L, B, …) and rows' weights (L, B) → each head's weighted mean loss (L, M).

        The gradients of their sum are then in every head's own parameters. Always of the shapes of the first call,
        which is traced: the later ones replay its products without the layers of dispatch in between.
        """
        inputs = (self.parameters, x, y, weight)
        if self.graph is None:
            self.graph = make_fx(partial(self._gradients))(*inputs)  # of a method it would count `self`
        with torch.no_grad():
            losses, gradients = self.graph(*inputs)
        for column, gradient in enumerate(gradients):
            for own, part in zip(self.own, gradient.flatten(0, 1).unbind(), strict=True):
                own[column].grad = part
        return losses  # type: ignore[no-any-return]  # a graph's outputs have no types

    def _gradients(
        self, parameters: dict[str, Tensor], x: Tensor, y: Tensor, weight: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        head, shape = self.heads[0], (*weight.shape, self.each)
        every = y.unsqueeze(2).expand(*shape, *y.shape[2:]).flatten(0, 2)
        losses = head.training_loss(self._logits(parameters, x).flatten(0, 2), every).view(shape)
        counted = (head.count(y.flatten(0, 1)).view(weight.shape) * weight).sum(1, keepdim=True)
        means = (losses * weight.unsqueeze(2)).sum(1) / counted.clamp(min=1e-12)
        return means, torch.autograd.grad(means.sum(), list(parameters.values()))

    def release(self) -> None:
        """The heads own their parameters again."""
        for head in self.heads:
            for parameter in head.parameters():
                parameter.data = parameter.data.clone()
                parameter.grad = None


class _StackedLinear(TorchFunctionMode):
    """Inside, `linear` of heads that share their input is one product, and weights' gradients are contiguous.

    torch's own rule for a batch of weights multiplies them one by one and leaves their gradients transposed, which the
    optimizer then reads at half the speed.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.linear:
            return _linear(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:  # torch's names
    product: Tensor = _Product.apply(input, weight)
    return product if bias is None else product + bias


class _Product(torch.autograd.Function):
    """x (…, B, D) and w (…, C, D) → x wᵀ (…, B, C), the leading dimensions alike."""

    @staticmethod
    def forward(x: Tensor, w: Tensor) -> Tensor:
        return x @ w.mT

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, w = ctx.saved_tensors
        (gradient,) = gradients
        return (gradient @ w if ctx.needs_input_grad[0] else None), gradient.mT @ x

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, int | None], x: Tensor, w: Tensor) -> tuple[Tensor, int]:
        of_x, of_w = in_dims
        if of_w is None:
            w, of_w = w.expand(info.batch_size, *w.shape), 0
        w = w.movedim(of_w, 0)
        if of_x is None and w.ndim == 3:  # all read the same rows: their outputs are those of one wide layer
            wide: Tensor = _Product.apply(x, w.flatten(0, 1))
            return wide.unflatten(-1, (info.batch_size, -1)), wide.ndim - 1
        x = x.expand(info.batch_size, *x.shape) if of_x is None else x.movedim(of_x, 0)
        product: Tensor = _Product.apply(x, w)
        return product, 0
