"""LoRA's A from what its layers see: EVA (Paischer et al., 2024, arXiv:2410.07170, algorithm 1)."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from peft import EvaConfig, get_eva_state_dict
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from tlresearch.config.errors import fail
from tlresearch.core.backbone import Backbone
from tlresearch.core.model import Model
from tlresearch.core.types import Batch


def check_layers(backbone: Backbone) -> None:
    """Refuses layers whose inputs are no vectors."""
    for name, layer in _layers(backbone).items():
        if not isinstance(layer.get_base_layer(), nn.Linear | Conv1D):
            message = f"needs linear layers and {name!r} is a {type(layer.get_base_layer()).__name__}; name others in "
            fail("initialisation", "eva", f"{message}`targets`, or choose pissa or olora")


def initialise(model: Model, batches: Iterable[Batch]) -> None:
    """Sets every A to the first right-singular vectors of its layer's inputs, by peft's incremental decomposition.

    Nothing happens once a B is no longer zero: the adapters have been trained, in an earlier stage or run. The ranks
    stay as they are (ρ = 1), so that a model can be built before its data are there. With several ranks each looks at
    its own rows; the first one's A is taken when the model is wrapped.
    """
    layers = _layers(model.backbone)
    if any(layer.lora_B["default"].weight.any() for layer in layers.values()):
        return
    config = copy.deepcopy(next(iter(model.backbone.peft_config.values())))  # type: ignore[operator]
    whole, rows = _Whole(model.backbone), [_Rows(batch) for batch in batches]
    if max(part.batch.rows for part in rows) < config.r:  # peft would wait for a larger batch for ever
        fail("method.lora.rank", config.r, "EVA needs batches of at least as many rows; lower it or raise batch_size")
    config.target_modules = {f"{name}.base_layer" for name in layers}
    config.eva_config = EvaConfig(rho=1.0)
    modes = {module: module.training for module in model.modules()}
    model.eval()
    with torch.no_grad():
        try:
            found = get_eva_state_dict(
                whole,
                rows,
                config,
                forward_fn=lambda network, rows: network(rows.batch),
                prepare_model_inputs_fn=lambda rows, config: rows.batch,
                prepare_layer_inputs_fn=_vectors,
                gather_distributed_inputs=False,
                show_progress_bar=False,
            )
        except ValueError as error:
            message = f"cannot be computed from these rows: {error}; lower the rank or raise batch_size"
            fail("method.lora.initialisation", "eva", message)
        for name, layer in layers.items():
            layer.lora_A["default"].weight.copy_(found[f"backbone.{name}.base_layer"])
    for module, mode in modes.items():
        module.training = mode


class _Rows:
    """A batch that is on its device already."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def to(self, device: torch.device) -> _Rows:
        return self


class _Whole(nn.Module):
    """The backbone as a function of batches, without the attribute by which peft would take it for its own model."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, batch: Batch) -> Any:
        return self.backbone(self.backbone.transform(batch.x, "test"))


def _layers(backbone: Backbone) -> dict[str, Any]:
    return {name: layer for name, layer in backbone.named_modules() if isinstance(layer, LoraLayer)}


def _vectors(inputs: Any, batch: Batch, name: str) -> Tensor:
    """A layer's inputs (N, in), without those at padded positions."""
    x: Tensor = inputs[0] if isinstance(inputs, tuple) else inputs
    mask = batch.x.get("attention_mask") if isinstance(batch.x, dict) else None
    if mask is not None and mask.shape == x.shape[:-1]:
        return x[mask.bool()]
    return x.flatten(0, -2)
