"""A trained model's answers to new inputs: batch by batch, in their order, never all at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from tlresearch.config.errors import ConfigError, choose, require
from tlresearch.core.batching import move
from tlresearch.core.kinds import kind_of
from tlresearch.core.model import Model
from tlresearch.core.rows import Row
from tlresearch.core.types import Batch, Spec
from tlresearch.results.inputs import Input
from tlresearch.training.data import ahead
from tlresearch.training.launch import check_devices

ON_ERROR = ("stop", "skip")
_WORKERS = {"image": 4, "text": 1}
"""Threads that prepare batches: decoders of images release the interpreter, tokenizers refuse to be shared."""


class Prediction(NamedTuple):
    """The answer to one input.

    logits: task → (C,) on the CPU. probabilities: task → label → probability in [0, 1], the predicted label first, the
    others falling; values: task → number, for a regression. error: why there is none of this; "" where there is.

    A probability is softmax(logits), whose negative logarithm is the head's cross entropy; nothing calibrates it. For
    head `prototype` it is the softmax of negative squared distances (Snell et al., 2017, arXiv:1703.05175, eq. 2), or
    of cosines and then near 1 / C: it ranks, but says little about confidence. A class never seen in training has 0.
    """

    input: Input
    logits: dict[str, Tensor]
    probabilities: dict[str, dict[str, float]]
    values: dict[str, float]
    error: str = ""

    @property
    def labels(self) -> dict[str, str]:
        """Task → the predicted label, for tasks with classes."""
        return {task: next(iter(found)) for task, found in self.probabilities.items()}


def choose_device(accelerator: str) -> torch.device:
    """auto (the GPU that torch finds, the CPU without one), cpu, cuda or mps; ConfigError where it is not there."""
    choose("accelerator", accelerator, ("auto", "cpu", "cuda", "mps"))
    check_devices({"accelerator": accelerator, "devices": 1, "precision": "32-true", "num_nodes": 1})
    if accelerator == "auto":
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    return torch.device(accelerator)


def predict(
    model: Model, spec: Spec, inputs: Iterable[Input], *, batch_size: int, device: torch.device, on_error: str
) -> Iterator[Prediction]:
    """The model's answer to every input, in their order, computed in float32 while the next batches are prepared.

    Args:
        model: is moved to `device`. spec: what it was trained on.
        batch_size: inputs a batch, at least 1; the answers do not depend on it (but for rounding).
        on_error: stop (an input that cannot be read raises ConfigError) or skip (its answer is the error's message).

    Raises ConfigError for tasks of an unknown kind.
    """
    require(batch_size >= 1, "batch_size", batch_size, "an integer of at least 1")
    choose("on_error", on_error, ON_ERROR)
    for task in spec.tasks:
        kind_of(task)
    preparation = _Preparation(model, on_error == "skip")
    rest = iter(inputs)
    chunks = iter(lambda: list(islice(rest, batch_size)), [])
    ready = ahead(preparation, chunks, _WORKERS.get(spec.modality, 1))
    model.to(device).eval()
    return (answer for chunk in ready for answer in _answers(model, chunk, device))


class _Chunk(NamedTuple):
    """inputs, the error of each ("" where it was read), and those that were read as a batch."""

    inputs: list[Input]
    errors: list[str]
    batch: Batch | None


class _Preparation:
    """Inputs → a _Chunk."""

    def __init__(self, model: Model, skip: bool) -> None:
        self.backbone, self.skip = model.backbone, skip
        self.preprocess = model.backbone.preprocess("test")

    def __call__(self, inputs: list[Input]) -> _Chunk:
        rows: list[Row] = []
        errors = []
        for number, given in enumerate(inputs):
            try:
                rows.append(self.preprocess(Row(input=given.value, labels={}, domain=0, index=number, weight=1.0)))
                errors.append("")
            except (OSError, ValueError) as error:  # a ConfigError, which names the file itself, is one
                own = isinstance(error, ConfigError)
                message = str(error) if own else f"{given.name} cannot be read: {error}"
                if not self.skip:
                    raise ConfigError(f"{message} (on-error skip answers the others)") from error
                errors.append(message)
        return _Chunk(inputs, errors, self.backbone.collate(rows) if rows else None)


def _answers(model: Model, chunk: _Chunk, device: torch.device) -> Iterator[Prediction]:
    found: Iterator[Prediction] = iter(())
    read = [given for given, error in zip(chunk.inputs, chunk.errors, strict=True) if not error]
    if chunk.batch is not None:
        found = _decoded(model, read, *_forward(model, move(chunk.batch, device)))
    for given, error in zip(chunk.inputs, chunk.errors, strict=True):
        yield Prediction(given, {}, {}, {}, error) if error else next(found)


@torch.inference_mode()
def _forward(model: Model, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Task → logits (B, C), and the decoded answers (B,), on the CPU."""
    out = model(batch.x)
    logits = {task: values.float() for task, values in out.logits.items()}
    decoded = {task: model.head(task).predict(values, out.features.mask).cpu() for task, values in logits.items()}
    return {task: values.cpu() for task, values in logits.items()}, decoded


def _decoded(
    model: Model, inputs: list[Input], logits: dict[str, Tensor], decoded: dict[str, Tensor]
) -> Iterator[Prediction]:
    ranked: dict[str, list[dict[str, float]]] = {}
    numbers: dict[str, list[float]] = {}
    for task, values in logits.items():
        if model.head(task).kind.classes:
            ranked[task] = _ranked(model.labels[task], values, decoded[task])
        else:
            numbers[task] = decoded[task].tolist()
    for i, given in enumerate(inputs):
        probabilities = {task: rows[i] for task, rows in ranked.items()}
        own = {task: row[i] for task, row in logits.items()}
        yield Prediction(given, own, probabilities, {task: rows[i] for task, rows in numbers.items()})


def _ranked(labels: Sequence[str], logits: Tensor, decoded: Tensor) -> list[dict[str, float]]:
    """For each row label → probability, the decoded label first."""
    probabilities = logits.double().softmax(-1)
    first = probabilities.scatter(1, decoded.unsqueeze(1), 2.0)  # whatever the head decodes, not the largest
    order = first.argsort(dim=1, descending=True, stable=True)
    names = [[labels[i] for i in row] for row in order.tolist()]
    ordered = probabilities.gather(1, order).tolist()
    return [dict(zip(*pair, strict=True)) for pair in zip(names, ordered, strict=True)]
