"""PCGrad: gradient surgery between the terms of a loss."""

from __future__ import annotations

import torch
from torch import Tensor

from tlresearch import Method, register


@register("method", "pcgrad")
class PCGrad(Method):
    """Projects conflicting gradients onto each other's normal plane (Yu et al., 2020, arXiv:2001.06782, algorithm 1).

    For each term i, and every other term j: where g_i · g_j < 0, g_i ← g_i − (g_i · g_j / ‖g_j‖²) g_j, with g_j as it
    came; the step follows Σ_i g_i. A term is a task's loss or another method's. Deviation: j runs in the sorted order
    of names, where the paper draws a random order, so that ranks and repetitions agree.
    """

    conflicts = frozenset({"probe"})  # heads keep the plain sum, and nothing else moves there

    neutral = {}  # a single term conflicts with nothing

    def combine(self, gradients: dict[str, Tensor]) -> Tensor:
        return torch.stack([self._projected(i, gradients) for i in sorted(gradients)]).sum(0)

    @staticmethod
    def _projected(i: str, gradients: dict[str, Tensor]) -> Tensor:
        gradient = gradients[i]
        for j in sorted(gradients):
            other = gradients[j]
            conflict = gradient @ other
            if j != i and conflict < 0:
                gradient = gradient - conflict / (other @ other) * other
        return gradient
