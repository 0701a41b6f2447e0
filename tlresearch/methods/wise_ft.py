"""WiSE-FT: weights on the line between start and end."""

from __future__ import annotations

import logging
from typing import Any, Literal

import torch
from torch import Tensor

from tlresearch.config.errors import choose, require
from tlresearch.config.registry import register
from tlresearch.core.distributed import broadcast, gather
from tlresearch.core.kinds import kind_of
from tlresearch.core.labels import labelled
from tlresearch.core.method import Batches, Method
from tlresearch.core.metrics import falls
from tlresearch.core.model import Model
from tlresearch.core.types import Batch, Clock, Output, Stage
from tlresearch.nn.starting import Starting, at_rest

logger = logging.getLogger("tlresearch")
HEADS = "heads."


@register("method", "wise_ft")
class WiseFT(Method):
    """Ends at θ(α) = (1 − α) · θ_start + α · θ_end (Wortsman et al., 2022, arXiv:2109.01903, equation 1).

    After a stage's training, at its selected weights, every α is evaluated on the validation rows; the one with the
    best headline metric of the first task (among equals the lowest loss, then the largest α) gives the weights that are
    tested, saved, and gone on from in a next stage, and the validation metrics of the record are measured again with
    them. Test rows play no part. θ_start are the weights at the start of the stage, or when a weight begins to train;
    BatchNorm's running statistics are interpolated like weights, as in the authors' code.

    heads=learnt (deviation): heads stay as they were learnt at every α, since a new head starts from random weights.
    heads=interpolated, as the paper does with CLIP's zero-shot head: only for a head that knows the task from the start
    (`init_from` a probe). Adapters are interpolated factor by factor: the end points are exact, the line between them
    is not straight in the weights they stand for.

    Memory: start and, while α is chosen, end: two copies of what trains, and one more beside the best weights so far.
    Time: one pass over the validation rows for every α.

    Args:
        alphas: the grid, numbers in [0, 1]; 0 = the start, 1 = the end; [1.0] alone is plain fine-tuning.
        heads: learnt or interpolated.
    """

    conflicts = frozenset({"probe", "ema", "swa"})  # nothing moves there; each puts other weights in place

    neutral = {"alphas": [1.0]}

    def __init__(
        self,
        *,
        alphas: list[float] = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0],
        heads: Literal["learnt", "interpolated"] = "learnt",
    ) -> None:
        require(bool(alphas) and all(0 <= a <= 1 for a in alphas), "alphas", alphas, "at least one number in [0, 1]")
        self.alphas = sorted(set(alphas), reverse=True)
        self.with_heads = choose("heads", heads, ("learnt", "interpolated")) == "interpolated"
        self.start = Starting()
        self.alpha = 1.0

    def on_stage_start(self, model: Model, stage: Stage, batches: Batches) -> None:
        """Takes θ_start."""
        self.start.begin(model)

    def loss(self, model: Model, batch: Batch, out: Output, clock: Clock) -> dict[str, Tensor]:
        """No term: looks for weights that begin to train now."""
        self.start.see(model)
        return {}

    def on_stage_end(self, model: Model, stage: Stage, batches: Batches) -> None:
        """Chooses α on the validation rows and leaves the model at θ(α)."""
        end = self._line(model)
        if self.alphas == [1.0]:
            return
        metric = kind_of(stage.tasks[0]).metrics[0]
        ranked = []
        for alpha in self.alphas:
            self._go(model, end, alpha)
            score, loss = validate(model, stage, batches)
            ranked.append((-score if falls(metric) else score, -loss, alpha))
        ranked = [entry for entry in ranked if entry[0] == entry[0]] or [(0.0, 0.0, 1.0)]  # NaN is no score
        score, _, self.alpha = broadcast(max(ranked))
        self._go(model, end, self.alpha)
        logger.info("wise_ft: α = %g of %s, validation %s %.4g", self.alpha, sorted(self.alphas), metric, abs(score))

    def _line(self, model: Model) -> dict[str, Tensor]:
        """θ_end of all that has moved and lies on the line, copied."""
        own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        names = [n for n in self.start.tensors if n in own and (self.with_heads or not n.startswith(HEADS))]
        return {n: own[n].detach().clone() for n in names if not torch.equal(own[n], self.start.tensors[n])}

    @torch.no_grad()
    def _go(self, model: Model, end: dict[str, Tensor], alpha: float) -> None:
        own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        for name, last in end.items():
            value = self.start.tensors[name].lerp(last, alpha)
            if not torch.equal(own[name], value):  # what is at rest is not written: it is not saved either
                own[name].copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """θ_start by name, and α as it was last chosen."""
        return {"alpha": self.alpha, **{f"start.{name}": tensor for name, tensor in self.start.tensors.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes θ_start over."""
        self.alpha = state.get("alpha", 1.0)
        self.start.load({k.removeprefix("start."): v for k, v in state.items() if k != "alpha"})


@torch.no_grad()
def validate(model: Model, stage: Stage, batches: Batches) -> tuple[float, float]:
    """The headline metric of the stage's first task on its validation rows, and their mean loss."""
    task = stage.tasks[0]
    head, columns = model.head(task.name), []
    with at_rest(model):
        for batch in batches("validation"):
            out = model(batch.x, batch.activations)
            y, logits = batch.y[task.name], out.logits[task.name]
            found = (head.predict(logits, out.features.mask), y, head.loss(logits, y))
            columns.append([column[labelled(y)].cpu() for column in found])
    parts = [column for part in gather(columns) for column in part]
    predicted, y, losses = (torch.cat(column) for column in zip(*parts, strict=True))
    return kind_of(task).score(predicted, y), float(losses.mean())
