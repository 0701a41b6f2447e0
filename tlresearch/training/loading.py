"""A finished run's model, rebuilt from its configuration and the tensors it saved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlresearch.core.model import Model
from tlresearch.core.types import Spec
from tlresearch.training import checkpoint
from tlresearch.training.assemble import assemble
from tlresearch.training.keeper import MODEL


def load_model(folder: Path, config: Mapping[str, Any], spec: Spec) -> Model:
    """The model of a run folder, heads included, on the CPU in evaluation mode; the data need not be there."""
    model = assemble(_within(folder, config), spec, spec.tasks).model
    tensors, _ = checkpoint.read(folder / MODEL)
    checkpoint.load_model(model, tensors)
    return model.eval()


def _within(folder: Path, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """An exported run brings configuration and tokenizer of its backbone along: `path:` is then below its folder."""
    kind, _, place = str(config["backbone"].get("model")).partition(":")
    if kind != "path" or Path(place).is_absolute() or not (folder / place).exists():
        return config
    return {**config, "backbone": {**config["backbone"], "model": f"path:{folder / place}"}}
