"""A finished run's model, rebuilt from its configuration and the tensors it saved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlresearch.core.model import Model
from tlresearch.training import checkpoint
from tlresearch.training.assemble import assemble, build_stream, prepare_heads
from tlresearch.training.keeper import MODEL


def load_model(folder: Path, config: Mapping[str, Any]) -> Model:
    """The model of a run folder, heads included, on the CPU in evaluation mode. Builds the data for its spec."""
    stream = build_stream(config)
    model = assemble(config, stream.spec, stream.stages[0]).model
    for stage in stream.stages:
        prepare_heads(model, config, stage.tasks)
    tensors, _ = checkpoint.read(folder / MODEL)
    checkpoint.load_model(model, tensors)
    return model.eval()
