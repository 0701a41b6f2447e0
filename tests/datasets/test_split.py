"""Split digits in three scenarios, against sets of indices made from scikit-learn's own targets."""

import pytest
import torch
from sklearn.datasets import load_digits

from tlresearch.config.errors import ConfigError
from tlresearch.core.rows import Rows
from tlresearch.core.sampling import Sampling
from tlresearch.core.types import IGNORE
from tlresearch.datasets.digits import Digits
from tlresearch.datasets.split import Split

TARGET = load_digits().target
SCENARIOS = ("task_incremental", "domain_incremental", "class_incremental")


def stream(scenario: str = "class_incremental", sampling: Sampling = Sampling(), **options):
    return Split(sampling, None, scenario=scenario, **options).stream()


def indices(rows: Rows) -> set[int]:
    return set(rows.index.tolist())


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_stages_hold_two_classes_each_and_all_rows_of_the_base(scenario: str) -> None:
    spec, stages = stream(scenario)
    (base,) = Digits(Sampling()).stream().stages
    assert len(stages) == 5 and spec.domains == tuple(stage.name for stage in stages)
    for split in ("train", "validation", "test"):
        parts = [indices(getattr(stage, split)) for stage in stages]
        assert set.union(*parts) == indices(getattr(base, split)) and sum(map(len, parts)) == len(getattr(base, split))
        for i, part in enumerate(parts):
            assert {int(TARGET[index]) for index in part} == {2 * i, 2 * i + 1}
    for i, stage in enumerate(stages):
        assert all(set(rows.domain.tolist()) == {i} for rows in stage[2:5])


def test_class_incremental_labels_grow_as_a_prefix() -> None:
    spec, stages = stream("class_incremental")
    assert [task.labels for task in spec.tasks] == [tuple("0123456789")]
    for i, stage in enumerate(stages):
        assert [(task.name, task.labels) for task in stage.tasks] == [("digit", tuple("0123456789")[: 2 * i + 2])]
        for row in stage.test:
            assert int(row["labels"]["digit"]) == TARGET[row["index"]]


def test_task_incremental_gives_every_stage_its_own_task() -> None:
    spec, stages = stream("task_incremental")
    assert [(t.name, t.labels) for t in spec.tasks] == [(f"digit_{i}", (str(2 * i), str(2 * i + 1))) for i in range(5)]
    for i, stage in enumerate(stages):
        assert stage.tasks == (spec.tasks[i],)
        for row in stage.train:
            assert list(row["labels"]) == [f"digit_{i}"]
            assert int(row["labels"][f"digit_{i}"]) == TARGET[row["index"]] - 2 * i


def test_domain_incremental_labels_are_the_position() -> None:
    spec, stages = stream("domain_incremental")
    assert [(task.name, task.labels) for task in spec.tasks] == [("digit", ("0", "1"))]
    for stage in stages:
        assert stage.tasks == spec.tasks
        assert all(int(row["labels"]["digit"]) == TARGET[row["index"]] % 2 for row in stage.train)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_cumulative_stages_train_on_all_rows_so_far(scenario: str) -> None:
    plain, stages = stream(scenario).stages, stream(scenario, accumulate_stages="cumulative").stages
    for i, stage in enumerate(stages):
        assert indices(stage.train) == set.union(*(indices(s.train) for s in plain[: i + 1]))
        assert indices(stage.validation) == set.union(*(indices(s.validation) for s in plain[: i + 1]))
        assert indices(stage.test) == indices(plain[i].test)
        assert set(stage.train.labels) == {task.name for task in stage.tasks}
    assert len(stages[2].tasks) == (3 if scenario == "task_incremental" else 1)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_joint_is_one_stage_whose_domains_tell_the_stages(scenario: str) -> None:
    plain, (spec, (stage,)) = stream(scenario), stream(scenario, accumulate_stages="joint")
    assert stage.tasks == spec.tasks == plain.spec.tasks and spec.domains == plain.spec.domains
    for i, part in enumerate(plain.stages):
        of_stage = stage.test.take((stage.test.domain == i).nonzero()[:, 0])
        assert indices(of_stage) == indices(part.test)
        known = {name: column[column != IGNORE].tolist() for name, column in of_stage.labels.items()}
        assert {k: v for k, v in known.items() if v} == {k: v.tolist() for k, v in part.test.labels.items()}
    assert sum(len(part.train) for part in plain.stages) == len(stage.train)


def test_few_labels_count_in_the_base_and_weights_within_the_stage() -> None:
    _, stages = stream(sampling=Sampling(labels_per_class=7))
    assert all(len(stage.train) == 14 for stage in stages)
    _, stages = stream(sampling=Sampling(class_weights="balanced"))
    for stage in stages:
        labels = stage.train.labels["digit"]
        counts = {c: int((labels == c).sum()) for c in labels.unique().tolist()}
        for row in stage.train:
            assert row["weight"] == pytest.approx(len(labels) / (2 * counts[int(row["labels"]["digit"])]))


def test_uneven_stages() -> None:
    _, stages = stream(stages=3)
    assert [len(stage.tasks[0].labels) for stage in stages] == [4, 7, 10]


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"scenario": "class_incrementl"}, "scenario"),
        ({"stages": 11}, "stages"),
        ({"stages": 1}, "stages"),
        ({"scenario": "task_incremental", "stages": 6}, "stages"),
        ({"scenario": "domain_incremental", "stages": 3}, "stages"),
        ({"accumulate_stages": "all"}, "accumulate_stages"),
        ({"base": "digit"}, "base"),
        ({"base": "split", "base_arguments": {"scenario": "task_incremental"}}, "base"),
        ({"base_arguments": {"paht": "x"}}, "base_arguments.paht"),
        ({"base_arguments": {"labels_per_class": 5}}, "base_arguments.labels_per_class"),
        ({"base": "text_file", "base_arguments": {"path": "gone.csv"}}, "base_arguments.path"),
        ({"sampling": Sampling(labels_per_class=5000)}, "labels_per_class"),
    ],
)
def test_what_does_not_fit_is_told_under_its_key(changes: dict, key: str) -> None:
    with pytest.raises(ConfigError) as error:
        stream(**changes)
    assert [problem.key for problem in error.value.problems] == [key]


def test_a_split_of_texts(tmp_path) -> None:
    lines = [f"text {i},{'abcd'[i % 4]}" for i in range(40)]
    (tmp_path / "a.csv").write_text("\n".join(["text,label", *lines]))
    base = {"base": "text_file", "base_arguments": {"path": "a.csv"}}
    spec, stages = Split(Sampling(), tmp_path, **base, stages=2, scenario="task_incremental").stream()
    assert spec.modality == "text" and [task.labels for task in spec.tasks] == [("a", "b"), ("c", "d")]
    assert {row["input"] for row in stages[1].train} <= {f"text {i}" for i in range(40) if i % 4 >= 2}
    assert torch.equal(stages[1].test.domain, torch.ones(len(stages[1].test), dtype=torch.int64))
