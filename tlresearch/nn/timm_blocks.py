"""The order of a timm network's layers, as timm's own authors group them for layer-wise learning rates."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

from timm.models import group_parameters
from torch import nn


class Layout(NamedTuple):
    """blocks: module names, shallow → deep; loose: module or parameter name → depth, of all outside of them."""

    blocks: tuple[str, ...]
    loose: dict[str, int]

    def depth(self, parameter: str, inside: int | None) -> int:
        """The depth of a parameter; inside: its block's. One that was put below a module later has the module's."""
        if parameter in self.loose or inside is None:
            name = parameter
            while name not in self.loose and name:
                name = name.rpartition(".")[0]
            return self.loose.get(name, 0)
        return inside


def layout(network: nn.Module) -> Layout:
    """Groups the parameters of a network without classifier; a group's block is the largest module it has alone."""
    own: Any = getattr(network, "group_matcher", None)
    matcher = own(coarse=False) if own else _by_numbers(network)
    groups: dict[int, list[str]] = defaultdict(list)
    for name, group in group_parameters(network, matcher, reverse=True).items():
        groups[group].append(name)
    patterns = _patterns(matcher)
    ordered = [groups[group] for group in sorted(groups)]
    stem = ordered.pop(0) if not patterns or any(patterns[0].match(name) for name in ordered[0]) else []
    loose, blocks = dict.fromkeys(stem, 0), list[str]()
    owners = {name: i for i, names in enumerate(ordered) for name in names}
    for i, names in enumerate(ordered):
        matched = not patterns or any(pattern.match(name) for pattern in patterns for name in names)
        block = _largest_module(network, i, owners) if matched else None
        if block is not None:
            blocks.append(block)
        inside = f"{block}."
        loose.update({n: len(blocks) for n in names if block is None or not n.startswith(inside)})
    for name, depth in list(loose.items()):  # what is put below a module later has that module's depth
        loose.setdefault(name.rpartition(".")[0], depth)
    return Layout(tuple(blocks), loose)


def call_by_module(network: nn.Module) -> list[Any]:
    """Lets attention call its projection instead of reading its weight, so that what is put around it acts (BEiT, EVA).

    Returns the modules that keep a table of attention biases in evaluation mode (LeViT, TinyViT).
    """
    module: Any
    for module in network.modules():
        if getattr(module, "qkv_bias_separate", None) is False:
            module.qkv_bias_separate = True
    return [module for module in network.modules() if hasattr(module, "attention_bias_cache")]


def _largest_module(network: nn.Module, group: int, owners: dict[str, int]) -> str | None:
    """The callable module with most parameters of `group` and none of any other; None where there is none."""
    own: Counter[str] = Counter()
    foreign = set[str]()
    for name, _ in network.named_parameters():
        module = name.rpartition(".")[0]
        while module:
            if owners.get(name) == group:
                own[module] += 1
            else:
                foreign.add(module)
            module = module.rpartition(".")[0]
    lists = (nn.ModuleList, nn.ModuleDict)
    fit = [m for m in own if m not in foreign and not isinstance(network.get_submodule(m), lists)]
    return max(fit, key=lambda module: (own[module], -module.count(".")), default=None)


def _patterns(matcher: Any) -> list[re.Pattern[str]]:
    """The regular expressions of a matcher, the stem's first; none where it is a function."""
    if not isinstance(matcher, dict):
        return []
    specs = [[spec] if isinstance(spec, str) else [part for part, _ in spec] for spec in matcher.values() if spec]
    return [re.compile(pattern) for spec in specs for pattern in spec]


def _by_numbers(network: nn.Module) -> Callable[[str], tuple[int, ...]]:
    """For architectures that bring no matcher: a group for every one or two numbers in a name; the rest goes along."""
    groups: dict[str, tuple[int, ...]] = {}
    last: tuple[int, ...] = (0,)
    for name, _ in network.named_parameters():
        numbers = [int(part) for part in name.split(".") if part.isdigit()]
        last = (1, *numbers[:2]) if numbers else last
        groups[name] = last
    return groups.__getitem__
