"""From a batch to gradients: the loss terms, their shares over micro-batches and ranks, and the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tlresearch.core.batching import take
from tlresearch.core.distributed import ranks, sum_over_ranks
from tlresearch.core.method import Method, uses
from tlresearch.core.model import Model
from tlresearch.core.types import Batch, Clock, Output

if TYPE_CHECKING:
    from lightning_fabric import Fabric

TASK = "task/"


def task_terms(model: Model, batch: Batch, out: Output) -> dict[str, Tensor]:
    """task/NAME → weighted mean loss over the labelled items of this batch (0 where it has none)."""
    terms = {}
    for task, y in batch.y.items():
        if task in out.logits and not model.head(task).closed_form:
            losses = model.head(task).training_loss(out.logits[task], y)
            weighted = torch.dot(losses.to(batch.weight.dtype), batch.weight)
            terms[TASK + task] = weighted / labelled(model, batch, task).clamp(min=1e-12)
    return terms


def labelled(model: Model, batch: Batch, task: str) -> Tensor:
    """The total weight of the labelled items of one task."""
    return torch.dot(model.head(task).count(batch.y[task]).to(batch.weight.dtype), batch.weight)


class Gradients:
    """Computes `.grad` of all trainable parameters for one global batch.

    A term's value is its mean over a micro-batch; its share is that micro-batch's part of the global batch (labelled
    weight for a task, rows for a method's term), so that k micro-batches on r ranks add up to the one batch.
    """

    def __init__(self, fabric: Fabric, model: Model, methods: Mapping[str, Method], accumulate: int) -> None:
        from lightning_fabric.strategies.single_device import SingleDeviceStrategy

        self.fabric, self.model, self.accumulate = fabric, model, accumulate
        mixed = fabric._precision.precision != "32-true"
        self.precision: Callable[[], AbstractContextManager[Any]] = fabric.autocast if mixed else nullcontext
        self.losses = {n: m for n, m in methods.items() if uses(m, "loss")}
        self.reweights = [m for m in methods.values() if uses(m, "reweight")]
        self.combiner = next((m for m in methods.values() if uses(m, "combine")), None)
        self.whole = accumulate == 1 and ranks() == 1
        # On one device in full precision Fabric's wrapper changes nothing and costs more than all hooks together.
        self.plain = not mixed and isinstance(fabric.strategy, SingleDeviceStrategy)

    def terms(self, batch: Batch, out: Output, clock: Clock) -> dict[str, Tensor]:
        """All terms of one micro-batch, by name; computed in the run's precision."""
        with self.precision():
            return self._terms(batch, out, clock)

    def _terms(self, batch: Batch, out: Output, clock: Clock) -> dict[str, Tensor]:
        terms = task_terms(self.model, batch, out)
        for name, method in self.losses.items():
            for term, value in method.loss(self.model, batch, out, clock).items():
                terms[f"{name}/{term}"] = value
        for method in self.reweights:
            terms = method.reweight(terms, self.model, batch, out, clock)
        return terms

    def __call__(self, wrapped: nn.Module, batch: Batch, clock: Clock) -> dict[str, Tensor]:
        """Backward passes over the batch; returns the detached terms, this rank's part of the global means."""
        if self.combiner is not None:
            return self._combined(batch, clock)
        if self.whole:
            terms = self.terms(batch, wrapped(batch.x, batch.activations), clock)
            self.fabric.backward(total(terms))
            return {name: value.detach() for name, value in terms.items()}
        sums: dict[str, Tensor] = {}
        parts = micro_batches(batch, self.accumulate)
        whole = self._global(batch)
        for i, part in enumerate(parts):
            last = i == len(parts) - 1
            waiting: AbstractContextManager[Any] = (
                nullcontext() if last or self.plain else self.fabric.no_backward_sync(wrapped)  # type: ignore[arg-type]
            )
            with waiting:
                terms = self._shared(self.terms(part, wrapped(part.x, part.activations), clock), part, whole)
                self.fabric.backward(total(terms))
            for name, value in terms.items():
                sums[name] = sums.get(name, torch.zeros_like(value)) + value.detach() / ranks()
        return sums

    def _global(self, batch: Batch) -> dict[str, Tensor]:
        """Denominators of the whole batch over all ranks: rows under "", labelled weight under each task."""
        tasks = [task for task in batch.y if task in self.model.active]
        counts = [batch.weight.new_tensor(float(batch.rows)), *(labelled(self.model, batch, t) for t in tasks)]
        values = sum_over_ranks(torch.stack(counts)).clamp(min=1e-12)
        return dict(zip(["", *tasks], values, strict=True))

    def _shared(self, terms: dict[str, Tensor], part: Batch, whole: Mapping[str, Tensor]) -> dict[str, Tensor]:
        scaled = {}
        for name, value in terms.items():
            task = name.removeprefix(TASK)
            if name.startswith(TASK) and task in whole:
                share = labelled(self.model, part, task) / whole[task]
            else:
                share = part.rows / whole[""]
            scaled[name] = value * share * ranks()  # DDP averages over ranks
        return scaled

    def _combined(self, batch: Batch, clock: Clock) -> dict[str, Tensor]:
        """One flat gradient a term for the method that combines them; heads and aux keep the plain sum."""
        assert self.combiner is not None
        body = [p for p in self.model.backbone.parameters() if p.requires_grad]
        rest = [p for p in (*self.model.heads.parameters(), *self.model.aux.parameters()) if p.requires_grad]
        flat: dict[str, Tensor] = {}
        plain: list[Tensor] = [torch.zeros_like(p) for p in rest]
        sums: dict[str, Tensor] = {}
        whole = self._global(batch)
        for part in micro_batches(batch, self.accumulate):
            with self.precision():
                out = self.model(part.x, part.activations)
            terms = self._shared(self.terms(part, out, clock), part, whole)
            for name in sorted(terms):
                if not terms[name].requires_grad:
                    continue
                grads = torch.autograd.grad(terms[name], [*body, *rest], retain_graph=True, allow_unused=True)
                filled = [torch.zeros_like(p) if g is None else g for p, g in zip([*body, *rest], grads, strict=True)]
                vector = torch.cat([g.flatten() for g in filled[: len(body)]]) if body else torch.zeros(0)
                flat[name] = flat[name] + vector if name in flat else vector
                plain = [a + g for a, g in zip(plain, filled[len(body) :], strict=True)]
            for name, value in terms.items():
                sums[name] = sums.get(name, torch.zeros_like(value)) + value.detach() / ranks()
        mean = {name: sum_over_ranks(vector) / ranks() for name, vector in flat.items()}
        _scatter(self.combiner.combine(mean), body)
        for parameter, gradient in zip(rest, plain, strict=True):
            parameter.grad = sum_over_ranks(gradient) / ranks()
        return sums


def total(terms: Mapping[str, Tensor]) -> Tensor:
    """The sum of all terms in sorted order, so that the order of methods does not move the last bit."""
    names = sorted(terms)
    value = terms[names[0]]
    for name in names[1:]:
        value = value + terms[name]
    return value


def micro_batches(batch: Batch, count: int) -> list[Batch]:
    """`count` parts of a batch, each with its share of labelled, unlabelled and replayed rows."""
    if count == 1:
        return [batch]
    rows = torch.arange(batch.rows, device=batch.index.device)
    return [take(batch, rows[i::count]) for i in range(min(count, batch.rows))]


def _scatter(flat: Tensor, parameters: list[nn.Parameter]) -> None:
    for parameter, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        parameter.grad = part.view_as(parameter).clone()
