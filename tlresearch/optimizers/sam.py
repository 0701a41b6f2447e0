"""Sharpness-aware minimisation around another optimizer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tlresearch.config.build import build
from tlresearch.config.errors import Problems, fail, require
from tlresearch.config.registry import register

Make = Callable[[list[dict[str, Any]]], torch.optim.Optimizer]
TINY = 1e-12
"""Beside the gradient's norm, as in the authors' code."""


@register("optimizer", "sam")
def sam(
    parameter_groups: list[dict[str, Any]],
    *,
    rho: float = 0.05,
    base: str = "adamw",
    base_arguments: dict[str, Any] = {},
) -> torch.optim.Optimizer:
    """Sharpness-aware minimisation (Foret et al., 2021, arXiv:2010.01412, algorithm 1, with p = 2).

    ε = ρ · g / ‖g‖₂ with g = ∇L(w), over all parameters that train; then the base optimizer steps from w along
    ∇L(w + ε), on the same rows with the same dropout and augmentation. Two gradients a step, so about twice the time;
    BatchNorm's statistics follow the first pass alone. Several devices share one ε, that of the whole batch (the
    paper lets each device have its own).

    Args:
        parameter_groups: dicts with "params" and "lr".
        rho: ρ, at least 0; 0 is the base alone. 0.05 in most of the paper.
        base: the optimizer that takes the step; the recommended rate is the base's.
        base_arguments: its own options.
    """
    require(rho >= 0, "rho", rho, "a number of at least 0")
    make: Make = build("optimizer", {"name": base, **base_arguments}, at="base_arguments")
    return SAM(parameter_groups, make, rho)


class SAM(torch.optim.Optimizer):
    """Groups and states are those of `base`. Its `step` wants gradients at w and a closure that computes them anew."""

    needs_closure = True

    def __init__(
        self,
        parameter_groups: list[dict[str, Any]],
        make: Make,
        rho: float,
    ) -> None:
        super().__init__(parameter_groups, {})
        problems, self.rho = Problems(), rho
        base = problems.attempt("base_arguments", partial(make, self.param_groups))
        problems.raise_any()
        assert base is not None
        self.base = base
        if getattr(self.base, "needs_closure", False):
            fail("base", type(self.base).__name__, "takes two gradients itself; choose adamw or sgd")
        self.param_groups, self.state = self.base.param_groups, self.base.state

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor:  # type: ignore[override]
        """Up to w + ε, gradients there by `closure`, back to w bit by bit, and the base's step; the loss at w + ε."""
        assert closure is not None, "needs the gradient at a second point"
        ascending = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        start = [p.clone() for p in ascending]
        scale = self.rho / (torch.nn.utils.get_total_norm([p.grad for p in ascending]) + TINY)
        for parameter in ascending:
            parameter.add_(parameter.grad * scale)
        with torch.enable_grad():
            loss = closure()
        for parameter, before in zip(ascending, start, strict=True):
            parameter.copy_(before)
        self.base.step()
        return loss
