"""Rotated digits: pixels against numpy, domains against sets of indices."""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from tlresearch.config.errors import ConfigError
from tlresearch.core.rows import Rows
from tlresearch.core.sampling import Sampling
from tlresearch.core.types import IGNORE
from tlresearch.datasets.digits import Digits
from tlresearch.datasets.rotated import Rotated

N = 1797
TARGET = load_digits().target


def stream(sampling: Sampling = Sampling(), **options):
    return Rotated(sampling, None, **options).stream()


def base_rows(rows: Rows) -> set[int]:
    return {index % N for index in rows.index.tolist()}


@functools.cache
def plain() -> torch.Tensor:
    """The digits as they are, by index."""
    (stage,) = Digits(Sampling()).stream().stages
    return stage.train.inputs


@pytest.mark.parametrize(("angle", "turns"), [(0, 0), (90, 1), (180, 2), (270, 3), (-90, 3)])
def test_right_angles_are_those_of_numpy(angle: int, turns: int) -> None:
    _, (stage,) = stream(source=[angle], target=[])
    for row in list(stage.train)[:200]:
        expected = np.rot90(plain()[row["index"] % N][0].numpy(), turns)
        assert np.array_equal(row["input"][0].numpy(), expected)


def test_other_angles_are_bilinear() -> None:
    _, (stage,) = stream(source=[30], target=[])
    row = stage.train[0]
    image = Image.fromarray(plain()[row["index"] % N][0].numpy())
    expected = np.asarray(image.rotate(30, Image.Resampling.BILINEAR)).astype(int)
    inner = np.s_[2:6, 2:6]  # the two differ in how they treat what lies outside
    assert np.abs(row["input"][0].numpy().astype(int)[inner] - expected[inner]).max() <= 1


def test_domains_are_disjoint_in_training_and_hold_all_rows() -> None:
    spec, (stage,) = stream(source=[0, 15], target=[45, 60])
    (base,) = Digits(Sampling()).stream().stages
    assert spec.domains == ("0", "15", "45", "60")
    assert set(stage.train.domain.tolist()) == {0, 1} and set(stage.unlabelled.domain.tolist()) == {2, 3}
    everything = [index % N for rows in (stage.train, stage.unlabelled) for index in rows.index.tolist()]
    assert sorted(everything) == sorted(base.train.index.tolist())
    sizes = [int((rows.domain == d).sum()) for rows, d in ((stage.train, 0), (stage.train, 1), (stage.unlabelled, 2))]
    assert max(sizes) - min(sizes) <= 1
    assert base_rows(stage.validation) == set(base.validation.index.tolist())
    assert base_rows(stage.test) == set(base.test.index.tolist())
    assert set(stage.validation.domain.tolist()) == {0, 1} and set(stage.test.domain.tolist()) == {0, 1, 2, 3}
    every = [i for rows in (stage.train, stage.validation, stage.test, stage.unlabelled) for i in rows.index.tolist()]
    assert len(set(every)) == len(every)


def test_pixels_labels_and_domain_belong_together() -> None:
    _, (stage,) = stream(source=[90], target=[180])
    for row in list(stage.test)[::5]:
        expected = np.rot90(plain()[row["index"] % N][0].numpy(), 1 + row["domain"])
        assert np.array_equal(row["input"][0].numpy(), expected)
        assert int(row["labels"]["digit"]) == TARGET[row["index"] % N]


def test_target_labels_are_masked_and_few_labels_are_the_sources() -> None:
    _, (stage,) = stream(Sampling(labels_per_class=5), source=[0, 30], target=[60])
    assert stage.train.labels["digit"].bincount().tolist() == [5] * 10
    assert set(stage.unlabelled.labels["digit"].tolist()) == {IGNORE}
    _, (full,) = stream(source=[0, 30], target=[60])
    assert len(stage.unlabelled) == len(full.unlabelled) > 300
    assert set(stage.train.index.tolist()) < set(full.train.index.tolist())


def test_without_target_there_is_nothing_unlabelled() -> None:
    spec, (stage,) = stream(source=[0, 30], target=[])
    assert stage.unlabelled is None and spec.domains == ("0", "30")


def test_balanced_weights_count_the_source_alone() -> None:
    _, (stage,) = stream(Sampling(class_weights="balanced"))
    counts = stage.train.labels["digit"].bincount()
    for row in stage.train:
        assert row["weight"] == pytest.approx(len(stage.train) / (10 * float(counts[row["labels"]["digit"]])))


def test_images_from_files_are_turned_when_read(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    pictures = {}
    for i in range(12):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        array = generator.integers(0, 255, (5 + i, 5 + i, 3), dtype=np.uint8)
        Image.fromarray(array).save(tmp_path / "ab"[i % 2] / f"{i:02}.png")
        pictures[array.shape] = array
    folder = {"path": str(tmp_path)}
    _, (stage,) = stream(base="image_folder", base_arguments=folder, source=[90], target=[180])
    for row in stage.test:
        image = row["input"].permute(1, 2, 0).numpy()
        assert np.array_equal(image, np.rot90(pictures[image.shape], 1 + row["domain"]))


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"source": [0, 0]}, "target"),
        ({"source": [0], "target": [0]}, "target"),
        ({"source": [0], "target": [360]}, "target"),
        ({"source": []}, "source"),
        ({"base": "split", "base_arguments": {"scenario": "class_incremental"}}, "base"),
        ({"base": "rotated"}, "base"),
    ],
)
def test_what_does_not_fit_is_told_under_its_key(options: dict, key: str) -> None:
    with pytest.raises(ConfigError) as error:
        stream(**options)
    assert [problem.key for problem in error.value.problems] == [key]


def test_texts_cannot_be_rotated(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("\n".join(["text,label", *(f"t{i},{i % 2}" for i in range(20))]))
    with pytest.raises(ConfigError, match="only images can be rotated"):
        stream(base="text_file", base_arguments={"path": str(tmp_path / "a.csv")})
