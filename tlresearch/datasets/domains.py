"""Several data sets as the domains of one task: adaptation from the labelled ones to the unlabelled ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from tlresearch.config.errors import ConfigError, Problem, choose, fail, require
from tlresearch.config.registry import register
from tlresearch.core.dataset import Dataset, single_stage
from tlresearch.core.rows import Rows
from tlresearch.core.sampling import Sampling
from tlresearch.core.types import Spec, Stage, Stream, Task
from tlresearch.nn.images import to_pixels

TESTED = ("target", "all")


@register("dataset", "domains")
class Domains(Dataset):
    """Registered data sets with the same classes, each one domain: labelled sources, unlabelled targets.

    The sources' training rows keep their labels. The targets' lose them, those included that a target alone would
    validate on: validation rows are the sources', so that nothing is chosen by a target's labels.
    `metrics.domain.NAME` and `metrics.worst_domain` tell domains apart.
    Classes are matched by their names. Images are brought together: to the largest side among the sets (bilinear, grey
    as three equal channels where another set has colours). Row numbers of a domain follow those of the ones before.

    source, target: names of data sets; target [] for several sources without a target (domain generalisation).
    base_arguments: options of each, by its name (`dataset.base_arguments.mnist_m.patch_seed=1`); with a `name` among
        them a domain has a name of its own, `{books: {name: text_file, path: books.jsonl.gz}}`. The common options are
        this one's, and `labels_per_class` counts over all sources.
    image_size: side that images are brought to, at least 1; null = the largest; where a set's images differ in size
        they stay as they are, for the backbone's own `image_size`.
    tested: target (its test rows; the sources' where there is no target), or all domains' test rows.
    """

    def __init__(
        self,
        sampling: Sampling,
        data_dir: Path | None,
        *,
        source: list[str] = ["mnist"],
        target: list[str] = ["mnist_m"],
        base_arguments: dict[str, Any] = {},
        image_size: int | None = None,
        tested: Literal["target", "all"] = "target",
    ) -> None:
        require(bool(source), "source", source, "a list of at least one data set")
        self.names = [*source, *target]
        for name in self.names:
            if self.names.count(name) > 1:
                fail("target" if name in target else "source", name, "named twice; a domain is source or target, once")
        for name in base_arguments:
            choose(f"base_arguments.{name}", name, self.names)
        require(image_size is None or image_size >= 1, "image_size", image_size, "an integer of at least 1, or null")
        self.tested = choose("tested", tested, TESTED)
        self.sampling, self.data_dir = sampling, data_dir
        self.source, self.target, self.image_size = source, target, image_size
        self.base_arguments = base_arguments

    def stream(self) -> Stream:
        """One stage with a domain for each data set: labelled at the sources, unlabelled at the targets."""
        built = [self._build(name) for name in self.names]
        task = built[0][0].tasks[0]
        self._check(task, [spec for spec, _ in built])
        shape = self._shape([spec for spec, _ in built])
        stages, start = [], 0
        for domain, (spec, stage) in enumerate(built):
            parts = [_moved(rows, task, spec.tasks[0], domain, start) for rows in stage[2:5]]
            if spec.modality == "image":
                parts = [_alike(rows, shape) for rows in parts]
            start = 1 + max(int(rows.index.max()) for rows in parts)
            stages.append(parts)
        train, validation, test = zip(*stages, strict=True)
        sources = len(self.source)
        tested = test if self.tested == "all" else test[sources:] or test
        joined = self.sampling.stage(
            "domains",
            (task,),
            Rows.concatenate(train[:sources]),
            Rows.concatenate(validation[:sources]),
            Rows.concatenate(tested),
            Rows.concatenate(list(map(_pooled, train[sources:], validation[sources:]))) if self.target else None,
        )
        drawn = [stage.drawn for _, stage in built[:sources] if stage.drawn]
        if joined.drawn and drawn:
            joined = joined._replace(drawn=joined.drawn._replace(split_off=drawn[0].split_off))
        return Stream(Spec(built[0][0].modality, shape, (task,), tuple(self.names)), (joined,))

    def _build(self, name: str) -> tuple[Spec, Stage]:
        """One of the data sets with all its labels: few are drawn, and classes weighed, over all sources together."""
        plain = self.sampling._replace(labels_per_class=None, class_weights="none")
        key = "source" if name in self.source else "target"
        options = {"name": name, **(self.base_arguments.get(name) or {})}
        try:
            return single_stage(options.pop("name"), options, plain, self.data_dir)
        except ConfigError as error:
            raise ConfigError(*(_problem(problem, key, name) for problem in error.problems)) from error

    def _check(self, task: Task, specs: Sequence[Spec]) -> None:
        """Refuses data sets that have other inputs or another task than the first."""
        for name, spec in zip(self.names[1:], specs[1:], strict=True):
            key, other = "source" if name in self.source else "target", spec.tasks[0]
            if spec.modality != specs[0].modality:
                fail(key, name, f"gives {spec.modality}, and {self.names[0]!r} {specs[0].modality}; choose alike ones")
            if other.kind != task.kind or set(other.labels) != set(task.labels):
                more = sorted(set(other.labels) ^ set(task.labels))[:5]
                what = f"classes that only one of them has: {', '.join(more)}" if more else "another kind of task"
                fail(key, name, f"has not the task of {self.names[0]!r} ({what}); domains share their classes")

    def _shape(self, specs: Sequence[Spec]) -> tuple[int, ...] | None:
        """What all inputs are brought to; None where they vary."""
        shapes = [spec.input_shape for spec in specs]
        known = [shape for shape in shapes if shape is not None]
        if specs[0].modality != "image":
            require(self.image_size is None, "image_size", self.image_size, f"null: the data are {specs[0].modality}")
            if len(set(shapes)) > 1:
                fail("target", self.names, f"inputs of shapes {shapes}; domains share their shape")
            return shapes[0]
        channels = max((shape[0] for shape in known), default=3) if len(known) == len(shapes) else 3
        if self.image_size is not None:
            return (channels, self.image_size, self.image_size)
        if len(known) < len(shapes):
            return None
        side = max(max(shape[1:]) for shape in known)
        return (channels, side, side)


class _Alike(Sequence[Tensor]):
    """Images brought to one shape when they are read."""

    def __init__(self, inputs: Sequence[Any], shape: tuple[int, ...]) -> None:
        self.inputs, self.shape = inputs, shape

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, i: Any) -> Any:
        return to_pixels(self.inputs[i], self.shape)


def _alike(rows: Rows, shape: tuple[int, ...] | None) -> Rows:
    """The rows with images of `shape`; as they are where it is None."""
    inputs: Any = rows.inputs
    if shape is None or (isinstance(inputs, Tensor) and tuple(inputs.shape[1:]) == shape):
        return rows
    if isinstance(inputs, Tensor) and tuple(inputs.shape[2:]) == shape[1:] and inputs.shape[1] == 1:
        inputs = inputs.expand(-1, *shape)  # costs no memory
    else:
        inputs = _Alike(inputs, shape)
    return Rows(inputs, rows.labels, rows.domain, rows.index, rows.weight, rows.positions)


def _pooled(train: Rows, validation: Rows) -> Rows:
    """Both in the order of their numbers, so that nothing of the split (which is by classes) is left in it."""
    rows = Rows.concatenate([train, validation])
    return rows.take(rows.index.argsort())


def _moved(rows: Rows, task: Task, own: Task, domain: int, start: int) -> Rows:
    """Rows of one data set under the common task, as a domain, numbered from `start`."""
    column = rows.labels[own.name]
    if own.labels != task.labels:
        order = torch.tensor([task.labels.index(label) for label in own.labels])
        column = torch.where(column >= 0, order[column.clamp(min=0)], column)
    domains = torch.full((len(rows),), domain)
    return Rows(rows.inputs, {task.name: column}, domains, rows.index + start, rows.weight, rows.positions)


def _problem(problem: Problem, key: str, name: str) -> Problem:
    """A data set's mistake under this one's key."""
    if problem.key == "base":
        return Problem(key, problem.message)
    if problem.key.startswith("base_arguments."):
        return Problem(f"base_arguments.{name}.{problem.key.removeprefix('base_arguments.')}", problem.message)
    return problem
