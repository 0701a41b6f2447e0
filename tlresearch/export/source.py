"""What every format starts from: a finished run, its model without adapters, and its answers on a probe."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from tlresearch.config.errors import ConfigError
from tlresearch.core.backbone import Backbone
from tlresearch.core.model import Model
from tlresearch.core.rows import Row
from tlresearch.core.types import Inputs, Spec, Task
from tlresearch.heads.linear import Linear
from tlresearch.nn.adapters import without_adapters
from tlresearch.nn.added import Added
from tlresearch.results.runs import Run
from tlresearch.training.assemble import head_config
from tlresearch.training.keeper import MODEL

TEXTS = (
    "The parcel has not arrived.",
    "ok",
    "Thank you! All 3 of them are fine now, and I wish you a very good day.",
    "One long message, longer than what most networks are asked to read at once. " * 12,
)
"""The probe of a text model: lengths differ, and one of them is cut off by the usual `max_length`."""


class Source(NamedTuple):
    """A model on its way out.

    model: a copy in evaluation mode, adapters merged; inputs: a preprocessed batch; logits: what the run's own model
    answers to it, task → (B, C).
    """

    run: Run
    model: Model
    inputs: Inputs
    logits: dict[str, Tensor]

    @property
    def task(self) -> Task:
        """The first task; most formats hold one only (`one_linear_head`)."""
        return self.run.spec.tasks[0]

    @property
    def head(self) -> nn.Linear:
        """From features to the logits of the first task's head, which must be a linear one, as one layer."""
        head = self.model.head(self.task.name)
        assert isinstance(head, Linear)
        return head.kind.folded(head.output)

    @property
    def pooling(self) -> str:
        """How the first task's head gets its features; auto only where the backbone does not name its own."""
        how = self.model.pooling[self.task.name]
        return str(getattr(self.model.backbone, "pooling", how)) if how == "auto" else how


def read(run: Run) -> Source:
    """Loads the model of a run and asks it for its answers; raises ConfigError where the run has none."""
    trained = run.status == "done" and run.config["predictor"] is None
    if trained and not (run.folder / MODEL).is_file():
        raise ConfigError(f"{str(run.folder)!r} has lost its {MODEL}; train it again in a new store")
    model = run.model
    inputs = probe(model.backbone, run.spec)
    with torch.no_grad():
        logits = model(inputs).logits
    return Source(run, without_adapters(model), inputs, logits)


def probe(backbone: Backbone, spec: Spec) -> Inputs:
    """Three to four inputs of the run's modality, preprocessed as in evaluation; always the same."""
    preprocess, generator = backbone.preprocess("test"), torch.Generator().manual_seed(0)
    values: list[str] | list[Tensor]
    if spec.modality == "text":
        values = list(TEXTS)
    elif spec.modality == "image":
        shape = spec.input_shape or (3, 64, 64)
        values = [torch.randint(256, shape, generator=generator, dtype=torch.uint8) for _ in range(3)]
    else:
        assert spec.input_shape is not None, "vectors have one shape"
        values = [torch.randn(spec.input_shape, generator=generator) for _ in range(3)]
    rows = [Row(input=value, labels={}, domain=0, index=i, weight=1.0) for i, value in enumerate(values)]
    return backbone.collate([preprocess(row) for row in rows]).x


def one_linear_head(source: Source, backbone: str) -> str:
    """Why a format for one linear head on that backbone cannot hold the model, "" where it can."""
    config, tasks = source.run.config, source.run.spec.tasks
    if config["backbone"]["name"] != backbone:
        return f"it is for backbone {backbone!r} and this run has {config['backbone']['name']!r}"
    if len(tasks) > 1:
        return f"it holds one task and this run has {', '.join(task.name for task in tasks)}"
    if source.run.spec.modality == "image" and backbone == "transformers":
        return "it holds models of texts and this run reads images"
    if source.model.head(tasks[0].name).pooling is not None:
        return f"it holds no pooling that learns and this run has head.pooling={source.model.pooling[tasks[0].name]}"
    added = [name for name, module in source.model.backbone.named_modules() if isinstance(module, Added)]
    if added:
        method = added[0].rpartition(".")[2]
        return f"method {method!r} has put {added[0]!r} into the network, which no class of that library has"
    head = head_config(config, tasks[0])["name"]
    return "" if head == "linear" else f"it holds a linear head and this run has {head!r}"
