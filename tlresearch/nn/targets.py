"""Which modules of a backbone a tuner of peft adapts: found by name, tried one by one on copies."""

from __future__ import annotations

import copy
import logging
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTuner
from torch import Tensor, nn

from tlresearch.config.errors import fail
from tlresearch.core.backbone import Backbone
from tlresearch.core.seeding import seeded

logger = logging.getLogger("tlresearch")

ATTENTION = re.compile(r"(^|\.)(query|value|q_proj|v_proj|q_lin|v_lin|q|v|qkv|qkv_proj|query_key_value|c_attn|Wqkv)$")
"""Names that the query and value projections have in timm and transformers (fused ones included)."""
_NORM = re.compile(r"norm|(^|[._])ln(_|$)", re.IGNORECASE)

Misfit = Callable[[nn.Module], str]
"""A module → why the tuner cannot adapt it, "" where it can."""


def choose_targets(backbone: Backbone, tuner: type[BaseTuner], targets: str, misfit: Misfit, key: str) -> list[str]:
    """The full names of the modules to adapt.

    Args:
        targets: auto (query and value projections, and every linear and convolution layer of the blocks where there is
            no attention; all norms for a tuner of norms; the vocabulary for one of embeddings; what does not fit is
            left out), all (whatever fits in the blocks), or a regular expression that is searched in the names.
        misfit: asked once for each kind and shape of modules.
        key: what is to blame where `auto` and `all` find nothing: the options or the rank.

    Raises ConfigError where nothing or everything matches, or where a matching module does not fit.
    """
    modules = dict(backbone.named_modules())
    own = {name: module for name, module in modules.items() if any(True for _ in module.parameters(recurse=False))}
    inside = {id(m) for block in backbone.blocks() for m in block.modules()}
    fits = _Fits(own, misfit)
    if targets == "auto":
        groups = _automatic(own, inside, tuner)
    elif targets == "all":
        groups = [[name for name, module in own.items() if id(module) in inside]]
    else:
        return _searched(own, targets, fits)
    reasons: dict[str, str] = {}
    for names in groups:
        reasons |= {name: fits(name) for name in names}
        found = [name for name in names if not reasons[name]]
        if found:
            left = [name for name in names if reasons[name]]
            if left and targets == "auto":
                logger.info("%d modules are not adapted, e.g. %s: %s", len(left), left[0], reasons[left[0]])
            return found
    if not reasons:
        fail("targets", targets, "this backbone has no module of a known kind in its blocks; name some")
    name, reason = next(iter(reasons.items()))
    fail(key, targets, f"fits no module that targets={targets} finds, e.g. {name!r} ({_kind(own[name])}): {reason}")


def make_misfit(tuner: type[BaseTuner], config: Any) -> Misfit:
    """Tries the tuner on a copy of the module, forward pass included, and holds its rank against the module's width."""

    def misfit(module: nn.Module) -> str:
        alone, trial = nn.ModuleDict({"target": copy.deepcopy(module)}), copy.deepcopy(config)
        trial.target_modules = ["target"]
        if hasattr(trial, "feedforward_modules"):
            trial.feedforward_modules = []
        try:
            with seeded("misfit"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tuner(alone, trial, "default")
                learning = [p for p in alone.parameters() if p.requires_grad]
                example = _example(module)
                if example is not None:
                    with torch.no_grad():
                        alone["target"](example)
        except Exception as error:  # whatever peft raises is its reason
            return (str(error) or type(error).__name__).splitlines()[0]
        rank = getattr(trial, "init_r", None) or getattr(trial, "r", None)
        width = _width(module)
        if width and rank and rank > width and any(p.ndim > 1 and rank in p.shape for p in learning):
            return f"rank {rank} is above its width {width}"
        return "" if learning else "nothing there would be trained with these options"

    return misfit


class _Fits:
    """Why modules do not fit, by name; asked once for each kind and shape."""

    def __init__(self, modules: Mapping[str, nn.Module], misfit: Misfit) -> None:
        self.modules, self.misfit, self.known = modules, misfit, dict[tuple[Any, ...], str]()

    def __call__(self, name: str) -> str:
        module = self.modules[name]
        shapes = tuple(tuple(p.shape) for p in module.parameters(recurse=False))
        key = (type(module), shapes, getattr(module, "groups", 1), getattr(module, "kernel_size", None))
        if key not in self.known:
            self.known[key] = self.misfit(module)
        return self.known[key]


def _automatic(own: Mapping[str, nn.Module], inside: set[int], tuner: type[BaseTuner]) -> list[list[str]]:
    """Groups of names to try in turn."""
    mapped = [n for names in getattr(tuner, "target_module_mapping", {}).values() for n in names]
    norms = sum(bool(_NORM.search(name)) for name in mapped)
    if mapped and norms > len(mapped) / 2:  # peft's own targets for known networks tell what it is made for
        return [[name for name, module in own.items() if "Norm" in type(module).__name__]]
    layers = [name for name, module in own.items() if _is_layer(module)]
    attention = [name for name in layers if ATTENTION.search(name)]
    embeddings = [name for name, module in own.items() if isinstance(module, nn.Embedding)]
    vocabulary = sorted(embeddings, key=lambda name: -len(own[name].weight))[:1]  # type: ignore[arg-type]
    within = [name for name in layers if id(own[name]) in inside]
    return [group for group in (attention or within, vocabulary) if group]


def _searched(own: Mapping[str, nn.Module], pattern: str, fits: _Fits) -> list[str]:
    try:
        matching = [name for name in own if re.search(pattern, name)]
    except re.error as error:
        fail("targets", pattern, f"is no regular expression: {error}; give auto, all or one")
    reasons = {name: fits(name) for name in matching}
    kinds = {type(own[name]) for name, reason in reasons.items() if not reason}
    for name, reason in reasons.items():
        if reason and type(own[name]) in kinds and getattr(own[name], "groups", 1) == 1:
            fail("targets", pattern, f"matches {name!r} ({_kind(own[name])}), which does not fit: {reason}")
    found = [name for name, reason in reasons.items() if not reason]
    if not found and reasons:
        name, reason = next(iter(reasons.items()))
        fail("targets", pattern, f"matches nothing that fits, e.g. {name!r} ({_kind(own[name])}): {reason}")
    if not found:
        fail("targets", pattern, f"matches no module; there are e.g. {_examples(own)}")
    if 1 < len(found) == sum(type(module) in kinds for module in own.values()):
        fail("targets", pattern, f"matches everything, all {len(found)} modules; targets=all says so")
    return found


def _is_layer(module: nn.Module) -> bool:
    """A linear layer (GPT-2's Conv1D is one) or an ungrouped convolution."""
    convolution = isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) and module.groups == 1
    return isinstance(module, nn.Linear) or convolution or type(module).__name__ == "Conv1D"


def _width(module: nn.Module) -> int | None:
    """The largest rank that the module's weight, as a matrix, can have."""
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim < 2:
        return None
    return int(min(len(weight), weight[0].numel()))


def _example(module: nn.Module) -> Tensor | None:
    """An input for a module alone, None for kinds that need no trial."""
    if isinstance(module, nn.Linear):
        return torch.zeros(2, module.in_features)
    if isinstance(module, nn.Conv2d):
        size = [2 * d * (k - 1) + 2 for k, d in zip(module.kernel_size, module.dilation, strict=True)]
        return torch.zeros(2, module.in_channels, *size)
    if isinstance(module, nn.Embedding):
        return torch.zeros(2, 3, dtype=torch.long)
    return torch.zeros(2, len(module.weight)) if type(module).__name__ == "Conv1D" else None  # type: ignore[arg-type]


def _kind(module: nn.Module) -> str:
    weight = getattr(module, "weight", None)
    shape = "×".join(map(str, weight.shape)) if isinstance(weight, Tensor) else ""
    return f"{type(module).__name__} {shape}".strip()


def _examples(own: Mapping[str, nn.Module]) -> str:
    names: Iterable[str] = [name for name, module in own.items() if _is_layer(module)] or own
    return ", ".join(list(names)[:8])
