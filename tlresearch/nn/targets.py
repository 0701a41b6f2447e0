"""Which modules of a backbone a tuner of peft adapts: found by name, tried one by one on copies."""

from __future__ import annotations

import copy
import logging
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTuner
from torch import Tensor, nn

from tlresearch.config.errors import fail
from tlresearch.core.backbone import Backbone
from tlresearch.core.seeding import seeded
from tlresearch.nn.added import modules

logger = logging.getLogger("tlresearch")

ATTENTION = re.compile(r"(^|\.)(query|value|q_proj|v_proj|q_lin|v_lin|q|v|qkv|qkv_proj|query_key_value|c_attn|Wqkv)$")
"""Names that the query and value projections have in timm and transformers (fused ones included)."""
_NORM = re.compile(r"norm|(^|[._])ln(_|$)", re.IGNORECASE)

Misfit = Callable[[nn.Module], str]
"""A module → why the tuner cannot adapt it, "" where it can."""


def choose_targets(backbone: Backbone, tuner: type[BaseTuner], config: Any, targets: str, key: str) -> list[str]:
    """The full names of the modules to adapt.

    Suited are linear layers and ungrouped convolutions; norms for a tuner of norms, embeddings for one of tokens.

    Args:
        config: peft's, without target modules.
        targets: auto (query and value projections, and whatever is suited in the blocks where there is no attention;
            all norms; the vocabulary; what does not fit is left out), all (whatever is suited in the blocks and fits),
            or a regular expression that is searched in the names (of modules of other kinds where it finds no other).
        key: what is to blame where `auto` and `all` find nothing: the options or the rank.

    Raises ConfigError where nothing or everything matches, or where a matching module does not fit.
    """
    own = {name: module for name, module in modules(backbone) if any(True for _ in module.parameters(recurse=False))}
    suited = _suited(tuner, config)
    fits = _Fits(own, _make_misfit(tuner, config))
    if targets not in ("auto", "all"):
        return _searched(own, suited, targets, fits)
    names = [name for name, module in own.items() if suited(module)]
    if suited is _is_layer:
        inside = {id(m) for block in backbone.blocks() for m in block.modules()}
        attention = [name for name in names if ATTENTION.search(name)] if targets == "auto" else []
        names = attention or [name for name in names if id(own[name]) in inside]
    elif suited is _is_embedding and targets == "auto":
        names = sorted(names, key=lambda name: -_vocabulary(own[name]))[:1]
    if not names:
        fail("targets", targets, "this backbone has no module of the kind that is adapted; name some")
    reasons = {name: fits(name) for name in names}
    left = {name: reason for name, reason in reasons.items() if reason}
    if len(left) == len(names):
        example = f"{names[0]!r} ({_kind(own[names[0]])}): {left[names[0]]}"
        fail(key, targets, f"fits no module that targets={targets} finds, e.g. {example}")
    if left:
        name = next(iter(left))
        logger.info("%d modules are not adapted, e.g. %s: %s", len(left), name, left[name])
    return [name for name in names if name not in left]


def _make_misfit(tuner: type[BaseTuner], config: Any) -> Misfit:
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
                learning = [p for p in alone.parameters() if p.requires_grad and p.numel()]
                if not learning:
                    return "nothing there would be trained with these options"
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
        return ""

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


def _vocabulary(module: nn.Module) -> int:
    return int(module.num_embeddings)  # type: ignore[arg-type]


def _suited(tuner: type[BaseTuner], config: Any) -> Callable[[nn.Module], bool]:
    """The kind of modules that the tuner is made for, by peft's own targets for known networks and its options."""
    mapped = [n for names in (getattr(tuner, "target_module_mapping", None) or {}).values() for n in names]
    if sum(bool(_NORM.search(name)) for name in mapped) > len(mapped) / 2:
        return _is_norm
    return _is_embedding if hasattr(config, "token_indices") else _is_layer


def _searched(
    own: Mapping[str, nn.Module], suited: Callable[[nn.Module], bool], pattern: str, fits: _Fits
) -> list[str]:
    try:
        named = [name for name in own if re.search(pattern, name)]
    except re.error as error:
        fail("targets", pattern, f"is no regular expression: {error}; give auto, all or one")
    if not named:
        fail("targets", pattern, f"matches no module; there are e.g. {_examples(own, suited)}")
    matching = [name for name in named if suited(own[name])] or named
    everything = {name for name, module in own.items() if suited(module)}
    if len(everything) > 1 and everything <= set(matching):
        fail("targets", pattern, f"matches everything, all {len(everything)} modules that suit; targets=all says so")
    for name in matching:
        if fits(name):
            example = f"{name!r} ({_kind(own[name])}), which does not fit: {fits(name)}"
            fail("targets", pattern, f"matches {example}; there are e.g. {_examples(own, suited)}")
    return matching


def _is_norm(module: nn.Module) -> bool:
    return "Norm" in type(module).__name__


def _is_embedding(module: nn.Module) -> bool:
    return isinstance(module, nn.Embedding)


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


def _examples(own: Mapping[str, nn.Module], suited: Callable[[nn.Module], bool]) -> str:
    return ", ".join([name for name, module in own.items() if suited(module)][:8])
