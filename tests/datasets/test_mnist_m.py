"""MNIST-M: every pixel against the photos it was cut from, and what is kept of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlresearch.config.errors import ConfigError
from tlresearch.core.fingerprint import fingerprint
from tlresearch.core.sampling import Sampling
from tlresearch.datasets import mnist_m
from tlresearch.datasets.mnist import MNIST
from tlresearch.datasets.mnist_m import MNISTM, blend


@pytest.fixture
def stream(tmp_path: Path, mnist_folder: Path, photos, cache: Path):
    """stream(patch_seed=1): built from the small files."""

    def make(**options):
        return MNISTM(Sampling(), tmp_path, path="mnist", photos_path="photos", **options).stream()

    return make


def is_blended(image: np.ndarray, digit: np.ndarray, photos: dict[str, np.ndarray]) -> bool:
    """Whether (28, 28, 3) is |patch − digit| of some patch, looked for at every corner of every photo."""
    for photo in photos.values():
        for top in range(photo.shape[0] - 27):
            for left in range(photo.shape[1] - 27):
                patch = photo[top : top + 28, left : left + 28].astype(int)
                if np.array_equal(image, np.abs(patch - digit[:, :, None])):
                    return True
    return False


def test_every_digit_is_the_difference_to_some_patch(stream, photos, mnist_arrays) -> None:
    spec, (stage,) = stream()
    assert spec.input_shape == (3, 28, 28)
    digits = np.concatenate([mnist_arrays["x_train"], mnist_arrays["x_test"]])
    for row in [*list(stage.train)[:6], stage.test[0], stage.validation[0]]:
        assert is_blended(row["input"].permute(1, 2, 0).numpy(), digits[row["index"]], photos)


def test_patches_are_drawn_from_all_photos_and_places() -> None:
    photo = np.arange(40 * 50, dtype=np.int64).reshape(40, 50)  # every pixel tells its place
    coded = np.stack([photo // 250, photo % 250, 0 * photo], 2).astype(np.uint8)
    images = blend(np.zeros((4000, 28, 28), np.uint8), [coded, coded + np.array([0, 0, 9], np.uint8)], 0)
    corners = images[:, 0, 0, 0].astype(int) * 250 + images[:, 1, 0, 0]
    tops, lefts = corners // 50, corners % 50
    assert set(tops) == set(range(13)) and set(lefts) == set(range(23))
    counts = np.bincount(images[:, 2, 0, 0])[[0, 9]]
    assert abs(counts[0] - 2000) < 4 * 4000**0.5 / 2  # four standard deviations of a fair coin


def test_rows_are_mnists(stream, mnist_folder: Path) -> None:
    (own,), (plain,) = stream().stages, MNIST(Sampling(), None, path=str(mnist_folder)).stream().stages
    for split in ("train", "validation", "test"):
        mine, theirs = getattr(own, split), getattr(plain, split)
        assert mine.index.tolist() == theirs.index.tolist()
        assert mine.labels["digit"].tolist() == theirs.labels["digit"].tolist()


def test_what_was_made_is_read_again(stream, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fingerprint(stream())
    (kept,) = (cache / "mnist_m").iterdir()
    monkeypatch.setattr(mnist_m, "blend", None)  # a call of it would fail
    assert fingerprint(stream()) == first
    assert list((cache / "mnist_m").iterdir()) == [kept]


@pytest.mark.parametrize("damage", [lambda b: b[:-50], lambda b: b[:-9] + bytes([b[-9] ^ 1]) + b[-8:], lambda b: b""])
def test_what_is_damaged_is_made_anew(stream, cache: Path, damage) -> None:
    first = fingerprint(stream())
    (kept,) = (cache / "mnist_m").iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(damage(whole))
    assert fingerprint(stream()) == first
    assert kept.read_bytes() == whole


def test_another_recipe_is_another_entry(stream, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {fingerprint(stream()), fingerprint(stream(patch_seed=1))}
    Image.fromarray(np.zeros((30, 30, 3), np.uint8)).save(tmp_path / "photos" / "d.png")
    found.add(fingerprint(stream()))
    assert len(found) == 3 and len(list((cache / "mnist_m").iterdir())) == 3
    monkeypatch.setattr(mnist_m, "RECIPE", mnist_m.RECIPE + 1)
    stream()
    assert len(list((cache / "mnist_m").iterdir())) == 4


def test_without_a_place_to_keep_it_it_is_made_each_time(stream, cache: Path) -> None:
    cache.parent.write_text("a file where the folder would be")
    assert fingerprint(stream()) == fingerprint(stream())


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("d.png", Image.new("RGB", (27, 40)), "27 x 40 pixels, too few"),
        ("d.jpg", b"no photo", "cannot be read"),
    ],
)
def test_photos_that_do_not_serve_are_named(stream, tmp_path: Path, name: str, content, told: str) -> None:
    place = tmp_path / "photos" / name
    place.write_bytes(content) if isinstance(content, bytes) else content.save(place)
    with pytest.raises(ConfigError, match=told) as error:
        stream()
    assert [problem.key for problem in error.value.problems] == ["photos_path"] and name in str(error.value)


def test_mistakes_are_told_under_their_keys(stream, tmp_path: Path, mnist_folder: Path) -> None:
    with pytest.raises(ConfigError, match="patch_seed: -1"):
        stream(patch_seed=-1)
    for photo in (tmp_path / "photos").iterdir():
        photo.unlink()
    with pytest.raises(ConfigError, match=r"photos_path: .*no folder with images"):
        stream()
    (mnist_folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(ConfigError, match=r"^path: .*no such file"):
        stream()
