"""The contract of a method: one way to adapt a model. Methods stack, and never own optimizer, loader or loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from tlresearch.core.types import Batch, Clock, Output, Spec, Stage

if TYPE_CHECKING:
    from tlresearch.core.model import Model

Batches = Callable[[str], Iterable[Batch]]
"""split (train, validation, test, unlabelled) → its batches: evaluation order, no batch hooks, sharded over ranks."""


class Method:
    """Every hook is optional and free where a method leaves it out. A plugin is `__init__(self, *, its own options)`.

    Attributes:
        conflicts: names of methods it cannot be stacked with.
        batch_coupled: its loss couples the rows of a batch, so micro-batches or ranks change it.
        unlabelled: the share of `batch_size` it wants on top, drawn from `stage.unlabelled`.
        learning_rate: recommended for the backbone's parameters with AdamW, None = the backbone's own recommendation.
        head_learning_rate: recommended for the heads, None = each head's own recommendation.
        aux_learning_rate: recommended for the method's own modules in `model.aux`.
        neutral: options with which it is plain fine-tuning of the same rows, None = none are; {} = it is so as it comes
            while there is one stage and one task. The contract kit holds it to that.
        frozen: parameters that an option of it has frozen by name, set in `setup`; a block of nothing else is no place
            for what other methods train.
        training_only: a trained model answers without it; an export leaves it and its modules in `model.aux` out.
        keeps_outputs: `setup` leaves the outputs as they were (adapters that start at zero).
    """

    conflicts: ClassVar[frozenset[str]] = frozenset()
    batch_coupled: ClassVar[bool] = False
    unlabelled: float = 0.0
    learning_rate: ClassVar[float | None] = None
    head_learning_rate: ClassVar[float | None] = None
    aux_learning_rate: ClassVar[float] = 1e-3
    neutral: ClassVar[Mapping[str, Any] | None] = None
    training_only: ClassVar[bool] = False
    keeps_outputs: ClassVar[bool] = True
    frozen: Iterable[nn.Parameter] = ()

    def setup(self, model: Model, spec: Spec) -> None:
        """Once, before any optimizer: surgery on the backbone, modules of its own into `model.aux[NAME]`."""

    def trainable(self, model: Model, clock: Clock) -> Iterable[nn.Parameter] | None:
        """The parameters of the backbone that move; asked every epoch; None = no opinion. Opinions are united."""
        return None

    def groups(self, model: Model, clock: Clock) -> Iterable[tuple[Iterable[nn.Parameter], Mapping[str, float]]] | None:
        """(parameters, {"lr_scale": …, "weight_decay": …}); scales of several methods multiply."""
        return None

    def on_stage_start(self, model: Model, stage: Stage, batches: Batches) -> None:
        """Before a stage's first step."""

    def batch(self, model: Model, batch: Batch, clock: Clock) -> Batch:
        """Changes the batch (replay, mixup) before the model's transform; chained in the order of the list."""
        return batch

    def loss(self, model: Model, batch: Batch, out: Output, clock: Clock) -> dict[str, Tensor]:
        """Scalar terms beside the task's, logged as METHOD/TERM."""
        return {}

    def reweight(
        self, terms: dict[str, Tensor], model: Model, batch: Batch, out: Output, clock: Clock
    ) -> dict[str, Tensor]:
        """Weighs or drops terms, the task's included ("task/NAME"); chained."""
        return terms

    def combine(self, gradients: dict[str, Tensor]) -> Tensor:
        """Flat gradients of the backbone, one a term → the one to step along. One method of a run at most."""
        raise NotImplementedError

    def on_gradients(self, model: Model, clock: Clock) -> None:
        """After all-reduce and unscaling, before clipping."""

    def after_step(self, model: Model, clock: Clock) -> None:
        """After the optimizer's step."""

    def evaluating(self, model: Model, batches: Batches) -> AbstractContextManager[Any]:
        """Wraps every evaluation (averaged weights, statistics); label-free; holds no no_grad across its yield."""
        return nullcontext()

    def on_stage_end(self, model: Model, stage: Stage, batches: Batches) -> None:
        """After a stage's last step (Fisher information, buffers); `core.distributed` makes ranks agree."""

    def state_dict(self) -> dict[str, Any]:
        """What resuming needs: flat tensors and JSON values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`, called after `setup`."""


def uses(method: Method, hook: str) -> bool:
    """Whether the class defines the hook itself."""
    return getattr(type(method), hook) is not getattr(Method, hook)
