"""A data set cut by its classes into a sequence of stages: the three scenarios of continual learning."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tlresearch.config.errors import choose, fail, require
from tlresearch.config.registry import register
from tlresearch.core.dataset import Dataset, single_stage
from tlresearch.core.kinds import kind_of
from tlresearch.core.rows import Rows
from tlresearch.core.sampling import Sampling
from tlresearch.core.types import Stage, Stream, Task

SCENARIOS = ("task_incremental", "domain_incremental", "class_incremental")
ACCUMULATE = ("none", "cumulative", "joint")


@register("dataset", "split")
class Split(Dataset):
    """n classes a stage, in the order of the labels (van de Ven and Tolias, 2019, arXiv:1904.07734, table 1).

    base, base_arguments: the data set that is cut, and its own options; the common options are this one's.
    stages: how many, at least 2; classes that do not divide evenly go to the first ones.
    scenario: task_incremental (tasks NAME_0 …, one a stage, each with its own labels), domain_incremental (one task,
        its labels are the position within the stage), class_incremental (one task whose labels grow).
    accumulate_stages: none; cumulative (a stage also trains and validates on the earlier ones' rows); joint (one stage
        with all rows). Rows carry their stage as domain, so that joint, too, gives a number for each.
    """

    def __init__(
        self,
        sampling: Sampling,
        data_dir: Path | None,
        *,
        base: str = "digits",
        base_arguments: dict[str, Any] = {},
        stages: int = 5,
        scenario: str,
        accumulate_stages: Literal["none", "cumulative", "joint"] = "none",
    ) -> None:
        require(stages >= 2, "stages", stages, "an integer of at least 2")
        self.scenario = choose("scenario", scenario, SCENARIOS)
        self.accumulate = choose("accumulate_stages", accumulate_stages, ACCUMULATE)
        self.sampling, self.data_dir, self.stages = sampling, data_dir, stages
        self.base, self.base_arguments = base, base_arguments

    def stream(self) -> Stream:
        """The stages that the base's classes are cut into, accumulated as asked."""
        unweighted = self.sampling._replace(class_weights="none")  # classes are weighed within each stage, below
        spec, whole = single_stage(self.base, self.base_arguments, unweighted, self.data_dir)
        stages = [self._stage(whole, spec.tasks[0], i, classes) for i, classes in enumerate(self._cut(spec.tasks[0]))]
        names = tuple(stage.name for stage in stages)
        tasks = _tasks(stages)
        if self.accumulate == "cumulative":
            stages = [
                stage._replace(tasks=_tasks(seen), train=_all("train", seen), validation=_all("validation", seen))
                for stage, seen in ((stage, stages[: i + 1]) for i, stage in enumerate(stages))
            ]
        elif self.accumulate == "joint":
            train, validation, test = (_all(split, stages) for split in ("train", "validation", "test"))
            stages = [Stage("joint", tasks, train, validation, test)]
        weighted = (s._replace(train=self.sampling.weighted(s.tasks, s.train), drawn=whole.drawn) for s in stages)
        return Stream(spec._replace(tasks=tasks, domains=names), tuple(weighted))

    def _cut(self, task: Task) -> list[range]:
        """The classes of each stage."""
        if not kind_of(task).classes:
            fail("base", self.base, f"its task {task.name!r} is a {task.kind}, without classes to cut; choose another")
        count, single = len(task.labels), self.scenario == "class_incremental"
        if self.stages * (1 if single else 2) > count:
            each = "one class" if single else "two classes"
            fail("stages", self.stages, f"each needs {each} or more and {self.base!r} has {count}; ask for fewer")
        if self.scenario == "domain_incremental" and count % self.stages:
            fail("stages", self.stages, f"must divide the {count} classes of {self.base!r}, as stages share labels")
        return [range(part[0], part[-1] + 1) for part in np.array_split(np.arange(count), self.stages)]

    def _stage(self, whole: Stage, task: Task, i: int, classes: range) -> Stage:
        first = 0 if self.scenario == "class_incremental" else classes[0]
        if self.scenario == "domain_incremental":
            own = task._replace(labels=tuple(str(position) for position in range(len(classes))))
        elif self.scenario == "task_incremental":
            own = task._replace(name=f"{task.name}_{i}", labels=task.labels[classes[0] : classes[-1] + 1])
        else:
            own = task._replace(labels=task.labels[: classes[-1] + 1])
        parts = (self._part(rows, task, own, i, classes, first) for rows in (whole.train, whole.validation, whole.test))
        train, validation, test = parts
        stage = Stage(f"stage_{i}", (own,), train, validation, test)
        for split in ("train", "validation", "test"):
            if not len(getattr(stage, split)):
                fail("stages", self.stages, f"stage {i} (classes {', '.join(own.labels)}) has no {split} rows")
        return stage

    @staticmethod
    def _part(rows: Rows, task: Task, own: Task, i: int, classes: range, first: int) -> Rows:
        column = rows.labels[task.name]
        chosen = ((column >= classes[0]) & (column <= classes[-1])).nonzero()[:, 0]
        part = rows.take(chosen).with_labels({own.name: column[chosen] - first})
        return part.with_domain(part.domain.new_full((len(part),), i))


def _tasks(stages: Sequence[Stage]) -> tuple[Task, ...]:
    """Every task of the stages by name, each with the labels it has last."""
    return tuple({task.name: task for stage in stages for task in stage.tasks}.values())


def _all(split: str, stages: Sequence[Stage]) -> Rows:
    return Rows.concatenate([getattr(stage, split) for stage in stages])
