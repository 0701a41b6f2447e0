"""Reading weights files and loading them into a network; no pickled code is ever run."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from tlresearch.config.errors import fail
from tlresearch.core.weights import ENDINGS, Weights, weights_file

_NESTS = ("state_dict", "model", "model_state_dict")
_LOG = logging.getLogger(__name__)


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file (safetensors, or a torch state dict), or of the one such file in a folder, by name.

    A state dict that lies within a larger checkpoint is found; the prefix of DataParallel is removed.
    """
    file = weights_file(path) if path.is_dir() else path
    if file is None or file.suffix not in ENDINGS:
        fail("weights", str(path), f"holds no weights; give a file that ends in {', '.join(ENDINGS)}")
    if file.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(file)
        except SafetensorError as error:
            fail("weights", str(file), f"is not a safetensors file ({error}); give an intact one")
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).split("\n", 1)[0]
        fail("weights", str(file), f"is not a plain state dict ({reason}); save the tensors alone, best as safetensors")
    for nest in _NESTS:
        if isinstance(found, Mapping) and isinstance(found.get(nest), Mapping):
            found = found[nest]
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        fail("weights", str(file), "is not a state dict; save `model.state_dict()`, best as safetensors")
    state = dict(found)
    prefixed = bool(state) and all(name.startswith("module.") for name in state)
    return {name.removeprefix("module."): value for name, value in state.items()} if prefixed else state


def fit_names(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state under the network's own names: tensors whose names are all foreign are matched in order.

    In order = no name in common, the same number of tensors, and the same shape at every place.
    """
    own = network.state_dict()
    in_order = not own.keys() & state.keys() and [t.shape for t in own.values()] == [t.shape for t in state.values()]
    return dict(zip(own, state.values(), strict=True)) if in_order else dict(state)


def load(network: nn.Module, state: Mapping[str, Tensor], optional: Collection[str] = ()) -> frozenset[str]:
    """Loads `state` and returns the names (as in `state_dict`) that it did not provide; tensors beyond them are logged.

    Args:
        optional: names that may be missing (the classifier's). So may the step counters of BatchNorm.

    Raises:
        ConfigError: tensors are missing, or of another shape; they are named.
    """
    own = network.state_dict()
    wrong = [
        f"{n} {tuple(state[n].shape)} instead of {tuple(own[n].shape)}"
        for n in own.keys() & state.keys()
        if state[n].shape != own[n].shape
    ]
    if wrong:
        fail("weights", type(network).__name__, misfit(wrong, type(network).__name__))
    missing = own.keys() - state.keys()
    needed = [n for n in missing if n not in optional and not n.endswith("num_batches_tracked")]
    unused = state.keys() - own.keys()
    if needed:
        fail("weights", type(network).__name__, lack(needed, own, type(network).__name__, state))
    if unused:
        _LOG.info("%d tensors have no place in %s: %s", len(unused), type(network).__name__, some(unused))
    network.load_state_dict(state, strict=False)
    return frozenset(missing)


def load_plain(network: nn.Module, weights: Weights, name: str) -> frozenset[str] | None:
    """Loads the weights of a backbone that knows no hub; None where there are none."""
    if weights.kind == "none":
        return None
    path = weights.location()
    if path is None:
        fail("weights", str(weights), f"there is no {name} on the hub; give path:FILE, package:NAME or none")
    return load(network, fit_names(network, read(path)))


def misfit(wrong: Collection[str], network: str) -> str:
    """The message for tensors of other shapes, each told as NAME SHAPE instead of SHAPE."""
    return f"{len(wrong)} shapes differ from those of {network}: {some(wrong)}; choose the model they were made for"


def lack(missing: Collection[str], own: Collection[str], network: str, given: Collection[str]) -> str:
    """The message for tensors that are not there. own, given: the names that the network and the weights have."""
    told = f"{len(missing)} of {len(own)} tensors are missing: {some(missing)}"
    unused = set(given) - set(own)
    if unused and len(unused) == len(given):
        told = f"these are weights of another architecture than {network}: {told}; they hold {some(unused)}"
    elif unused:
        told += f"; without a place: {some(unused)}"
    return f"{told}; choose the model they were made for"


def some(names: Collection[str]) -> str:
    """The first of the names, in alphabetical order, and how many more there are."""
    first = sorted(names)[:5]
    return ", ".join(first) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
