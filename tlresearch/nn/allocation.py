"""AdaLoRA's ranks: how many singular values each layer keeps (Zhang et al., 2023, arXiv:2303.10512)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tlresearch.config.errors import fail
from tlresearch.core.types import Clock

_MEANS = ("exp_avg_ipt", "exp_avg_unc")


class Allocation:
    """peft's rank allocator, stepped as its documentation asks for: after the optimizer, before gradients go.

    Args:
        tuner: an AdaLoraModel; parameters: those that it trains, by name.
    """

    def __init__(self, tuner: Any, parameters: Mapping[str, nn.Parameter]) -> None:
        self.tuner, self.parameters = tuner, parameters
        self.config, self.allocator = tuner.peft_config["default"], tuner.rankallocator
        if self.config.target_r >= self.config.init_r:
            ranks = f"target_r={self.config.target_r} and init_r={self.config.init_r}"
            fail("options", ranks, "adalora starts above its target: init_r must be larger than target_r")
        self.gradients: dict[str, Tensor | None] = {}

    def loss(self, clock: Clock) -> dict[str, Tensor]:
        """γ times the mean over all P and Q of ‖PᵀP − I‖ and ‖QQᵀ − I‖ (Frobenius norms; the paper has squares)."""
        self._check(clock)
        terms = []
        for name, p in self.parameters.items():
            if "lora_A" in name or "lora_B" in name:
                product = p @ p.T if "lora_A" in name else p.T @ p
                terms.append(torch.linalg.matrix_norm(product - torch.eye(len(product), device=p.device)))
        return {"orthogonality": self.config.orth_reg_weight * torch.stack(terms).mean()}

    def keep_gradients(self) -> None:
        """The very tensors, so that clipping shows in them; the optimizer's end takes them off the parameters."""
        self.gradients = {name: p.grad for name, p in self.parameters.items()}

    def update(self, clock: Clock) -> None:
        """Updates the importances and sets the singular values above the budget to zero (eq. 8–11)."""
        for name, p in self.parameters.items():
            p.grad = self.gradients[name]
        self.tuner.update_and_allocate(clock.step)
        for p in self.parameters.values():
            p.grad = None
        self.gradients = {}

    def state_dict(self) -> dict[str, Any]:
        """Smoothed importances and uncertainties by name, and which singular values are left."""
        means = {f"{mean}/{name}": t for mean in _MEANS for name, t in getattr(self.allocator, mean).items()}
        return {**means, "pattern": dict(self.config.rank_pattern)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse."""
        for mean in _MEANS:
            found = {key.removeprefix(f"{mean}/"): t for key, t in state.items() if key.startswith(f"{mean}/")}
            setattr(self.allocator, mean, found)
        self.allocator.ipt = {name: torch.zeros_like(t) for name, t in self.allocator.exp_avg_ipt.items()}
        self.config.rank_pattern = dict(state["pattern"])

    def restart(self) -> None:
        """A new stage: every singular value may come back."""
        self.allocator.reset_ipt()
        self.config.rank_pattern = {}

    def _check(self, clock: Clock) -> None:
        """The stage's number of steps is not known before."""
        if self.config.tinit >= clock.total - self.config.tfinal:
            times = f"tinit={self.config.tinit} and tfinal={self.config.tfinal}"
            message = f"leave no step of the stage's {clock.total} between them; their sum must be below it"
            fail("method.peft.options", times, message)
        self.config.total_step = clock.total
