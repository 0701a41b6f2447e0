"""MNIST from small files written by struct, and the real ones against their published counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tlresearch.config.errors import ConfigError
from tlresearch.core.sampling import Sampling
from tlresearch.datasets.mnist import MNIST

SHARED = Path(__file__).parents[3] / "shared" / "data"


def stream(path: Path, data_dir: Path | None = None):
    return MNIST(Sampling(), data_dir, path=str(path)).stream()


def test_every_image_is_there_with_its_label_and_number(mnist_folder: Path, mnist_arrays) -> None:
    spec, (stage,) = stream(mnist_folder)
    assert (spec.modality, spec.input_shape, spec.tasks[0].labels) == ("image", (1, 28, 28), tuple("0123456789"))
    assert sorted([*stage.train.index.tolist(), *stage.validation.index.tolist()]) == list(range(60))
    assert stage.test.index.tolist() == list(range(60, 80))
    images, labels = (np.concatenate([mnist_arrays[f"{axis}_{s}"] for s in ("train", "test")]) for axis in "xy")
    for rows in (stage.train, stage.validation, stage.test):
        for row in rows:
            assert torch.equal(row["input"], torch.from_numpy(images[row["index"]])[None])
            assert int(row["labels"]["digit"]) == labels[row["index"]]


def test_it_is_found_below_data_dir(mnist_folder: Path, tmp_path: Path) -> None:
    assert len(stream(Path("mnist"), tmp_path).stages[0].test) == 20


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("train-images-idx3-ubyte.gz", lambda old: None, "no such file"),
        ("train-images-idx3-ubyte.gz", lambda old: old[:40], "cannot be read"),
        ("train-images-idx3-ubyte.gz", lambda old: b"plain", "cannot be read"),
        ("t10k-labels-idx1-ubyte.gz", lambda old: np.arange(19), "20 images and 19 labels"),
        ("t10k-labels-idx1-ubyte.gz", lambda old: np.arange(20), "label 19"),
        ("t10k-labels-idx1-ubyte.gz", lambda old: np.zeros((20, 1)), "in 1 dimensions"),
        ("t10k-images-idx3-ubyte.gz", lambda old: np.zeros((20, 16, 16)), "differ in size"),
    ],
)
def test_damaged_files_are_named(mnist_folder: Path, write_idx, name: str, change, told: str) -> None:
    file = mnist_folder / name
    content = change(file.read_bytes())
    if content is None:
        file.unlink()
    elif isinstance(content, bytes):
        file.write_bytes(content)
    else:
        write_idx(file, content)
    with pytest.raises(ConfigError, match=told) as error:
        stream(mnist_folder)
    assert [problem.key for problem in error.value.problems] == ["path"]


def test_the_real_files_have_their_published_sizes() -> None:
    if not SHARED.is_dir():
        pytest.skip("shared/data is absent")
    _, (stage,) = stream(Path("mnist/MNIST/raw"), SHARED)
    assert len(stage.train) + len(stage.validation) == 60_000 and len(stage.test) == 10_000
    assert stage.test.labels["digit"].bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
