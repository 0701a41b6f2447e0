"""The contract of a dataset: a recipe that builds a Stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from tlresearch.config.errors import ConfigError, Problem, fail
from tlresearch.core.rows import Rows
from tlresearch.core.sampling import Sampling
from tlresearch.core.types import Spec, Stage, Stream, Task


class Dataset:
    """A plugin is written as `__init__(self, sampling, *, its own options)`; `sampling` splits, draws and masks rows.

    One that reads files adds `data_dir: Path | None` before the star: where `find` looks for relative paths.
    """

    @staticmethod
    def common(
        *,
        labels_per_class: int | None = None,
        validation: float = 0.2,
        test: float = 0.2,
        split_seed: int = 0,
        sample_seed: int | None = None,
        class_weights: str = "none",
    ) -> dict[str, Any]:
        """Options of every dataset.

        labels_per_class: labelled training rows kept of each class (nested: the 5 lie within the 20), null = all;
            0 = none: the model sees only what the classes are called or said to mean, one text each. Regression: null.
        validation, test: share of the training rows split off where the data bring no such set; in (0, 1). Of each
            class, or at random where labels are numbers.
        split_seed: draws those splits; equal for all runs of a comparison.
        sample_seed: draws the labelled rows and orders; null = the run's `seed`.
        class_weights: none, or balanced (each row weighs N / (C · N_class) in the loss).
        """
        return {
            "sampling": Sampling.checked(
                labels_per_class=labels_per_class,
                validation=validation,
                test=test,
                split_seed=split_seed,
                sample_seed=sample_seed or 0,
                class_weights=class_weights,
            )
        }

    def stream(self) -> Stream:
        """Builds the stream, a function of the arguments alone; raises ConfigError for data that do not fit."""
        raise NotImplementedError


def find(key: str, path: str, data_dir: Path | None) -> Path:
    """An existing file or folder: `path` as it is, or else below `data_dir`; ConfigError under `key` without either."""
    places = [Path(path).expanduser()]
    if data_dir is not None and not places[0].is_absolute():
        places.append(data_dir / path)
    for place in places:
        if place.exists():
            return place
    fail(key, path, f"no such file or folder (looked at {', '.join(str(place.absolute()) for place in places)})")


def descriptions(task: Task, first: int, texts: Sequence[str] | None = None) -> Rows:
    """Rows of text that say what each class of a task means, in the order of its labels, numbered from `first`.

    texts: null = the names of the labels, underscores as spaces.
    """
    classes = torch.arange(len(task.labels))
    told = [label.replace("_", " ") for label in task.labels] if texts is None else list(texts)
    return Rows(told, {task.name: classes}, index=first + classes)


def single_stage(
    base: str, base_arguments: Mapping[str, Any], sampling: Sampling, data_dir: Path | None
) -> tuple[Spec, Stage]:
    """Spec and stage of the dataset `base` for a dataset that rearranges it; `sampling` is what the base gets.

    Raises ConfigError for a base with several stages, several domains or unlabelled rows: they would be lost.
    """
    from tlresearch.config.build import build

    common = sampling._asdict()
    for key in sorted(set(base_arguments) & set(common)):
        fail(f"base_arguments.{key}", base_arguments[key], f"is an option of the outer dataset; give {key} there")
    try:
        dataset: Dataset = build("dataset", {"name": base, **base_arguments, **common}, at="", data_dir=data_dir)
        spec, stages = dataset.stream()
    except ConfigError as error:
        keys = {"": "base", **{key: key for key in common}}
        moved = (Problem(keys.get(p.key, f"base_arguments.{p.key}"), p.message) for p in error.problems)
        raise ConfigError(*moved) from error
    if len(stages) > 1 or len(spec.domains) > 1 or len(spec.tasks) > 1 or stages[0].unlabelled is not None:
        fail("base", base, "has stages, domains, tasks or unlabelled rows of its own; choose a plain labelled dataset")
    return spec, stages[0]
