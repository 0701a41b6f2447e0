"""Data sets as domains: which rows are where, under which labels, in which shape."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tlresearch.config.errors import ConfigError
from tlresearch.core.fingerprint import fingerprint
from tlresearch.core.sampling import Sampling
from tlresearch.core.types import IGNORE
from tlresearch.datasets.domains import Domains


@pytest.fixture
def usps_file(tmp_path: Path) -> dict[str, np.ndarray]:
    """What lies in tmp_path/usps.npz."""
    rng = np.random.default_rng(5)
    arrays = {f"x_{s}": rng.integers(0, 256, (n, 16, 16), dtype=np.uint8) for s, n in (("train", 60), ("test", 20))}
    arrays |= {"y_train": np.arange(60)[::-1] % 10, "y_test": np.arange(20)[::-1] % 10}
    np.savez(tmp_path / "usps.npz", **arrays)
    return arrays


@pytest.fixture
def stream(tmp_path: Path, mnist_folder: Path, photos, usps_file, cache: Path):
    """stream(Sampling(), source=…, target=…) over the small files."""
    paths = {
        "mnist": {"path": "mnist"},
        "mnist_m": {"path": "mnist", "photos_path": "photos"},
        "usps": {"path": "usps.npz"},
    }

    def make(sampling: Sampling = Sampling(), source=("mnist",), target=("mnist_m",), base_arguments=None, **options):
        own = {name: paths[name] for name in (*source, *target) if name in paths} | (base_arguments or {})
        return Domains(
            sampling, tmp_path, source=list(source), target=list(target), base_arguments=own, **options
        ).stream()

    return make


def test_source_is_labelled_and_target_is_not(stream) -> None:
    spec, (stage,) = stream()
    assert (spec.domains, spec.input_shape, spec.tasks[0].labels) == (
        ("mnist", "mnist_m"),
        (3, 28, 28),
        (*"0123456789",),
    )
    assert set(stage.train.domain.tolist()) == set(stage.validation.domain.tolist()) == {0}
    assert set(stage.unlabelled.domain.tolist()) == set(stage.test.domain.tolist()) == {1}
    assert set(stage.unlabelled.labels["digit"].tolist()) == {IGNORE}
    assert len(stage.train) == 50 and len(stage.unlabelled) == 60 and len(stage.test) == 20
    assert stage.unlabelled.index.tolist() == list(range(80, 140))  # a target needs no validation rows
    assert stage.test.labels["digit"].tolist() == [i % 10 for i in range(20)]


def test_a_targets_training_labels_change_nothing(stream, usps_file, tmp_path: Path) -> None:
    before = fingerprint(stream(target=("usps",)))
    shuffled = np.random.default_rng(1).permutation(usps_file["y_train"])
    assert (shuffled != usps_file["y_train"]).any()
    np.savez(tmp_path / "usps.npz", **{**usps_file, "y_train": shuffled})
    assert fingerprint(stream(target=("usps",))) == before


def test_all_domains_are_tested_where_asked_and_sources_where_there_is_no_target(stream) -> None:
    _, (stage,) = stream(tested="all")
    assert stage.test.domain.tolist() == [0] * 20 + [1] * 20
    spec, (stage,) = stream(source=("mnist", "mnist_m"), target=())
    assert stage.unlabelled is None and stage.test.domain.tolist() == [0] * 20 + [1] * 20
    assert spec.domains == ("mnist", "mnist_m")


def test_grey_becomes_three_equal_channels(stream, mnist_arrays) -> None:
    _, (stage,) = stream()
    for row in list(stage.train)[:5]:
        expected = torch.from_numpy(mnist_arrays["x_train"][row["index"]]).expand(3, 28, 28)
        assert torch.equal(row["input"], expected)


def test_small_images_are_resized_to_the_largest_side(stream, usps_file) -> None:
    spec, (stage,) = stream(target=("usps",))
    assert spec.input_shape == (1, 28, 28)
    for i, row in enumerate(stage.test):
        expected = Image.fromarray(usps_file["x_test"][i]).resize((28, 28), Image.Resampling.BILINEAR)
        assert torch.equal(row["input"], torch.from_numpy(np.array(expected))[None])
        assert int(row["labels"]["digit"]) == usps_file["y_test"][i]
    spec, (stage,) = stream(target=("usps",), image_size=16)
    assert spec.input_shape == (1, 16, 16) and stage.train[0]["input"].shape == (1, 16, 16)
    assert torch.equal(stage.test[3]["input"], torch.from_numpy(usps_file["x_test"][3])[None])


def test_numbers_of_rows_do_not_meet(stream) -> None:
    _, (stage,) = stream(source=("usps", "mnist"), target=("mnist_m",), tested="all")
    numbers = torch.cat([rows.index for rows in (stage.train, stage.validation, stage.test, stage.unlabelled)])
    assert len(numbers.unique()) == len(numbers)
    assert stage.train.domain.unique().tolist() == [0, 1]


def test_few_labels_and_weights_are_the_sources(stream) -> None:
    _, (stage,) = stream(Sampling(labels_per_class=2, class_weights="balanced"), source=("mnist", "usps"))
    assert stage.train.labels["digit"].bincount().tolist() == [2] * 10
    assert len(stage.unlabelled) > 20 and set(stage.unlabelled.weight.tolist()) == {1.0}


@pytest.fixture
def tables(tmp_path: Path):
    """tables(first=["cat", "dog"]): a domain of texts for each argument, its labels in that order of rows."""

    def make(**labels: list[str]):
        for name, own in labels.items():
            rows = [f"{name} {i} {own[i % len(own)]},{own[i % len(own)]}" for i in range(24)]
            (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *rows]))
        arguments = {name: {"name": "text_file", "path": f"{name}.csv"} for name in labels}
        source, *target = labels
        return Domains(Sampling(), tmp_path, source=[source], target=target, base_arguments=arguments).stream()

    return make


def test_a_data_set_serves_several_domains_under_names_of_their_own(tables) -> None:
    spec, (stage,) = tables(books=["good", "bad"], kitchen=["bad", "good"])
    assert (spec.modality, spec.domains, spec.input_shape) == ("text", ("books", "kitchen"), None)
    for rows in (stage.train, stage.test):
        for row in rows:
            assert spec.tasks[0].labels[row["labels"]["label"]] == row["input"].split()[-1]
            assert row["input"].startswith(spec.domains[row["domain"]])


def test_classes_that_only_one_domain_has_are_named(tables) -> None:
    with pytest.raises(ConfigError, match=r"^target: 'kitchen': has not the task of 'books' .*one of them has: fair"):
        tables(books=["good", "bad"], kitchen=["bad", "good", "fair"])


@pytest.mark.parametrize(
    ("options", "key", "told"),
    [
        ({"source": ()}, "source", "at least one"),
        ({"target": ("mnist",)}, "target", "named twice"),
        ({"target": ("mnits",)}, "target", "did you mean 'mnist'"),
        ({"target": ("digits_of_mine",)}, "target", "unknown dataset"),
        ({"target": ("a",), "base_arguments": {"a": {"name": "text_file", "path": "a.csv"}}}, "target", "gives text"),
        ({"target": ("support",)}, "target", "has stages, domains, tasks"),
        ({"target": ("rotated",)}, "target", "domains"),
        ({"base_arguments": {"digits": {}}}, "base_arguments.digits", "unknown"),
        ({"base_arguments": {"mnist_m": {"patch_seed": -1}}}, "base_arguments.mnist_m.patch_seed", "at least 0"),
        ({"base_arguments": {"mnist": {"path": "gone"}}}, "base_arguments.mnist.path", "no such file or folder"),
        ({"base_arguments": {"mnist": {"validation": 0.3}}}, "base_arguments.mnist.validation", "outer dataset"),
        ({"image_size": 0}, "image_size", "at least 1"),
        ({"tested": "sources"}, "tested", "Allowed: all, target"),
    ],
)
def test_what_does_not_fit_is_told_under_its_key(stream, tmp_path: Path, options: dict, key: str, told: str) -> None:
    (tmp_path / "a.csv").write_text("\n".join(["text,label", *(f"t{i},{i % 2}" for i in range(20))]))
    with pytest.raises(ConfigError) as error:
        stream(**options)
    keys, messages = zip(*error.value.problems, strict=True)
    assert key in keys and told in " ".join(messages)
