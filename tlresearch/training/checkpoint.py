"""Checkpoints as safetensors files: tensors by name, everything else as JSON in the header. Never pickle."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tlresearch.core.method import Method
from tlresearch.core.model import Model, state_tensors
from tlresearch.nn.row_bank import make_room


def write(path: Path, tensors: Mapping[str, Tensor], extra: Mapping[str, Any]) -> None:
    """Writes atomically: a reader sees the old file or the new one, never half of it."""
    from safetensors.torch import save_file

    partial = path.with_name(path.name + ".partial")
    ready = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    save_file(ready, partial, metadata={"json": json.dumps(extra), "order": json.dumps(list(ready))})
    with open(partial, "rb") as file:
        os.fsync(file.fileno())
    os.replace(partial, path)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The inverse of `write`, tensors on the CPU and in their order: sums over them must not change their last bit."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in json.loads(metadata["order"])}
        extra = json.loads(metadata["json"])
    return tensors, extra


def content_digest(path: Path) -> str:
    """SHA-256 (hex) of what a file holds: two files of the same content may differ in the order of their header."""
    tensors, extra = read(path)
    digest = hashlib.sha256(json.dumps(extra, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\0{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose name starts with `prefix`, without it."""
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def model_state(model: Model, names: set[str]) -> dict[str, Tensor]:
    """Copies of the named tensors of the model's state."""
    return {name: t.detach().clone() for name, t in state_tensors(model).items() if name in names}


def load_model(model: Model, tensors: Mapping[str, Tensor]) -> None:
    """Copies tensors into the model; a name it does not have or another shape is an error."""
    make_room(model, tensors)
    own = state_tensors(model)
    unknown = sorted(set(tensors) - set(own))
    if unknown:
        raise ValueError(f"the checkpoint has tensors this model lacks: {', '.join(unknown[:5])}")
    with torch.no_grad():
        for name, tensor in tensors.items():
            if own[name].shape != tensor.shape:
                raise ValueError(
                    f"{name}: shape {tuple(tensor.shape)} in the checkpoint, {tuple(own[name].shape)} here"
                )
            if not torch.equal(own[name], tensor.to(own[name])):  # a tensor's version tells whether it is at rest
                own[name].copy_(tensor)


def split_state(states: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Two-level state (owner → key → tensor or JSON value) as flat tensors "owner/key" and the rest."""
    tensors = {f"{o}/{k}": v for o, state in states.items() for k, v in state.items() if isinstance(v, Tensor)}
    rest = {o: {k: v for k, v in state.items() if not isinstance(v, Tensor)} for o, state in states.items()}
    return tensors, rest


def join_state(tensors: Mapping[str, Tensor], rest: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The inverse of `split_state`."""
    return {owner: {**values, **below(tensors, f"{owner}/")} for owner, values in rest.items()}


def method_states(methods: Mapping[str, Method]) -> dict[str, dict[str, Any]]:
    """Method name → a copy of what it needs to resume."""
    return {
        name: {k: v.detach().clone() if isinstance(v, Tensor) else v for k, v in method.state_dict().items()}
        for name, method in methods.items()
    }


def load_methods(methods: Mapping[str, Method], states: Mapping[str, Mapping[str, Any]], device: torch.device) -> None:
    """The inverse of `method_states`; tensors go to `device`."""
    """Gives every method its kept state back."""
    for name, method in methods.items():
        state = states.get(name, {})
        method.load_state_dict({k: v.to(device) if isinstance(v, Tensor) else v for k, v in state.items()})


def optimizer_state(model: Model, optimizer: torch.optim.Optimizer | None) -> dict[str, dict[str, Any]]:
    """Parameter name → its state in the optimizer."""
    if optimizer is None:
        return {}
    return {name: dict(optimizer.state[p]) for name, p in model.named_parameters() if p in optimizer.state}


def load_optimizer(
    model: Model, optimizer: torch.optim.Optimizer | None, states: Mapping[str, Mapping[str, Any]]
) -> None:
    """Gives the optimizer its kept state back, by parameter name."""
    if optimizer is None:
        return
    on_device = {
        id(parameter): bool(group.get("fused") or group.get("capturable"))
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    for name, state in states.items():
        parameter = model.get_parameter(name)
        # torch keeps the scalar `step` on the CPU unless the implementation is fused or capturable
        scalars = parameter.device if on_device.get(id(parameter)) else torch.device("cpu")
        optimizer.state[parameter] = {
            k: v.to(parameter.device if v.shape == parameter.shape else scalars) if isinstance(v, Tensor) else v
            for k, v in state.items()
        }
