"""Stochastic gradient descent with momentum."""

from __future__ import annotations

from typing import Any

import torch

from tlresearch.config.errors import require
from tlresearch.config.registry import register


@register("optimizer", "sgd")
def sgd(
    parameter_groups: list[dict[str, Any]],
    *,
    momentum: float = 0.9,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> torch.optim.Optimizer:
    """Stochastic gradient descent with momentum (Sutskever et al., 2013, equations 1 to 4).

    g ← ∇L + weight_decay · w;  v ← momentum · v + g;  w ← w − lr · v (nesterov: w ← w − lr · (g + momentum · v)).
    As in torch, the learning rate multiplies the velocity; the paper has it inside. Runs as one fused kernel.

    Args:
        parameter_groups: dicts with "params" and "lr"; a group's own "weight_decay" wins.
        momentum: in [0, 1).
        nesterov: look ahead along the velocity; needs momentum above 0.
        weight_decay: at least 0.

    Attributes:
        recommended_scale: recommended rates are meant for AdamW; SGD takes this many times as much where
            `optimizer.lr` is null.
    """
    require(0 <= momentum < 1, "momentum", momentum, "a number in [0, 1)")
    require(momentum > 0 or not nesterov, "nesterov", nesterov, "false where momentum is 0")
    require(weight_decay >= 0, "weight_decay", weight_decay, "a number of at least 0")
    parameters = [p for group in parameter_groups for p in group["params"]]
    fused = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters)
    return torch.optim.SGD(
        parameter_groups, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay, fused=fused
    )


sgd.recommended_scale = 10.0  # type: ignore[attr-defined]
