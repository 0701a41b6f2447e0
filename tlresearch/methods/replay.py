"""Rehearsal of rows from earlier stages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from tlresearch.config.errors import require
from tlresearch.config.registry import register
from tlresearch.core import batching
from tlresearch.core.distributed import gather, rank, ranks, sum_over_ranks
from tlresearch.core.method import Batches, Method
from tlresearch.core.model import Model
from tlresearch.core.seeding import mix
from tlresearch.core.types import REPLAYED, Batch, Clock, Stage


@register("method", "replay")
class Replay(Method):
    """Experience replay: rows kept from earlier stages join every batch (Rolnick et al., 2019, arXiv:1811.11682).

    See also Chaudhry et al., 2019, arXiv:1902.10486. The buffer holds `size` rows, the same number of each stage seen
    so far, drawn at random; they are kept as preprocessed and transformed (augmented) anew whenever they are drawn. An
    empty buffer is plain fine-tuning.

    Args:
        size: rows in the buffer, ≥ 1; every rank holds them all.
        share: replayed rows a batch, as a share of its own rows, > 0.
    """

    neutral = {}  # the buffer is empty until the second stage

    def __init__(self, *, size: int = 500, share: float = 1.0) -> None:
        require(size >= 1, "size", size, "an integer of at least 1")
        require(share > 0, "share", share, "a number above 0")
        self.size, self.share = size, share
        self.stages: list[Batch] = []
        self.seed = 0

    def batch(self, model: Model, batch: Batch, clock: Clock) -> Batch:
        if not self.stages:
            return batch
        device = batch.index.device
        rows_of_all = batch.rows if ranks() == 1 else int(sum_over_ranks(torch.tensor(batch.rows, device=device)))
        count = max(round(self.share * rows_of_all), 1)
        kept = [rows.rows for rows in self.stages]
        generator = torch.Generator().manual_seed(mix(self.seed, clock.stage, clock.step))  # ranks draw together
        drawn = torch.randint(sum(kept), (count,), generator=generator)[rank() :: ranks()]
        parts, start = [], 0
        for rows, length in zip(self.stages, kept, strict=True):
            chosen = drawn[(drawn >= start) & (drawn < start + length)] - start
            if len(chosen):
                parts.append(batching.move(batching.take(rows, chosen), device))
            start += length
        return model.backbone.join([batch, *parts])

    def on_stage_end(self, model: Model, stage: Stage, batches: Batches) -> None:
        """Each stage's part shrinks as stages are added; which rows stay is drawn from the whole stage."""
        share = max(self.size // (len(self.stages) + 1), 1)
        self.stages = [batching.take(rows, slice(0, share)) for rows in self.stages]
        self.seed = int(torch.randint(2**62, ()))
        rows = _chosen(model, batches("train"), torch.randperm(len(stage.train))[:share], len(stage.train))
        self.stages.append(rows._replace(origin=torch.full_like(rows.origin, REPLAYED)))

    def state_dict(self) -> dict[str, Any]:
        """The buffer as flat tensors, and how many stages it holds."""
        tensors = {f"{i}/{k}": v for i, rows in enumerate(self.stages) for k, v in batching.flatten(rows).items()}
        return {"stages": len(self.stages), "seed": self.seed, **tensors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Fills the buffer again."""
        self.seed = state.get("seed", 0)
        self.stages = [
            batching.unflatten({k.split("/", 1)[1]: v for k, v in state.items() if k.startswith(f"{i}/")})
            for i in range(state.get("stages", 0))
        ]


def _chosen(model: Model, batches: Iterable[Batch], chosen: Tensor, total: int) -> Batch:
    """The rows at the positions `chosen` of a stage's `total`, in that order, from the batches of all ranks."""
    place = torch.full((total,), -1)
    place[chosen] = torch.arange(len(chosen))
    own, parts, places = place[rank() :: ranks()], [], []
    for batch in batches:
        here, own = own[: batch.rows], own[batch.rows :]
        if (here >= 0).any():
            found = batching.take(batch, (here >= 0).nonzero().flatten().to(batch.index.device))
            parts.append(batching.move(found, torch.device("cpu")))
            places.append(here[here >= 0])
    everyone = gather((parts, places))
    joined = model.backbone.join([part for found, _ in everyone for part in found])
    return batching.take(joined, torch.cat([p for _, order in everyone for p in order]).argsort())
