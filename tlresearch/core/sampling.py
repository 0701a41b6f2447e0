"""Which rows are trained on: test and validation split off, few labels drawn, classes weighed, targets masked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tlresearch.config.errors import ConfigError, Problem, Problems, choose, fail, require
from tlresearch.core.kinds import kind_of
from tlresearch.core.labels import labelled
from tlresearch.core.rows import Rows
from tlresearch.core.types import IGNORE, Drawn, Stage, Task

CLASS_WEIGHTS = ("none", "balanced")
_TEST, _VALIDATION, _PARTITION = range(3)  # one random stream each, so that no draw shifts another


class Sampling(NamedTuple):
    """The common options of every dataset, checked (`Dataset.common` says what each means)."""

    labels_per_class: int | None = None
    validation: float = 0.2
    test: float = 0.2
    split_seed: int = 0
    sample_seed: int = 0
    class_weights: str = "none"

    @classmethod
    def checked(
        cls,
        *,
        labels_per_class: int | None,
        validation: float,
        test: float,
        split_seed: int,
        sample_seed: int,
        class_weights: str,
    ) -> Sampling:
        """The options, or one ConfigError with all that is wrong with them."""
        several = labels_per_class is None or labels_per_class >= 0
        count = "an integer of at least 0 (no label, only descriptions of the classes), or null for all"
        share = "a share of the rows, above 0 and below 1"
        problems = Problems()
        for check in (
            partial(require, several, "labels_per_class", labels_per_class, count),
            partial(require, 0 < validation < 1, "validation", validation, share),
            partial(require, 0 < test < 1, "test", test, share),
            partial(require, split_seed >= 0, "split_seed", split_seed, "an integer of at least 0"),
            partial(require, sample_seed >= 0, "sample_seed", sample_seed, "an integer of at least 0"),
            partial(choose, "class_weights", class_weights, CLASS_WEIGHTS),
        ):
            problems.attempt("", check)
        problems.raise_any()
        return cls(labels_per_class, validation, test, split_seed, sample_seed, class_weights)

    def stage(
        self,
        name: str,
        tasks: tuple[Task, ...],
        train: Rows,
        validation: Rows | None,
        test: Rows | None,
        unlabelled: Rows | None = None,
        descriptions: Rows | None = None,
    ) -> Stage:
        """A stage of labelled rows: splits off what is None, then draws and weighs the rest; `unlabelled` is masked.

        descriptions: rows that say in words what the classes mean; they are all there is to learn from at
        `labels_per_class=0`. Raises ConfigError for an empty set, a label outside training that training lacks, too
        few labels of a class, and for what is drawn or weighed by classes where a task has none.
        """
        self._check_classes(tasks)
        share, split_off = self.validation, {}
        if test is None:
            require(self.validation + self.test < 1, "test", self.test, f"below 1 - validation = {1 - share:g}")
            share = self.validation / (1 - self.test)
            train, test = self._split_off("test", tasks, train, self.test, (self.split_seed, _TEST))
            split_off["test"] = self.test
        if validation is None:
            train, validation = self._split_off("validation", tasks, train, share, (self.split_seed, _VALIDATION))
            split_off["validation"] = self.validation
        _check_not_empty(name, train=train, validation=validation, test=test)
        _check_labels(tasks, train, validation=validation, test=test)
        drawn = Drawn(split_off, self.split_seed, self.labels_per_class, self.sample_seed, len(train))
        if self.labels_per_class == 0:
            if descriptions is None:
                fail("labels_per_class", 0, "the data have no descriptions of their classes; ask for at least 1")
            train = descriptions
        else:
            train = self.weighted(tasks, self.labelled(tasks, train))
        masked = None if unlabelled is None else unlabelled.masked()
        return Stage(name, tasks, train, validation, test, masked, drawn)

    def labelled(self, tasks: Sequence[Task], rows: Rows) -> Rows:
        """`labels_per_class` rows of each class and task, the rest dropped; the fewer lie within the more."""
        if self.labels_per_class is None:
            return rows
        kept, short = {}, []
        for t, task in enumerate(tasks):
            column = rows.labels[task.name]
            chosen = torch.zeros(len(rows), dtype=torch.bool)
            for c, positions in _classes(column):
                if len(positions) < self.labels_per_class:
                    short.append((len(positions), task.labels[c]))
                order = np.random.default_rng((self.sample_seed, t, c)).permutation(positions)
                chosen[torch.from_numpy(order[: self.labels_per_class])] = True
            kept[task.name] = column.where(chosen, IGNORE)
        if short:
            few = ", ".join(f"class {label!r} has {count}" for count, label in sorted(short)[:10])
            message = f"too few training rows of {len(short)} classes: {few}; ask for at most {min(short)[0]}"
            fail("labels_per_class", self.labels_per_class, message)
        somewhere = torch.stack([labelled(column) for column in kept.values()]).any(0)
        return rows.with_labels({**rows.labels, **kept}).take(somewhere.nonzero()[:, 0])

    def weighted(self, tasks: Sequence[Task], rows: Rows) -> Rows:
        """The rows with N / (C · N_class) as weights where `class_weights` is balanced; mean 1 over the rows."""
        if self.class_weights == "none":
            return rows
        counts = torch.bincount(strata := _strata(tasks, rows))
        return rows.with_weight(rows.weight * (len(rows) / (len(counts) * counts.float()))[strata])

    def partition(self, tasks: Sequence[Task], rows: Rows, parts: int) -> list[Rows]:
        """`parts` disjoint sets of rows, as equal in size and in classes as can be."""
        rng = np.random.default_rng((self.split_seed, _PARTITION))
        dealt = np.concatenate([rng.permutation(group) for _, group in _classes(_strata(tasks, rows))])
        return [rows.take(torch.from_numpy(np.sort(dealt[part::parts]))) for part in range(parts)]

    def _check_classes(self, tasks: Sequence[Task]) -> None:
        problems = Problems()
        for task in tasks:
            if not kind_of(task).classes:
                fix = f": task {task.name!r} is a {task.kind}, without classes; leave it out"
                per_class, weights = self.labels_per_class, self.class_weights
                for check in (
                    partial(require, per_class is None, "labels_per_class", per_class, f"null{fix}"),
                    partial(require, weights == "none", "class_weights", weights, f"none{fix}"),
                ):
                    problems.attempt("", check)
        problems.raise_any()

    def _split_off(
        self, key: str, tasks: Sequence[Task], rows: Rows, share: float, seed: tuple[int, int]
    ) -> tuple[Rows, Rows]:
        held = split(_strata(tasks, rows), share, seed)
        if not held.any() or held.all():
            message = f"leaves a set without a row ({len(rows)} there were); give 3 or more rows (of each class)"
            fail(key, getattr(self, key), message)
        return rows.take((~held).nonzero()[:, 0]), rows.take(held.nonzero()[:, 0])


def split(strata: Tensor, share: float, seed: Sequence[int]) -> Tensor:
    """Which rows are held out, (N,) bool: of each stratum's n rows round(share · n), but 1 … n - 1."""
    rng = np.random.default_rng(seed)
    held = torch.zeros(len(strata), dtype=torch.bool)
    for _, positions in _classes(strata):
        count = min(max(int(share * len(positions) + 0.5), 1), len(positions) - 1)
        held[torch.from_numpy(rng.permutation(positions)[:count])] = True
    return held


def _classes(column: Tensor) -> Iterator[tuple[int, np.ndarray]]:
    """(class, positions of its rows) for every class that occurs; unlabelled rows belong to none."""
    values = column.numpy()
    order = np.argsort(values, kind="stable")
    classes, starts = np.unique(values[order], return_index=True)
    for c, positions in zip(classes.tolist(), np.split(order, starts[1:]), strict=True):
        if c != IGNORE:
            yield c, positions


def _strata(tasks: Sequence[Task], rows: Rows) -> Tensor:
    """0 … S - 1 for each combination of the tasks' strata (`Kind.strata`) that occurs."""
    columns = torch.stack([kind_of(task).strata(rows.labels[task.name]) for task in tasks])
    _, strata = torch.unique(columns, dim=1, return_inverse=True)
    assert isinstance(strata, Tensor)
    return strata


def _check_not_empty(name: str, **splits: Rows) -> None:
    problems = [Problem(key, f"stage {name!r} has no {key} rows") for key, rows in splits.items() if not len(rows)]
    if problems:
        raise ConfigError(*problems)


def _check_labels(tasks: Sequence[Task], train: Rows, **others: Rows) -> None:
    problems = []
    for task in (task for task in tasks if kind_of(task).classes):
        known = set(train.labels[task.name].tolist()) | {IGNORE}
        for key, rows in others.items():
            for label in sorted(set(rows.labels[task.name].tolist()) - known):
                where = f"{key} rows have label {task.labels[label]!r} of task {task.name!r}, which training rows lack"
                problems.append(Problem("", f"{where}; add such rows to training or drop them from {key}"))
    if problems:
        raise ConfigError(*problems)
