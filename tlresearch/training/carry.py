"""Weights, heads and methods' states of finished runs, taken over into a new model (`init_from`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tlresearch.config.errors import ConfigError, Problem, fail
from tlresearch.core.method import Method, uses
from tlresearch.core.model import PREFIX, Model, state_tensors
from tlresearch.core.types import Batch, Clock, Spec, Stream
from tlresearch.training import checkpoint
from tlresearch.training.kept import read_methods
from tlresearch.training.loading import load_model
from tlresearch.training.sources import Source, Start, find

Tensors = dict[str, Tensor]


class Carried:
    """The body (the backbone's tensors), heads and methods' states of one run, or of the average of several.

    The average is uniform, θ = 1/k Σ θ_i (a uniform soup: Wortsman et al., 2022, arXiv:2203.05482, table 2). Adapters
    are merged before, for the mean of products B A is not the product of the means. BatchNorm's statistics are averaged
    like weights, which the paper does not treat; `bn=recalibrate` measures them anew. Of integer buffers the largest is
    taken.

    Raises ConfigError where the architectures to be averaged are not the same.
    """

    def __init__(self, start: Start, spec: Spec) -> None:
        self.start, self.spec = start, spec
        models = [read_model(source) for source in start.sources]
        bodies: list[nn.Module] = [model.backbone for model in models]
        self.adapted = bodies[0] if len(bodies) == 1 and _is_adapted(bodies[0]) else None
        self.body = self._average([_merged(body) if len(bodies) > 1 else body for body in bodies])
        self.heads = {task: self._average([model.head(task) for model in models]) for task in start.heads}
        self.aux = {name: state_tensors(models[0].aux[name]) for name in start.methods if name in models[0].aux}

    def into(self, backbone: nn.Module) -> bool:
        """Copies the body; False, and nothing done, where names or shapes are not the same."""
        if _difference(self.body, state_tensors(backbone)):
            return False
        _copy(self.body, backbone)
        return True

    def merged(self, backbone: nn.Module) -> Carried:
        """The same with its adapters merged into the layers below; raises ConfigError where it has none to merge.

        backbone: the new run's, which the body does not fit.
        """
        if self.adapted is None:
            difference = _difference(self.body, state_tensors(backbone))
            fail("init_from", self._told(), f"another body than this run's: {difference}; give both the same backbone")
        self.body, self.adapted = self._average([_merged(self.adapted)]), None
        return self

    def into_heads(self, model: Model) -> None:
        """Copies the heads that are carried on; the others stay new."""
        for task, tensors in self.heads.items():
            difference = _difference(tensors, state_tensors(model.head(task)))
            if difference:
                fail("init_heads", task, f"another head than this run's: {difference}; init_heads=[] gives a new one")
            _copy(tensors, model.head(task))

    def into_methods(self, model: Model, methods: Mapping[str, Method], example: Batch, device: torch.device) -> None:
        """Gives methods the states that their like ended with, and tries them on an example batch.

        What a state says about a head that is not carried on, or about labels that are others here, is left out.
        """
        if not self.start.methods:
            return
        states = read_methods(self.start.sources[0].run.folder)
        for name in self.start.methods:
            if name in self.aux:
                difference = _difference(self.aux[name], state_tensors(model.aux[name]))
                if difference:
                    fail("init_methods", name, f"its modules are others there: {difference}; leave it out")
                _copy(self.aux[name], model.aux[name])
            state = {key: value for key, value in states.get(name, {}).items() if self._concerns(key)}
            try:
                checkpoint.load_methods({name: methods[name]}, {name: state}, device)
                _try(methods[name], model, example)
            except (AssertionError, KeyError, RuntimeError, ValueError) as error:
                message = f"its state of {self._told()!r} does not fit this run ({type(error).__name__}: {error})"
                raise ConfigError(Problem("init_methods", f"{name!r}: {message}; leave it out")) from error

    def _concerns(self, key: str) -> bool:
        """Whether an entry of a method's state is about nothing that is new or other in this run."""
        own = {task.name: task.labels for task in self.spec.tasks}
        for task in self.start.sources[0].run.spec.tasks:
            new_head = task.name not in self.heads and f"heads.{PREFIX}{task.name}." in key
            other_labels = own.get(task.name) != task.labels and key.split("/")[-1] == f"y.{task.name}"
            if new_head or other_labels:
                return False
        return True

    def _average(self, modules: Sequence[nn.Module]) -> Tensors:
        states = [state_tensors(module) for module in modules]
        for source, state in zip(self.start.sources, states, strict=True):
            difference = _difference(state, states[0])
            if difference:
                names = [str(s.run.folder) for s in (source, self.start.sources[0])]
                message = f"only equal architectures can be averaged, and {names[0]!r} differs from {names[1]!r}"
                fail("init_from", names, f"{message}: {difference}")
        return {name: _mean([state[name].detach() for state in states]) for name in states[0]}

    def _told(self) -> str:
        return ", ".join(str(source.run.folder) for source in self.start.sources)


def load(config: Mapping[str, Any], stream: Stream) -> Carried | None:
    """What `init_from` names, read; None where it is null."""
    start = find(config, stream.stages[0].tasks)
    return None if start is None else Carried(start, stream.spec)


def read_model(source: Source, spec: Spec | None = None) -> Model:
    """The model of a source, on the CPU. spec: of the data it will read, that of the run by default."""
    model = load_model(source.run.folder, source.run.config, spec or source.run.spec)
    for file in source.files[1:]:
        checkpoint.load_model(model, checkpoint.read(file)[0])
    return model


def _is_adapted(body: nn.Module) -> bool:
    return any(type(module).__module__.startswith("peft.") for module in body.modules())


def _merged(body: nn.Module) -> nn.Module:
    """The body itself where it has no adapters, a copy with the adapters merged otherwise."""
    if not _is_adapted(body):
        return body
    from tlresearch.nn.adapters import without_adapters  # imports peft, which takes a second and is there by now

    return without_adapters(body)


def _difference(theirs: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    """The first tensor in which two modules differ, theirs first; "" where names and shapes are the same."""
    for name in [*theirs, *own]:
        shapes = [tuple(tensors[name].shape) if name in tensors else None for tensors in (theirs, own)]
        if shapes[0] != shapes[1]:
            there, here = ("is missing" if shape is None else f"has shape {shape}" for shape in shapes)
            return f"{name!r} {there} there and {here} here"
    return ""


def _copy(tensors: Mapping[str, Tensor], module: nn.Module) -> None:
    """In place, which counts as a change: the weights file cannot give them back. What is equal stays untouched."""
    own = state_tensors(module)
    with torch.no_grad():
        for name, tensor in tensors.items():
            if not torch.equal(own[name].cpu(), tensor):
                own[name].copy_(tensor)


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    if len(tensors) == 1:
        return tensors[0]
    if not tensors[0].is_floating_point():
        return torch.stack(list(tensors)).amax(0)
    return torch.stack([tensor.double() for tensor in tensors]).mean(0).to(tensors[0].dtype)


def _try(method: Method, model: Model, example: Batch) -> None:
    """The hooks that read a state, on a few rows."""
    clock, batch = Clock(0, 0, 0, 1, ()), example
    with torch.no_grad():
        if uses(method, "batch"):
            batch = method.batch(model, example, clock)
        out = model(batch.x)
        if uses(method, "loss"):
            method.loss(model, batch, out, clock)
