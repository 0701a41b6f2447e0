"""Splits, few labels and weights against counts made by hand."""

from collections import Counter

import pytest
import torch

from tlresearch.config.errors import ConfigError
from tlresearch.core.dataset import descriptions
from tlresearch.core.rows import Rows
from tlresearch.core.sampling import Sampling
from tlresearch.core.types import IGNORE, Task

COUNTS = (50, 30, 11, 3)
TASK = Task("label", "classification", ("a", "b", "c", "d"))


def table(counts=COUNTS) -> Rows:
    labels = torch.tensor([c for c, count in enumerate(counts) for _ in range(count)])
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    return Rows(torch.arange(len(labels)), {"label": labels[order]})


def stage(sampling=Sampling(), rows=None, validation=None, test=None, unlabelled=None):
    return sampling.stage("toy", (TASK,), table() if rows is None else rows, validation, test, unlabelled)


def indices(rows: Rows) -> set[int]:
    return set(rows.index.tolist())


def per_class(rows: Rows) -> dict[int, int]:
    return dict(sorted(Counter(rows.labels["label"].tolist()).items()))


def checked(**changes):
    return Sampling.checked(**{**Sampling()._asdict(), **changes})


def test_split_is_stratified_disjoint_and_complete() -> None:
    result = stage(Sampling(validation=0.1, test=0.2))
    assert per_class(result.test) == {0: 10, 1: 6, 2: 2, 3: 1}
    assert per_class(result.validation) == {0: 5, 1: 3, 2: 1, 3: 1}
    assert per_class(result.train) == {0: 35, 1: 21, 2: 8, 3: 1}
    parts = [indices(rows) for rows in (result.train, result.validation, result.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == sum(COUNTS)


def test_labels_travel_with_their_rows() -> None:
    rows = table()
    truth = rows.labels["label"]
    for part in stage(rows=rows)[2:5]:
        assert all(int(row["labels"]["label"]) == int(truth[row["index"]]) for row in part)


def test_split_depends_on_its_seed_alone() -> None:
    torch.manual_seed(0)
    first = stage(Sampling(split_seed=3))
    torch.manual_seed(1)
    again = stage(Sampling(split_seed=3, sample_seed=9, labels_per_class=1))
    other = stage(Sampling(split_seed=4))
    assert indices(first.test) == indices(again.test) and indices(first.validation) == indices(again.validation)
    assert indices(first.test) != indices(other.test)
    state = torch.get_rng_state()
    stage()
    assert torch.equal(state, torch.get_rng_state())


def test_a_single_row_of_a_class_stays_in_training() -> None:
    result = stage(rows=table((20, 20, 1)))
    assert per_class(result.train)[2] == 1 and 2 not in per_class(result.test) | per_class(result.validation)


def test_given_sets_are_kept_whole() -> None:
    rows = table()
    own = rows.take(torch.arange(10, 20))
    result = stage(rows=rows.take(torch.arange(20, 94)), validation=own, test=own)
    assert indices(result.test) == indices(result.validation) == set(range(10, 20))
    assert len(result.train) == 74


def test_labelled_rows_are_nested_and_balanced() -> None:
    draws = [stage(Sampling(labels_per_class=k), rows=table((60, 60, 60))) for k in (1, 5, 20)]
    assert [per_class(draw.train) for draw in draws] == [{0: k, 1: k, 2: k} for k in (1, 5, 20)]
    one, five, twenty = (indices(draw.train) for draw in draws)
    assert one < five < twenty
    assert indices(draws[0].test) == indices(draws[2].test)
    other = stage(Sampling(labels_per_class=5, sample_seed=1), rows=table((60, 60, 60)))
    assert indices(other.train) != five


def test_more_labels_than_there_are_names_class_and_count() -> None:
    with pytest.raises(ConfigError) as error:
        stage(Sampling(labels_per_class=5, test=0.2, validation=0.1))
    (problem,) = error.value.problems
    assert problem.key == "labels_per_class"
    assert "class 'd' has 1" in problem.message and "'c'" not in problem.message and "at most 1" in problem.message


def test_labelled_rows_of_two_tasks_keep_the_labels_that_were_drawn() -> None:
    tasks = (TASK, Task("size", "classification", ("small", "large")))
    rows = Rows(torch.arange(40), {"label": torch.arange(40) % 4, "size": torch.arange(40) // 20})
    drawn = Sampling(labels_per_class=3).labelled(tasks, rows)
    assert {c: int((drawn.labels["label"] == c).sum()) for c in range(4)} == {0: 3, 1: 3, 2: 3, 3: 3}
    assert {c: int((drawn.labels["size"] == c).sum()) for c in range(2)} == {0: 3, 1: 3}
    assert all(any(int(y) != IGNORE for y in row["labels"].values()) for row in drawn)


def test_balanced_weights_are_n_over_c_n_class() -> None:
    rows = stage(Sampling(class_weights="balanced", validation=0.1, test=0.2)).train
    expected = {0: 65 / (4 * 35), 1: 65 / (4 * 21), 2: 65 / (4 * 8), 3: 65 / 4}
    for row in rows:
        assert row["weight"] == pytest.approx(expected[int(row["labels"]["label"])])
    assert float(rows.weight.mean()) == pytest.approx(1.0)
    assert set(stage().train.weight.tolist()) == {1.0}


def test_unlabelled_rows_are_masked() -> None:
    rows = table()
    unlabelled = stage(unlabelled=rows).unlabelled
    assert unlabelled is not None and set(unlabelled.labels["label"].tolist()) == {IGNORE}
    assert set(rows.labels["label"].tolist()) == {0, 1, 2, 3}


def test_partition_is_disjoint_even_and_stratified() -> None:
    parts = Sampling().partition((TASK,), table((30, 30)), 3)
    assert [per_class(part) for part in parts] == [{0: 10, 1: 10}] * 3
    assert len(set.union(*map(indices, parts))) == 60


@pytest.mark.parametrize("key", ["test", "validation"])
def test_an_empty_split_is_an_error_under_its_key(key: str) -> None:
    rows = table((1, 1, 1))
    given = {"test": None, "validation": None} | {other: rows for other in ("test", "validation") if other != key}
    with pytest.raises(ConfigError) as error:
        stage(rows=rows, **given)
    assert [problem.key for problem in error.value.problems] == [key]
    with pytest.raises(ConfigError) as error:
        stage(rows=rows, **{**given, key: rows.take(torch.arange(0))})
    assert [problem.key for problem in error.value.problems] == [key]


@pytest.mark.parametrize("key", ["test", "validation"])
def test_a_label_that_training_lacks_is_named(key: str) -> None:
    rows = table((9, 9, 0, 9))
    known = rows.take((rows.labels["label"] < 3).nonzero()[:, 0])
    with pytest.raises(ConfigError, match=f"{key} rows have label 'd'"):
        stage(rows=known, **{key: rows})


def test_all_wrong_options_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        checked(labels_per_class=-3, validation=0.0, test=1.0, split_seed=-1, sample_seed=-2, class_weights="balance")
    assert [problem.key for problem in error.value.problems] == list(Sampling._fields)
    assert "did you mean 'balanced'" in str(error.value)
    assert checked(labels_per_class=1) == Sampling(labels_per_class=1)


def test_shares_that_leave_no_training_rows_are_an_error() -> None:
    with pytest.raises(ConfigError) as error:
        stage(checked(validation=0.5, test=0.5))
    assert error.value.problems[0].key == "test"


def test_without_labels_the_descriptions_are_all_there_is_to_learn_from() -> None:
    described = descriptions(TASK, 94, ["is a", "is b", "is c", "is d"])
    sampling = checked(labels_per_class=0, class_weights="balanced")
    result = sampling.stage("toy", (TASK,), table(), None, None, descriptions=described)
    few = checked(labels_per_class=1).stage("toy", (TASK,), table(), None, None)
    assert [(row["input"], int(row["labels"]["label"]), row["index"]) for row in result.train] == [
        ("is a", 0, 94),
        ("is b", 1, 95),
        ("is c", 2, 96),
        ("is d", 3, 97),
    ]
    assert indices(result.test) == indices(few.test), "what is tested on does not depend on the labels"
    assert indices(result.validation) == indices(few.validation)


def test_no_labels_and_no_descriptions_is_an_error() -> None:
    with pytest.raises(ConfigError, match="labels_per_class: 0: the data have no descriptions of their classes"):
        stage(checked(labels_per_class=0))
    with pytest.raises(ConfigError, match="labels_per_class: -1: must be an integer of at least 0"):
        checked(labels_per_class=-1)


def targets(count=100):
    """Rows of a regression, every tenth without a target."""
    y = torch.arange(count, dtype=torch.float32)
    y[::10] = torch.nan
    return Rows(torch.arange(count), {"size": y})


SIZE = Task("size", "regression", (), "rmse")


def test_rows_of_a_regression_are_split_at_random():
    first, again, other = (Sampling(split_seed=seed).stage("s", (SIZE,), targets(), None, None) for seed in (0, 0, 1))
    counts = [int((~rows.labels["size"].isnan()).sum()) for rows in (first.test, first.validation, first.train)]
    assert counts == [18, 18, 54]  # a fifth of 90 with a target, then a quarter of the 72 that are left
    assert first.test.index.tolist() == again.test.index.tolist() != other.test.index.tolist()
    assert not set(first.test.index.tolist()) & set(first.train.index.tolist())


def test_what_is_drawn_by_classes_is_refused_where_there_are_none():
    with pytest.raises(ConfigError) as caught:
        Sampling(labels_per_class=5, class_weights="balanced").stage("s", (SIZE,), targets(), None, None)
    assert [problem.key for problem in caught.value.problems] == ["labels_per_class", "class_weights"]
    assert "5: must be null: task 'size' is a regression, without classes" in str(caught.value)
