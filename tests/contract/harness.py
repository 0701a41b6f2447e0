"""Small runs in this process, and what they leave behind."""

from __future__ import annotations

import copy
import json
import os
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from . import registered

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from torch import Tensor

    from tlresearch.core.model import Model
    from tlresearch.training.session import Session

NETS = {
    "cnn": ("convnet", "contract_images", 0.03),
    "vit": ("timm", "contract_images", 0.01),
    "bert": ("transformers", "contract_texts", 0.01),
}
"""The tiny networks that every method is tried on: backbone, data and a rate that fine-tuning and probes bear."""

NUMBERS = {"numbers": ("mlp", "contract_numbers", 0.01)}
"""The same with a regression, for the heads that serve one; its data have one stage."""

BASE = [
    "accelerator=cpu",
    "progress=false",
    "batch_size=8",
    "steps=4",
    "log_every=1",
    "checkpoint_seconds=1000",
    "schedule=constant",
    "cache.features=never",
]
STAGED = {"stages": 2, "tasks": 2, "target": True}
"""What makes every hook work: two stages, the second with more classes; two tasks; unlabelled rows."""


class Stop(BaseException):
    """The process is killed."""


class Finished(NamedTuple):
    """A run that is over. start, state: the model's tensors before and after; log: what trackers got, a dict a call."""

    session: Session
    folder: Path
    results: dict[str, Any]
    log: list[dict[str, float]]
    start: dict[str, Tensor]
    state: dict[str, Tensor]

    def losses(self, term: str) -> list[float]:
        """A term of the training loss, step by step."""
        return [values[f"train/{term}"] for values in self.log if f"train/{term}" in values]


class Kit:
    """places: name → file or folder that plugins read; given: overrides of the person who checks; folder: for runs."""

    def __init__(self, folder: Path, places: Mapping[str, Path], given: Sequence[str] = ()) -> None:
        self.folder, self.places, self.given = folder, places, given
        self._bases: dict[str, dict[str, Any]] = {}
        self._composed: dict[tuple[str, str], DictConfig] = {}
        self._once: dict[str, Finished] = {}
        self._refusals: dict[tuple[str, str], str] = {}
        self._count = 0

    def options(self, kind: str, name: str) -> dict[str, Any]:
        return registered.options(kind, name, self.places, self.given)

    def build(self, kind: str, name: str, *, at: Mapping[str, Any] | None = None, **wiring: Any) -> Any:
        """A plugin with the kit's options, `at` on top."""
        from tlresearch.config.build import build

        return build(kind, {**self.options(kind, name), **(at or {}), "name": name}, **wiring)

    def overrides(self, net: str) -> list[str]:
        """What composes the base of all runs on a network."""
        backbone, dataset, rate = (NETS | NUMBERS)[net]
        chosen = [f"backbone={backbone}", f"dataset={dataset}", f"optimizer.lr={rate}"]
        return [*BASE, *chosen, *(f"backbone.{k}={_typed(v)}" for k, v in self.options("backbone", backbone).items())]

    def config(
        self, net: str, methods: Mapping[str, Mapping[str, Any]], dataset: Mapping[str, Any] = STAGED, **values: Any
    ) -> dict[str, Any]:
        """The resolved configuration of a run of `methods` (name → options that are not the defaults)."""
        from tlresearch.config import registry
        from tlresearch.config.compose import check, compose
        from tlresearch.runner import resolve

        if net not in self._bases:
            composed = compose(self.overrides(net))
            check(composed)
            self._bases[net] = resolve(composed)
        config = {**copy.deepcopy(self._bases[net]), **values}
        config["dataset"] |= dataset
        for name, options in methods.items():
            defaults = {o.name: copy.deepcopy(o.default) for o in registry.find("method", name).options}
            config["method"][name] = {**defaults, **self.options("method", name), **options}
        return config

    def check(self, net: str, methods: Sequence[str]) -> None:
        """Raises what a command says of a stack of methods before anything is built; composes each method but once."""
        from omegaconf import OmegaConf

        from tlresearch.config.compose import check, compose

        for name in methods:
            if (net, name) not in self._composed:
                self._composed[net, name] = compose([*self.overrides(net), f"method=[{name}]"])
        first = self._composed[net, methods[0]]
        stack = OmegaConf.masked_copy(first, [str(key) for key in first])
        for name in methods[1:]:
            stack.method[name] = self._composed[net, name].method[name]
        check(stack)

    def refusal(self, net: str, method: str) -> str:
        """Why a method says in `setup` that a network is not for it, blaming none of its options; "" where it fits."""
        from tlresearch.config.errors import ConfigError

        if (net, method) not in self._refusals:
            self._refusals[net, method] = ""
            try:
                self.start(self.config(net, {method: {}}), [])
            except ConfigError as error:
                if any(problem.key != f"method.{method}" for problem in error.problems):
                    raise
                self._refusals[net, method] = str(error)
        return self._refusals[net, method]

    def fitting(self, methods: Sequence[str], nets: Sequence[str]) -> str:
        """The first network that all methods take; the first of all where there is none."""
        return next((net for net in nets if not any(self.refusal(net, name) for name in methods)), nets[0])

    def home(self, method: str) -> str:
        """The network that stands for all: methods take turns, as far as it fits them."""
        first = sum(method.encode()) % len(NETS)
        return self.fitting([method], [*NETS][first:] + [*NETS][:first])

    def place(self) -> Path:
        """A new folder."""
        self._count += 1
        place = self.folder / str(self._count)
        place.mkdir()
        return place

    def start(self, config: Mapping[str, Any], log: list[dict[str, float]]) -> Session:
        """A session as the runner makes it, in a process whose random states are anything."""
        from tlresearch.core.seeding import reseed
        from tlresearch.training.assemble import build_stream, recommended_rates
        from tlresearch.training.launch import make_fabric
        from tlresearch.training.session import Session

        _shake()
        stream = build_stream(config)
        fabric = make_fabric(config)
        reseed(config["seed"])
        return Session(config, stream, fabric, recommended_rates(config), lambda values, step: log.append(dict(values)))

    def run(self, config: Mapping[str, Any], folder: Path | None = None, stop: int | None = None) -> Finished:
        """One run; stop: raises Stop before optimizer step number `stop` of this process, as if it were killed."""
        log: list[dict[str, float]] = []
        folder = folder or self.place()
        session = self.start(config, log)
        start = tensors(session.model)
        if stop is not None:
            _stop_before(session, stop)
        results = session.run(folder)
        return Finished(session, folder, results, log, start, tensors(session.model))

    def once(self, config: Mapping[str, Any]) -> Finished:
        """The run of a configuration that several are compared with: made once."""
        key = json.dumps(config, default=str)
        if key not in self._once:
            self._once[key] = self.run(config)
        return self._once[key]

    def straight(self, net: str, method: str) -> Finished:
        """The run of one method alone: made once."""
        return self.once(self.config(net, {method: {}}))


def tensors(model: Model) -> dict[str, Tensor]:
    """Copies of all parameters and buffers, those that are not saved included."""
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    return {name: tensor.detach().clone() for name, tensor in named}


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> None:
    """Bit by bit, with the names of what is not."""
    assert sorted(first) == sorted(second)
    different = [name for name in first if not equal(first[name], second[name])]
    assert not different, f"{len(different)} of {len(first)} tensors differ: {', '.join(different[:8])}"


def equal(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and bool(((first == second) | (first.isnan() & second.isnan())).all())


def numbers(results: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a record that a repetition must give again."""
    return {name: value for name, value in results.items() if name != "cost"}


def _stop_before(session: Session, count: int) -> None:
    step, taken = session.trainer.step, 0

    def stopping(*arguments: Any) -> None:
        nonlocal taken
        if taken == count:
            raise Stop
        taken += 1
        step(*arguments)

    session.trainer.step = stopping  # type: ignore[method-assign, assignment]


def _shake() -> None:
    """Other random states than at any time before: what draws without a seed gives itself away."""
    import numpy
    import torch

    seed = int.from_bytes(os.urandom(4), "little")
    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)


def _typed(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_typed(item)}" for key, item in value.items()) + "}"
    return f"'{value}'" if isinstance(value, str) else str(value)
