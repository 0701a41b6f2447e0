"""Elastic weight consolidation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tlresearch.config.errors import require
from tlresearch.config.registry import register
from tlresearch.core.batching import take
from tlresearch.core.distributed import sum_over_ranks
from tlresearch.core.method import Batches, Method
from tlresearch.core.model import Model
from tlresearch.core.types import Batch, Clock, Output, Stage


@register("method", "ewc")
class EWC(Method):
    """λ/2 · Σ_s Σ_i F_i^s (θ_i − θ_i^s)² over earlier stages s (Kirkpatrick et al., 2017, arXiv:1612.00796, eq. 3).

    F is the diagonal of the empirical Fisher information: the mean over single rows of the squared gradient of the
    log-likelihood of their label. The anchors θ^s are the weights at the end of stage s, of backbone and heads alike;
    outputs that a head grew later are not anchored. With `online` one running sum replaces the list, F ← γ F + F^s
    (Schwarz et al., 2018, arXiv:1805.06370), and the anchor is the last one.

    On λ: ½ λ F (θ − θ*)² is the paper's term, with F a mean over rows (not a sum) beside a mean loss. Its F is that
    of labels drawn from the network's own answers (others take the label it predicts); here it is that of the given
    labels, whose gradients vanish as the loss does, so that F is small after long training and λ has to be large: on
    Split-MNIST 1e4 to 1e8 (sweeps/split_mnist_ewc.yaml). Choose it on `validation.all_stages.accuracy`.

    Args:
        strength: λ ≥ 0; 0 is plain fine-tuning.
        samples: rows of a stage from which F is estimated, ≥ 1.
        online: keep one penalty instead of one a stage.
        gamma: decay γ of the running sum in [0, 1], with `online` only.
    """

    neutral = {"strength": 0.0}

    def __init__(
        self, *, strength: float = 1000.0, samples: int = 256, online: bool = False, gamma: float = 1.0
    ) -> None:
        require(strength >= 0, "strength", strength, "a number of at least 0")
        require(samples >= 1, "samples", samples, "an integer of at least 1")
        require(0 <= gamma <= 1, "gamma", gamma, "a number in [0, 1]")
        require(online or gamma == 1.0, "gamma", gamma, "1 unless online=true, which it belongs to")
        self.strength, self.samples, self.online, self.gamma = strength, samples, online, gamma
        self.penalties: list[dict[str, tuple[Tensor, Tensor]]] = []
        """One mapping a penalty: parameter name → (F, θ*)."""

    def loss(self, model: Model, batch: Batch, out: Output, clock: Clock) -> dict[str, Tensor]:
        """The weighted squared distance from the anchors; no term before the first stage has ended."""
        if not self.penalties:
            return {}
        total = out.features.pooled.new_zeros(())
        parameters = dict(model.named_parameters())
        for penalty in self.penalties:
            for name, (fisher, anchor) in penalty.items():
                parameter = parameters[name]
                if parameter.requires_grad:
                    old = parameter[: len(anchor)] if parameter.shape != anchor.shape else parameter
                    total = total + (fisher * (old - anchor) ** 2).sum()
        return {"penalty": 0.5 * self.strength * total}

    def on_stage_end(self, model: Model, stage: Stage, batches: Batches) -> None:
        """Measures the stage's Fisher information and keeps it with the parameters it belongs to."""
        fisher = fisher_information(model, stage, batches, self.samples)
        anchors = {name: p.detach().clone() for name, p in model.named_parameters() if name in fisher}
        new = {name: (value, anchors[name]) for name, value in fisher.items()}
        if self.online and self.penalties:
            old = self.penalties[0]
            new = {n: (_add(f, old[n][0] * self.gamma) if n in old else f, anchor) for n, (f, anchor) in new.items()}
        self.penalties = [new] if self.online else [*self.penalties, new]

    def state_dict(self) -> dict[str, Any]:
        """The penalties' tensors by number and parameter name, and how many penalties there are."""
        tensors = {
            f"{part}/{i}/{name}": tensor
            for i, penalty in enumerate(self.penalties)
            for name, pair in penalty.items()
            for part, tensor in zip(("fisher", "anchor"), pair, strict=True)
        }
        return {"count": len(self.penalties), **tensors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Puts the penalties together again."""
        self.penalties = [{} for _ in range(state.get("count", 0))]
        for key, fisher in state.items():
            if key.startswith("fisher/"):
                _, number, name = key.split("/", 2)
                self.penalties[int(number)][name] = (fisher, state[f"anchor/{number}/{name}"])


def fisher_information(model: Model, stage: Stage, batches: Batches, samples: int) -> dict[str, Tensor]:
    """Parameter name → diagonal of the empirical Fisher information, E[g²] over at most `samples` rows of the stage.

    Gradients are taken row by row: the square of a batch's mean gradient, E[g]², is another quantity.
    """
    trainable = {n: p for n, p in model.named_parameters() if p.requires_grad and not n.startswith("aux.")}
    sums = {name: torch.zeros_like(p) for name, p in trainable.items()}
    modes = {module: module.training for module in model.modules()}
    model.eval()
    count = 0
    for batch in batches("train"):
        for i in range(batch.rows):
            if count >= samples:
                break
            row = take(batch, slice(i, i + 1))
            for name, gradient in _row_gradient(model, stage, row, trainable).items():
                sums[name] += gradient**2
            count += 1
    for module, mode in modes.items():
        module.training = mode
    rows = sum_over_ranks(torch.tensor(float(count), device=next(model.parameters()).device))
    return {name: sum_over_ranks(value) / rows for name, value in sums.items()}


def _row_gradient(model: Model, stage: Stage, row: Batch, trainable: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    out = model(row.x)
    losses = [model.head(task.name).loss(out.logits[task.name], row.y[task.name]).sum() for task in stage.tasks]
    gradients = torch.autograd.grad(torch.stack(losses).sum(), list(trainable.values()), allow_unused=True)
    return {name: g for name, g in zip(trainable, gradients, strict=True) if g is not None}


def _add(new: Tensor, old: Tensor) -> Tensor:
    """Adds an older sum to a tensor whose first dimension may have grown since."""
    total = new.clone()
    total[: len(old)] += old
    return total
