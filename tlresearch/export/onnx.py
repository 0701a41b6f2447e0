"""One ONNX graph from preprocessed inputs to logits, normalisation included."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tlresearch.config.errors import fail
from tlresearch.core.model import Model
from tlresearch.export import encoder, labels
from tlresearch.export.card import code
from tlresearch.export.source import Source

REQUIRES = ("onnx", "onnxscript", "onnxruntime")
FILE = "model.onnx"
LIMIT = 10**9
"""Above so many bytes of tensors they lie in a file of their own beside the graph, which may hold 2 GB at most."""

_PLAIN = {"image": "pixels", "vector": "values"}
"""The name of the one input where inputs have no names of their own."""


class Graph(nn.Module):
    """A model whose inputs and outputs are plain tensors in a fixed order. names: of the inputs, if they have any."""

    def __init__(self, model: Model, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Preprocessed inputs → the logits (B, C) of every task."""
        x = dict(zip(self.names, inputs, strict=True)) if self.names else inputs[0]
        return tuple(self.model(x).logits.values())


def obstacle(source: Source) -> str:
    """Nothing is known beforehand; an operator that ONNX lacks is found when the graph is made."""
    return ""


def write(source: Source, folder: Path) -> str:
    """Saves model.onnx and labels.json; the batch and, for texts, the length vary freely."""
    import onnx

    names, inputs = _inputs(source)
    text = isinstance(source.inputs, dict)
    graph = Graph(source.model, names if text else []).eval()
    free = dict.fromkeys(range(2 if text else 1), torch.export.Dim.DYNAMIC)
    large = sum(tensor.nbytes for tensor in graph.state_dict().values()) > LIMIT
    with _quiet(), torch.no_grad():
        try:
            program: Any = torch.onnx.export(
                graph,
                inputs,
                dynamo=True,
                dynamic_shapes=(tuple(dict(free) for _ in names),),
                input_names=names,
                output_names=_outputs(source),
                custom_translation_table=_translations(),
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            cause = str(error.__cause__ or error).splitlines()[0]
            fail("--format", "onnx", f"an operator of this model has no form in ONNX ({cause}); try safetensors")
    program.model.metadata_props["labels"] = labels.as_json(source)
    program.save(folder / FILE, external_data=large)
    onnx.checker.check_model(folder / FILE)
    labels.write(source, folder)
    return _usage(source, folder, names)


def reload(source: Source, folder: Path) -> dict[str, Tensor]:
    """By onnxruntime, row by row: another batch size and other lengths than those of the export."""
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / FILE, providers=["CPUExecutionProvider"])
    names, inputs = _inputs(source)
    rows = []
    for i in range(len(inputs[0])):
        row = {name: tensor[i : i + 1] for name, tensor in zip(names, inputs, strict=True)}
        if "attention_mask" in row:
            length = int(row["attention_mask"].sum())
            row = {name: tensor[:, :length] for name, tensor in row.items()}
        rows.append(session.run(None, {name: tensor.numpy() for name, tensor in row.items()}))
    return {task: torch.cat([torch.from_numpy(row[k]) for row in rows]) for k, task in enumerate(source.logits)}


def _inputs(source: Source) -> tuple[list[str], tuple[Tensor, ...]]:
    if isinstance(source.inputs, dict):
        return list(source.inputs), tuple(source.inputs.values())
    return [_PLAIN[source.run.spec.modality]], (source.inputs,)


def _outputs(source: Source) -> list[str]:
    """logits, or logits_TASK where there are several tasks."""
    return ["logits"] if len(source.logits) == 1 else [f"logits_{task}" for task in source.logits]


def _usage(source: Source, folder: Path, names: list[str]) -> str:
    if isinstance(source.inputs, dict):
        encoder.save_tokenizer(source, folder)
        imports = ["from transformers import AutoTokenizer"]
        feed = [
            encoder.USAGE_TEXTS,
            'tokenizer = AutoTokenizer.from_pretrained(".")',
            'batch = tokenizer(texts, padding=True, truncation=True, return_tensors="np")',
            f"feed = {{name: batch[name] for name in {names}}}",
        ]
    else:
        imports = ["import numpy"]
        shape, kind = (2, *source.inputs.shape[1:]), str(source.inputs.dtype).removeprefix("torch.")
        feed = [f'feed = {{"{names[0]}": numpy.zeros({shape}, "{kind}")}}']
    task = next(iter(source.logits))
    lines = code(
        *(("import json", "") if source.task.labels else ()),
        "import onnxruntime",
        *imports,
        "",
        *feed,
        f'session = onnxruntime.InferenceSession("{FILE}")',
        "logits, *others = session.run(None, feed)",
        *labels.decoding(
            source,
            'names = json.loads(session.get_modelmeta().custom_metadata_map["labels"])',
            f'labels = [names["{task}"][i] for i in logits.argmax(-1)]',
        ),
    )
    if source.run.spec.modality != "image":
        return lines
    data = getattr(source.model.backbone, "data", None)  # timm's own way; the other backbones have one in common
    reader = getattr(source.model.backbone, "reader", None)
    made = "resized to that shape (bilinear), whatever their sides were"
    if data is not None:
        made = f"as `timm.data.create_transform(**{data}, is_training=False, normalize=False)` makes them of an image"
    if reader is not None:
        made = "as the image processor of the network makes them, `do_rescale=False, do_normalize=False`"
    return f"{lines}\n\nPixels are 0 … 255, {made}; the graph normalises them."


def _translations() -> dict[Any, Any]:
    """Euclidean distance (B, D), (C, D) → (B, C), which the exporter does not know (head `prototype`)."""
    import onnxscript

    op: Any = onnxscript.opset18  # its annotations know no lists

    def distance(x1: Any, x2: Any, p: float, compute_mode: int | None = None) -> Any:
        difference = op.Sub(op.Unsqueeze(x1, [-2]), op.Unsqueeze(x2, [-3]))
        return op.ReduceL2(difference, [-1], keepdims=0)

    return {torch.ops.aten._cdist_forward.default: distance}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's notes to its own developers."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
