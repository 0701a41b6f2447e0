"""Backbone, heads and the modules of methods as one network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from tlresearch.config.errors import fail
from tlresearch.core.backbone import Backbone
from tlresearch.core.head import Head, pool, pool_by
from tlresearch.core.prefix import Cut
from tlresearch.core.types import Features, Inputs, Output, Task
from tlresearch.nn import pooling as poolings

NONE: Mapping[str, Tensor] = MappingProxyType({})

PREFIX = "head_"
"""Before every task's name: a ModuleDict refuses names such as "type"."""


class Model(nn.Module):
    """backbone; heads: "head_" + task → Head; aux: method name → its modules.

    Attributes:
        active: the tasks whose logits `forward` computes.
        pooling: task → `head.pooling`.
        labels: task → the label names its head knows so far.
        cut: where activations that come with a batch take the place of the backbone's front; None = nowhere.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = nn.ModuleDict()
        self.aux = nn.ModuleDict()
        self.active: tuple[str, ...] = ()
        self.pooling: dict[str, str] = {}
        self.labels: dict[str, tuple[str, ...]] = {}
        self.cut: Cut | None = None

    def add_head(self, task: Task, head: Head, pooling: str = "auto") -> None:
        """A head for a task that has none yet; with it, a pooling that learns."""
        if pooling == "cls" and not self.backbone.class_token:
            fail("head.pooling", pooling, "this backbone has no class token; use auto, mean, max, attention or gem")
        if pooling in poolings.LEARNT and head.pooling is None:
            head.pooling = poolings.make(pooling, self.backbone.feature_dim)
        self.heads[PREFIX + task.name] = head
        self.pooling[task.name], self.labels[task.name] = pooling, task.labels
        self.active = (*self.active, task.name)

    def grow_head(self, task: Task) -> None:
        """More outputs for a task whose labels have grown; nothing where they have not."""
        if len(task.labels) > len(self.labels[task.name]):
            self.head(task.name).grow(task)
            self.labels[task.name] = task.labels

    def has_head(self, task: str) -> bool:
        """Whether the task has a head already."""
        return PREFIX + task in self.heads

    def head(self, task: str) -> Head:
        """The head of a task that has one."""
        head = self.heads[PREFIX + task]
        assert isinstance(head, Head)
        return head

    def features(self, x: Inputs, task: str, activations: Mapping[str, Tensor] = NONE) -> Features:
        """Preprocessed inputs → the features that the head of `task` sees."""
        return self._seen(task, self._pooled(x, activations, [self.pooling[task]]))

    def forward(self, x: Inputs, activations: Mapping[str, Tensor] = NONE) -> Output:
        """Preprocessed inputs → features and the logits of the active tasks; augments in training mode only.

        activations: of the same rows, taken instead of computing them anew where they are those of `cut`.
        """
        pooled = self._pooled(x, activations, [self.pooling[task] for task in self.active])
        return Output(pooled["auto"], {task: self.head(task)(self._seen(task, pooled)) for task in self.active})

    def _seen(self, task: str, pooled: Mapping[str, Features]) -> Features:
        """What the head of `task` reads."""
        how, learnt = self.pooling[task], self.head(task).pooling
        return pooled[how] if learnt is None else pool_by(pooled["auto"], how, learnt)

    def _pooled(self, x: Inputs, activations: Mapping[str, Tensor], wanted: Sequence[str]) -> dict[str, Features]:
        """Pooling → features; "auto", the backbone's own, among them, and none that learns."""
        split = "train" if self.training else "test"
        fixed = [how for how in wanted if how not in poolings.LEARNT]
        if self.cut is not None and self.cut.serves(activations):
            found = self.cut.features(self.backbone, x, split, activations)
        else:
            found = {"auto": self.backbone(self.backbone.transform(x, split))}
        return {**found, **{how: pool(found["auto"], how) for how in fixed if how not in found}}

    def __call__(self, x: Inputs, activations: Mapping[str, Tensor] = NONE) -> Output:  # nn.Module's own returns Any
        output: Output = super().__call__(x, activations)
        return output


def changed_names(model: Model, original: Mapping[int, int]) -> set[str]:
    """Names of all tensors of the model's state that its weights file cannot give back; of shared ones the first.

    original: `pristine(model.backbone)`, taken before any method touched the backbone.
    """
    kept, seen = set(), set()
    for name, tensor in state_tensors(model).items():
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        parameter = isinstance(tensor, nn.Parameter)
        untouched = original.get(id(tensor)) == tensor._version and not (parameter and tensor.requires_grad)
        if not untouched:
            kept.add(name)
    return kept


def pristine(backbone: Backbone) -> dict[int, int]:
    """id → version counter of every tensor of the backbone that came out of its weights file."""
    if backbone.fresh is None:
        return {}
    return {id(t): t._version for n, t in state_tensors(backbone).items() if n not in backbone.fresh}


def versions(model: Model) -> list[int]:
    """A counter a parameter, which every change in place raises."""
    return [parameter._version for parameter in model.parameters()]


def state_tensors(module: nn.Module) -> dict[str, Any]:
    """Like `state_dict`, but the very tensors (parameters stay parameters), whose identity and version can be asked."""
    return dict(module.state_dict(keep_vars=True))
