"""What activations depend on, beside the rows: the key that they are kept under."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from tlresearch.core.model import Model, state_tensors
from tlresearch.core.prefix import front_tensors
from tlresearch.core.weights import Weights
from tlresearch.results.identity import source_hashes

LIBRARIES = ("torch", "torchvision", "timm", "transformers", "tokenizers", "peft", "pillow", "numpy")
"""Those whose version may change an activation by more than rounding."""


def describe_front(
    config: Mapping[str, Any], model: Model, depth: int | None, original: Mapping[int, int]
) -> dict[str, Any]:
    """Weights, architecture and preprocessing, cut, precision and code, as JSON values.

    Weights that came out of their file and have not changed since count by the file's digest, others by their values.
    """
    options = {name: value for name, value in config["backbone"].items() if name != "weights"}
    sources = source_hashes({**config, "method": {}})
    parameter = next(model.backbone.parameters())
    return {
        "backbone": options,
        "depth": depth,
        "weights": _weights(config, model, depth, original),
        "precision": config["precision"],
        "dtype": config["cache"]["dtype"],
        "device": parameter.device.type,
        "sources": {name: sources[name] for name in (f"backbone.{config['backbone']['name']}", "tlresearch")},
        "versions": {name: _version(name) for name in LIBRARIES},
    }


def _weights(config: Mapping[str, Any], model: Model, depth: int | None, original: Mapping[int, int]) -> str:
    front = front_tensors(model.backbone, depth)
    saved = {id(tensor) for tensor in state_tensors(model.backbone).values()}
    digest = hashlib.sha256()
    if all(original.get(id(t)) == t._version for t in front.values() if id(t) in saved):
        digest.update(_of_file(config).encode())
        front = {name: tensor for name, tensor in front.items() if id(tensor) not in saved}  # no file has them
    for name, tensor in sorted(front.items()):
        value = tensor.detach().cpu().contiguous()
        digest.update(f"{name.replace('.base_layer', '')} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _of_file(config: Mapping[str, Any]) -> str:
    return Weights.parse(config["backbone"]["weights"]).digest(config["backbone"].get("model") or "")


@cache
def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
