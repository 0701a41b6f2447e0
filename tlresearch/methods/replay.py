"""Rehearsal of rows from earlier stages."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tlresearch.config.errors import require
from tlresearch.config.registry import register
from tlresearch.core import batching
from tlresearch.core.distributed import ranks
from tlresearch.core.method import Batches, Method
from tlresearch.core.model import Model
from tlresearch.core.types import REPLAYED, Batch, Clock, Stage


@register("method", "replay")
class Replay(Method):
    """Experience replay: rows kept from earlier stages join every batch (Rolnick et al., 2019, arXiv:1811.11682).

    See also Chaudhry et al., 2019, arXiv:1902.10486. The buffer holds `size` rows, the same number of each stage seen
    so far, drawn at random; they are kept as preprocessed and transformed (augmented) anew whenever they are drawn. An
    empty buffer is plain fine-tuning.

    Args:
        size: rows in the buffer of all ranks together, ≥ 1.
        share: replayed rows a batch, as a share of its own rows, > 0.
    """

    neutral = {}  # the buffer is empty until the second stage

    def __init__(self, *, size: int = 500, share: float = 1.0) -> None:
        require(size >= 1, "size", size, "an integer of at least 1")
        require(share > 0, "share", share, "a number above 0")
        self.size, self.share = size, share
        self.stages: list[Batch] = []

    def batch(self, model: Model, batch: Batch, clock: Clock) -> Batch:
        """Joins rows drawn from the buffer to the batch."""
        if not self.stages:
            return batch
        count = max(round(self.share * batch.rows), 1)
        kept = [rows.rows for rows in self.stages]
        drawn = torch.randint(sum(kept), (count,))
        parts, start = [], 0
        for rows, length in zip(self.stages, kept, strict=True):
            chosen = drawn[(drawn >= start) & (drawn < start + length)] - start
            if len(chosen):
                parts.append(batching.take(rows, chosen.to(rows.index.device)))
            start += length
        return model.backbone.join([batch, *parts])

    def on_stage_end(self, model: Model, stage: Stage, batches: Batches) -> None:
        """Each stage's part shrinks as stages are added; which rows stay is drawn from the whole stage."""
        share = max(self.size // ranks() // (len(self.stages) + 1), 1)
        self.stages = [batching.take(rows, slice(0, share)) for rows in self.stages]
        keys: list[Tensor] = []
        kept: list[Batch] = []
        for batch in batches("train"):
            keys.append(torch.rand(batch.rows))
            kept.append(batch)
            kept, keys = _smallest(model, kept, keys, share)
        self.stages.append(batching.clone(kept[0])._replace(origin=torch.full_like(kept[0].origin, REPLAYED)))

    def state_dict(self) -> dict[str, Any]:
        """The buffer as flat tensors, and how many stages it holds."""
        tensors = {f"{i}/{k}": v for i, rows in enumerate(self.stages) for k, v in batching.flatten(rows).items()}
        return {"stages": len(self.stages), **tensors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Fills the buffer again."""
        self.stages = [
            batching.unflatten({k.split("/", 1)[1]: v for k, v in state.items() if k.startswith(f"{i}/")})
            for i in range(state.get("stages", 0))
        ]


def _smallest(model: Model, rows: list[Batch], keys: list[Tensor], count: int) -> tuple[list[Batch], list[Tensor]]:
    """Of all rows the `count` with the smallest random keys, in that order: a uniform sample, bounded in memory."""
    joined, key = model.backbone.join(rows), torch.cat(keys)
    order = key.argsort()[:count]
    return [batching.take(joined, order.to(joined.index.device))], [key[order]]
