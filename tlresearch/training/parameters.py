"""Which parameters move, at what rate, and in which mode the frozen rest runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn

from tlresearch.config.errors import ConfigError
from tlresearch.core.head import Head
from tlresearch.core.method import Method, uses
from tlresearch.core.model import Model
from tlresearch.core.types import Clock

Groups = list[dict[str, Any]]
MakeOptimizer = Callable[[Groups], torch.optim.Optimizer]


class Rates(NamedTuple):
    """Learning rates of backbone and methods' modules; heads (None) bring their own, times the optimizer's `scale`."""

    backbone: float
    head: float | None
    aux: Mapping[str, float]
    scale: float


def wanted(model: Model, methods: Mapping[str, Method], clock: Clock) -> frozenset[int]:
    """The ids of what moves in the backbone by the union of the methods' opinions (none: all); changes nothing."""
    opinions = [m.trainable(model, clock) for m in methods.values() if uses(m, "trainable")]
    stated = [opinion for opinion in opinions if opinion is not None]
    if not stated:
        return frozenset(id(p) for p in model.backbone.parameters() if p.is_floating_point())
    return frozenset(id(p) for opinion in stated for p in opinion)


def choose_trainable(model: Model, methods: Mapping[str, Method], clock: Clock) -> frozenset[int]:
    """Sets `requires_grad` in the backbone to what the methods want and returns the ids."""
    chosen = wanted(model, methods, clock)
    for parameter in model.backbone.parameters():
        if parameter.is_floating_point():
            parameter.requires_grad_(id(parameter) in chosen)
    return chosen


def parameter_groups(model: Model, methods: Mapping[str, Method], clock: Clock, rates: Rates) -> Groups:
    """Every trainable parameter in exactly one group; groups have `lr`, `initial_lr` and, where a method says, more."""
    scale: defaultdict[int, float] = defaultdict(lambda: 1.0)
    decay: dict[int, float] = {}
    for name, method in methods.items():
        opinion = method.groups(model, clock) if uses(method, "groups") else None
        for parameters, options in opinion or ():
            unknown = set(options) - {"lr_scale", "weight_decay"}
            if unknown:
                raise ConfigError(
                    f"method {name!r} sets {sorted(unknown)} in groups(); allowed: lr_scale, weight_decay"
                )
            for parameter in parameters:
                scale[id(parameter)] *= options.get("lr_scale", 1.0)
                if "weight_decay" in options:
                    decay[id(parameter)] = options["weight_decay"]
    groups: dict[tuple[float, float | None], list[nn.Parameter]] = defaultdict(list)
    seen: set[int] = set()
    for parameter, rate in _with_rates(model, rates):
        if parameter.requires_grad and id(parameter) not in seen:
            seen.add(id(parameter))
            groups[rate * scale[id(parameter)], decay.get(id(parameter))].append(parameter)
    return [
        {"params": parameters, "lr": lr, "initial_lr": lr, **({} if wd is None else {"weight_decay": wd})}
        for (lr, wd), parameters in groups.items()
    ]


def _with_rates(model: Model, rates: Rates) -> Iterable[tuple[nn.Parameter, float]]:
    for parameter in model.backbone.parameters():
        yield parameter, rates.backbone
    for head in model.heads.values():
        assert isinstance(head, Head)
        for parameter in head.parameters():
            yield parameter, head.learning_rate * rates.scale if rates.head is None else rates.head
    for name, module in model.aux.items():
        for parameter in module.parameters():
            yield parameter, rates.aux[name]


def build_optimizer(
    make: MakeOptimizer, groups: Groups, previous: torch.optim.Optimizer | None
) -> torch.optim.Optimizer | None:
    """A new optimizer over `groups`; parameters that the previous one knew keep their state. None without groups."""
    if not groups:
        return None
    optimizer = make(groups)
    if previous is not None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter in previous.state:
                    optimizer.state[parameter] = previous.state[parameter]
    return optimizer


def needs_closure(optimizer: torch.optim.Optimizer | None) -> bool:
    """Whether `step` wants a closure that computes the gradients of the same step anew: the class says so."""
    return getattr(optimizer, "needs_closure", False)


def set_modes(model: Model, bn: str) -> None:
    """Training mode, with what is frozen at rest.

    The longest prefix of the backbone without a trainable parameter runs in evaluation mode, so that it is
    deterministic (no dropout before the first weight that learns). BatchNorm: `bn=train` normalises by the batch and
    updates statistics everywhere; otherwise layers whose parameters are frozen keep their statistics, bit by bit.
    """
    model.train()
    backbone = model.backbone
    blocks = backbone.blocks()
    depths = backbone.depths()
    first = min((depths[n] for n, p in backbone.named_parameters() if p.requires_grad), default=len(blocks) + 1)
    if first > len(blocks):
        backbone.eval()
    else:
        inside = {id(m): i + 1 for i, block in enumerate(blocks) for m in block.modules()}
        depth = 0
        for module in backbone.modules():
            depth = inside.get(id(module), len(blocks) if depth else 0)
            ancestor = id(module) not in inside and any(id(m) in inside for m in module.modules())
            if depth < first and not ancestor:
                module.training = False
    for module in backbone.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            frozen = not any(p.requires_grad for p in module.parameters())
            if bn == "train":
                module.train()
            elif frozen and (module.affine or first > len(blocks)):
                module.eval()


def checkpoint_blocks(model: Model) -> None:
    """Gradient checkpointing: each block's activations are computed again in the backward pass instead of kept."""
    from torch.utils.checkpoint import checkpoint

    for block in model.backbone.blocks():
        plain = block.forward

        def forward(*args: Any, _plain: Any = plain, _block: nn.Module = block, **kwargs: Any) -> Any:
            if not (_block.training and torch.is_grad_enabled()):
                return _plain(*args, **kwargs)
            again = partial(keeping_statistics, _block)
            return checkpoint(_plain, *args, use_reentrant=False, context_fn=lambda: (nullcontext(), again()), **kwargs)

        block.forward = forward


@contextmanager
def keeping_statistics(module: nn.Module) -> Iterator[None]:
    """The second pass over a batch updates copies: it must not count twice in BatchNorm's statistics."""
    layers = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
    kept = [dict(layer._buffers) for layer in layers]
    for layer, buffers in zip(layers, kept, strict=True):
        layer._buffers.update({name: None if b is None else b.clone() for name, b in buffers.items()})
    try:
        yield
    finally:
        for layer, buffers in zip(layers, kept, strict=True):
            layer._buffers.update(buffers)
