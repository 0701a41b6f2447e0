"""Every registered dataset: a stream is a function of its arguments, labels are in range, nothing leaks."""

import json

import pytest
import torch

from tlresearch.config.errors import ConfigError
from tlresearch.core.fingerprint import fingerprint
from tlresearch.core.kinds import kind_of
from tlresearch.core.labels import labelled

from . import registered
from .harness import Kit

every_dataset = registered.every("dataset")
DATA = {"contract_images", "contract_texts", "contract_vectors"}


def stream(kit: Kit, name: str, **options):
    if name in DATA:
        options = {"stages": 2, "tasks": 2, "target": True, **options}
    return kit.build("dataset", name, at=options, data_dir=None).stream()


def has_classes(kit: Kit, name: str) -> bool:
    return all(kind_of(task).classes for task in stream(kit, name).spec.tasks)


def check_refused(kit: Kit, name: str, key: str, value) -> None:
    with pytest.raises(ConfigError) as caught:
        stream(kit, name, **{key: value})
    assert any(key in problem.key for problem in caught.value.problems)


@every_dataset
def test_a_stream_is_a_function_of_its_arguments(kit: Kit, name: str) -> None:
    torch.manual_seed(0)
    first = fingerprint(stream(kit, name))
    torch.manual_seed(1)
    torch.rand(3)
    assert fingerprint(stream(kit, name)) == first
    drawn = {"labels_per_class": 1} if has_classes(kit, name) else {"validation": 0.3}
    few = [stream(kit, name, **drawn, split_seed=seed, sample_seed=seed) for seed in (0, 1)]
    assert len({first, *map(fingerprint, few)}) == 3  # fixed splits leave only the draw of the labelled rows to a seed


@every_dataset
def test_every_row_has_labels_of_its_tasks(kit: Kit, name: str) -> None:
    spec, stages = stream(kit, name)
    final = {task.name: task.labels for task in spec.tasks}
    assert spec.modality and stages
    assert json.loads(json.dumps(spec)), "the spec is plain"
    for stage in stages:
        for task in stage.tasks:
            assert final[task.name][: len(task.labels)] == task.labels, "labels only grow"
            for rows in (stage.train, stage.validation, stage.test):
                y = rows.labels[task.name]
                assert len(rows) and len(y) == len(rows)
                assert y.dtype == (torch.int64 if kind_of(task).classes else torch.float32)
                known = y[labelled(y)]
                assert ((known >= 0) & (known < len(task.labels)) if task.labels else known.isfinite()).all()
            assert labelled(stage.train.labels[task.name]).any()
        for rows in filter(None, (stage.train, stage.validation, stage.test, stage.unlabelled)):
            assert ((rows.domain >= 0) & (rows.domain < len(spec.domains))).all()
            assert (rows.weight >= 0).all() and rows.weight.isfinite().all()
            assert rows[0]["input"] is not None


@every_dataset
def test_unlabelled_rows_and_what_methods_see_are_masked(kit: Kit, name: str) -> None:
    for stage in stream(kit, name).stages:
        hidden = [stage.without_test_labels().test, *([] if stage.unlabelled is None else [stage.unlabelled])]
        assert not any(labelled(column).any() for rows in hidden for column in rows.labels.values())


@every_dataset
def test_no_row_is_in_two_splits(kit: Kit, name: str) -> None:
    """Among all stages: what is ever tested on is never trained on, nor validated on, nor seen without its label."""
    stages = stream(kit, name).stages
    seen = {split: indices(getattr(stage, split) for stage in stages) for split in ("train", "validation", "test")}
    seen["unlabelled"] = indices(stage.unlabelled for stage in stages if stage.unlabelled is not None)
    for a in seen:
        for b in seen:
            assert a == b or not seen[a] & seen[b], f"{a} and {b} share rows"


def indices(parts) -> set[int]:
    return {int(i) for rows in parts for i in rows.index}


@every_dataset
def test_fewer_labels_lie_within_more(kit: Kit, name: str) -> None:
    if not has_classes(kit, name):
        return check_refused(kit, name, "labels_per_class", 1)
    few, more, all_of_them = (
        indices(stage.train for stage in stream(kit, name, labels_per_class=count).stages) for count in (1, 2, None)
    )
    assert few < more <= all_of_them


@every_dataset
def test_too_many_labels_per_class_are_refused(kit: Kit, name: str) -> None:
    check_refused(kit, name, "labels_per_class", 10**6)


@every_dataset
def test_class_weights_balance(kit: Kit, name: str) -> None:
    if not has_classes(kit, name):
        return check_refused(kit, name, "class_weights", "balanced")
    for stage in stream(kit, name, class_weights="balanced").stages:
        assert stage.train.weight.mean() == pytest.approx(1, abs=1e-5)
        if len(stage.tasks) == 1:
            y = stage.train.labels[stage.tasks[0].name]
            sums = torch.bincount(y, weights=stage.train.weight)
            assert torch.allclose(sums[sums > 0], sums[sums > 0][:1], rtol=1e-4)
