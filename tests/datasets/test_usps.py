"""USPS from a small archive, and the real one against its published counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tlresearch.config.errors import ConfigError
from tlresearch.core.sampling import Sampling
from tlresearch.datasets.usps import USPS

SHARED = Path(__file__).parents[3] / "shared" / "data"


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    images = {f"x_{s}": rng.integers(0, 256, (n, 16, 16), dtype=np.uint8) for s, n in (("train", 60), ("test", 20))}
    return {**images, "y_train": np.arange(60) % 10, "y_test": np.arange(20) % 10}


def stream(path: Path, data_dir: Path | None = None):
    return USPS(Sampling(), data_dir, path=str(path)).stream()


def test_every_image_is_there_with_its_label_and_number(tmp_path: Path) -> None:
    np.savez(tmp_path / "usps.npz", **arrays())
    spec, (stage,) = stream(tmp_path / "usps.npz")
    assert (spec.input_shape, spec.tasks[0].labels) == ((1, 16, 16), tuple("0123456789"))
    images, labels = (np.concatenate([arrays()[f"{axis}_{s}"] for s in ("train", "test")]) for axis in "xy")
    rows = [row for part in (stage.train, stage.validation, stage.test) for row in part]
    assert sorted(row["index"] for row in rows) == list(range(80))
    assert stage.test.index.tolist() == list(range(60, 80))
    for row in rows:
        assert torch.equal(row["input"], torch.from_numpy(images[row["index"]])[None])
        assert int(row["labels"]["digit"]) == labels[row["index"]]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"x_test": None}, "lacks x_test"),
        ({"x_train": np.zeros((60, 16, 16), np.float32)}, "x_train is float32"),
        ({"x_train": np.zeros((60, 256), np.uint8)}, "x_train is uint8"),
        ({"y_train": np.arange(59) % 10}, "60 train images and 59 labels"),
        ({"y_train": np.arange(60) % 11}, "labels 0 to 10"),
        ({"x_test": np.zeros((20, 8, 8), np.uint8)}, "differ in size"),
        ({"y_test": np.array(["a"] * 20, object)}, "not a plain .npz"),
    ],
)
def test_archives_of_another_form_are_refused(tmp_path: Path, change, told: str) -> None:
    np.savez(tmp_path / "a.npz", **{name: array for name, array in (arrays() | change).items() if array is not None})
    with pytest.raises(ConfigError, match=told) as error:
        stream(tmp_path / "a.npz")
    assert [problem.key for problem in error.value.problems] == ["path"]


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04broken"])
def test_files_that_are_no_archive_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ConfigError, match=r"not a plain \.npz"):
        stream(tmp_path / "a.npz")


def test_the_real_file_has_its_published_sizes() -> None:
    if not SHARED.is_dir():
        pytest.skip("shared/data is absent")
    _, (stage,) = stream(Path("usps/usps.npz"), SHARED)
    assert len(stage.train) + len(stage.validation) == 7_291 and len(stage.test) == 2_007
