"""Backbone, heads and the modules of methods as one network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from tlresearch.core.backbone import Backbone
from tlresearch.core.head import Head, pool
from tlresearch.core.types import Features, Inputs, Output, Task

PREFIX = "head_"
"""Before every task's name: a ModuleDict refuses names such as "type"."""


class Model(nn.Module):
    """backbone; heads: "head_" + task → Head; aux: method name → its modules.

    Attributes:
        active: the tasks whose logits `forward` computes.
        pooling: task → `head.pooling`.
        labels: task → the label names its head knows so far.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = nn.ModuleDict()
        self.aux = nn.ModuleDict()
        self.active: tuple[str, ...] = ()
        self.pooling: dict[str, str] = {}
        self.labels: dict[str, tuple[str, ...]] = {}

    def add_head(self, task: Task, head: Head, pooling: str = "auto") -> None:
        """A head for a task that has none yet."""
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

    def features(self, x: Inputs, task: str) -> Features:
        """Preprocessed inputs → the features that the head of `task` sees."""
        features = self.backbone(self.backbone.transform(x, "train" if self.training else "test"))
        return pool(features, self.pooling[task])

    def forward(self, x: Inputs) -> Output:
        """Preprocessed inputs → features and the logits of the active tasks; augments in training mode only."""
        features = self.backbone(self.backbone.transform(x, "train" if self.training else "test"))
        pooled = {how: pool(features, how) for how in dict.fromkeys(self.pooling[task] for task in self.active)}
        return Output(features, {task: self.head(task)(pooled[self.pooling[task]]) for task in self.active})

    def __call__(self, x: Inputs) -> Output:  # nn.Module's own returns Any
        output: Output = super().__call__(x)
        return output


def changed_names(model: Model, original: Mapping[int, int]) -> set[str]:
    """Names of all tensors of the model's state that its weights file cannot give back.

    original: `pristine(model.backbone)`, taken before any method touched the backbone.
    """
    kept = set()
    for name, tensor in state_tensors(model).items():
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


def state_tensors(module: nn.Module) -> dict[str, Any]:
    """Like `state_dict`, but the very tensors (parameters stay parameters), whose identity and version can be asked."""
    return dict(module.state_dict(keep_vars=True))
