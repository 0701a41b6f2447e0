"""What a parameter is for: biases, and the scales and shifts of normalisation layers, in any family of networks."""

from __future__ import annotations

from torch import nn

NORMS = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def biases(module: nn.Module) -> dict[str, nn.Parameter]:
    """Name → parameter of every additive vector: `bias`, and what ends with `_bias` (in_proj_bias, q_bias).

    Those of normalisation layers are among them.
    """
    named = ((name, name.rpartition(".")[2], p) for name, p in module.named_parameters())
    return {name: p for name, leaf, p in named if leaf == "bias" or leaf.endswith("_bias")}


def norms(module: nn.Module) -> dict[str, nn.Parameter]:
    """Name → scale or shift of every normalisation layer.

    Such a layer is one of torch's, a class derived from one, or a class that says so by its name and has parameters of
    its own (T5LayerNorm, LlamaRMSNorm, GlobalResponseNorm): every family of transformers writes its own.
    """
    found = {}
    for prefix, layer in module.named_modules():
        if isinstance(layer, NORMS) or "norm" in type(layer).__name__.casefold():
            for name, parameter in layer.named_parameters(recurse=False):
                found[f"{prefix}.{name}" if prefix else name] = parameter
    return found
