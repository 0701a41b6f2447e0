"""Small copies of the digit files, in the formats as published, and an empty cache folder."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def write_idx():
    """write_idx(file, array): a gzip-compressed idx file of bytes, its header packed by struct."""

    def write(file: Path, array: np.ndarray) -> None:
        header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))

    return write


@pytest.fixture
def mnist_arrays() -> dict[str, np.ndarray]:
    """x_train (60, 28, 28), y_train, x_test (20, 28, 28), y_test: noise, each digit equally often."""
    rng = np.random.default_rng(0)
    arrays = {f"x_{s}": rng.integers(0, 256, (n, 28, 28), dtype=np.uint8) for s, n in (("train", 60), ("test", 20))}
    return {**arrays, "y_train": np.arange(60) % 10, "y_test": np.arange(20) % 10}


@pytest.fixture
def mnist_folder(tmp_path: Path, write_idx, mnist_arrays: dict[str, np.ndarray]) -> Path:
    """Those as the four files of MNIST."""
    folder = tmp_path / "mnist"
    for split, prefix in (("train", "train"), ("test", "t10k")):
        write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", mnist_arrays[f"x_{split}"])
        write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", mnist_arrays[f"y_{split}"])
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> dict[str, np.ndarray]:
    """Name → pixels of the photos in tmp_path/photos."""
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(1)
    sizes = {"a.png": (28, 30, 3), "b.png": (45, 28, 3), "c.png": (60, 70, 3)}
    found = {name: rng.integers(0, 256, size, dtype=np.uint8) for name, size in sizes.items()}
    for name, pixels in found.items():
        Image.fromarray(pixels).save(tmp_path / "photos" / name)
    return found


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that data are kept in, empty at first."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tlresearch"
