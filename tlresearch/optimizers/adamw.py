"""AdamW."""

from __future__ import annotations

from typing import Any

import torch

from tlresearch.config.errors import require
from tlresearch.config.registry import register


@register("optimizer", "adamw")
def adamw(
    parameter_groups: list[dict[str, Any]],
    *,
    weight_decay: float = 0.01,
    betas: list[float] = [0.9, 0.999],
    epsilon: float = 1e-8,
) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019, arXiv:1711.05101, algorithm 2).

    m ← β₁m + (1 − β₁)g;  v ← β₂v + (1 − β₂)g²;  w ← w − lr · (m̂ / (√v̂ + ε) + weight_decay · w), where m̂ and v̂
    are corrected for their start at 0. As in torch, the learning rate scales the decay, which the paper keeps apart.
    Runs as one fused kernel.

    Args:
        parameter_groups: dicts with "params" and "lr"; a group's own "weight_decay" wins.
        weight_decay: at least 0.
        betas: two decay rates in [0, 1) of the first and second moment.
        epsilon: above 0.
    """
    require(weight_decay >= 0, "weight_decay", weight_decay, "a number of at least 0")
    require(len(betas) == 2 and all(0 <= b < 1 for b in betas), "betas", betas, "two numbers in [0, 1)")
    require(epsilon > 0, "epsilon", epsilon, "a number above 0")
    first, second = betas
    parameters = [p for group in parameter_groups for p in group["params"]]
    fused = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters)
    return torch.optim.AdamW(
        parameter_groups, betas=(first, second), eps=epsilon, weight_decay=weight_decay, fused=fused
    )
