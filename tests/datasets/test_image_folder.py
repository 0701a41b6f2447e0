"""Folders of images: both layouts, and every way in which a folder can be wrong."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlresearch.config.errors import ConfigError
from tlresearch.core.sampling import Sampling
from tlresearch.datasets.image_folder import ImageFolder


def draw(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(path)
    return path


def stream(path: Path, data_dir: Path | None = None):
    return ImageFolder(Sampling(), data_dir, path=str(path)).stream()


def contents(rows) -> dict[str, int]:
    return {row["input"].name: int(row["labels"]["label"]) for row in rows}


def test_a_folder_of_classes_is_split(tmp_path: Path) -> None:
    for i in range(5):
        draw(tmp_path / "cat" / f"c{i}.png")
        draw(tmp_path / "dog" / "deep" / "er" / f"d{i}.JPG")
    draw(tmp_path / "cat" / ".hidden.png")
    draw(tmp_path / ".cache" / "x.png")
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    spec, (stage,) = stream(tmp_path)
    assert spec.tasks[0].labels == ("cat", "dog") and spec.modality == "image" and spec.input_shape is None
    parts = [contents(rows) for rows in (stage.train, stage.validation, stage.test)]
    assert [len(part) for part in parts] == [6, 2, 2]
    everything = {**parts[0], **parts[1], **parts[2]}
    assert everything == {f"c{i}.png": 0 for i in range(5)} | {f"d{i}.JPG": 1 for i in range(5)}


@pytest.mark.parametrize("name", ["validation", "val", "valid"])
def test_given_splits_are_kept(tmp_path: Path, name: str) -> None:
    for split, count in (("train", 4), (name, 2), ("test", 1)):
        for i in range(count):
            draw(tmp_path / split / "a" / f"{split}_a{i}.png")
            draw(tmp_path / split / "b" / f"{split}_b{i}.png")
    (stage,) = stream(tmp_path).stages
    assert [len(rows) for rows in (stage.train, stage.validation, stage.test)] == [8, 4, 2]
    assert all(file.startswith("test_") for file in contents(stage.test))
    every = [row["index"] for rows in stage[2:5] for row in rows]
    assert len(set(every)) == len(every)


def test_a_relative_path_is_looked_up_in_the_data_folder(tmp_path: Path) -> None:
    for label in "ab":
        for i in range(3):
            draw(tmp_path / "pets" / label / f"{i}.png")
    assert len(stream(Path("pets"), tmp_path).stages[0].train) == 2
    with pytest.raises(ConfigError, match="'pets': no such file or folder"):
        stream(Path("pets"))


def test_a_folder_without_classes_names_path_and_layout(tmp_path: Path) -> None:
    draw(tmp_path / "flat.png")
    with pytest.raises(ConfigError) as error:
        stream(tmp_path)
    (problem,) = error.value.problems
    assert problem.key == "path" and str(tmp_path) in problem.message and "PATH/CLASS/IMAGE" in problem.message


def test_one_class_only_and_a_class_without_images(tmp_path: Path) -> None:
    draw(tmp_path / "only" / "1.png")
    with pytest.raises(ConfigError, match="one class only, 'only'"):
        stream(tmp_path)
    (tmp_path / "void").mkdir()
    with pytest.raises(ConfigError, match="no image in void"):
        stream(tmp_path)


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a file"):
        stream(draw(tmp_path / "x.png"))


def test_a_test_class_that_training_lacks_is_named(tmp_path: Path) -> None:
    for label in "ab":
        for i in range(3):
            draw(tmp_path / "train" / label / f"{i}.png")
    draw(tmp_path / "test" / "zebra" / "1.png")
    with pytest.raises(ConfigError, match="'zebra'"):
        stream(tmp_path)


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp"])
@pytest.mark.parametrize("damage", ["truncated", "text", "empty"])
def test_damaged_images_are_named(tmp_path: Path, ending: str, damage: str) -> None:
    for label in "ab":
        for i in range(3):
            draw(tmp_path / label / f"{i}.{ending}", i)
    victim = tmp_path / "a" / f"1.{ending}"
    whole = victim.read_bytes()
    victim.write_bytes({"truncated": whole[: len(whole) // 2], "text": b"hello", "empty": b""}[damage])
    with pytest.raises(ConfigError) as error:
        stream(tmp_path)
    assert str(victim) in str(error.value) and str(tmp_path / "b") not in str(error.value)
    victim.write_bytes(whole)
    assert len(stream(tmp_path).stages[0].train) == 2


@pytest.mark.parametrize("place", ["data", "checksum"])
def test_a_flipped_byte_of_a_png_is_found(tmp_path: Path, place: str) -> None:
    files = [draw(tmp_path / label / f"{i}.png", i) for label in "ab" for i in range(3)]
    content = bytearray(files[0].read_bytes())
    content[len(content) // 2 if place == "data" else content.index(b"IEND") - 5] ^= 0xFF  # … or in its check sum
    files[0].write_bytes(content)
    with pytest.raises(ConfigError) as error:
        stream(tmp_path)
    assert str(files[0]) in str(error.value)


def test_at_most_ten_broken_images_are_listed(tmp_path: Path) -> None:
    for i in range(14):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        (tmp_path / "ab"[i % 2] / f"{i}.png").write_bytes(b"broken")
    with pytest.raises(ConfigError, match="14 images cannot be read") as error:
        stream(tmp_path)
    assert str(error.value).count(".png (") == 10 and "and 4 more" in str(error.value)
