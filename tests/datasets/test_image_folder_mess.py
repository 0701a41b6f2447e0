"""Folders of photos as people have them: what is read, what is refused, and that nothing is dropped unsaid."""

import logging
import os
from pathlib import Path

import pytest
from PIL import Image

from tlresearch.config.errors import ConfigError
from tlresearch.core.sampling import Sampling
from tlresearch.datasets.image_folder import ImageFolder


def fill(folder: Path, *labels: str, count: int = 3) -> Path:
    for label in labels:
        (folder / label).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (8, 8), (i, 0, 0)).save(folder / label / f"{i}.png")
    return folder


def files(path: Path) -> list[str]:
    (stage,) = ImageFolder(Sampling(), None, path=str(path)).stream().stages
    return sorted(str(row["input"].relative_to(path)) for part in stage[2:5] for row in part)


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as error:
        ImageFolder(Sampling(), None, path=str(path)).stream()
    (problem,) = error.value.problems
    assert problem.key == "path" and "\n" not in problem.message
    return problem.message


def test_a_tidy_folder_is_read_without_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert files(fill(tmp_path, "a", "b")) == [f"{label}/{i}.png" for label in "ab" for i in range(3)]
    assert not caplog.records


def test_what_is_left_out_is_counted_in_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    expected = files(fill(tmp_path, "a", "b"))
    hidden = ["a/.DS_Store", "b/._0.png", "__MACOSX/a/._0.png", ".hidden/0.png"]
    for name in ["a/1.HEIC", "a/x/2.heic", "b/clip.mov", "b/notes", "Thumbs.db", "cover.png", *hidden]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert files(tmp_path) == expected
    (record,) = caplog.records
    told = "left out: 4 hidden, 2 .heic, 1 .db, 1 .mov, 1 outside a class folder, 1 without an ending; images are"
    assert (record.name, record.levelno) == ("tlresearch", logging.WARNING)
    assert record.getMessage().startswith(f"{tmp_path}: {told}") and ".jpeg" in record.getMessage()


def test_folders_beside_train_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(tmp_path / "Training", "a", "b")
    fill(tmp_path / "extra", "c")
    (tmp_path / "labels.csv").touch()
    assert len(files(tmp_path)) == 6
    assert "left out: 1 .csv, 1 beside train/ (extra/);" in caplog.text


def test_splits_without_train_are_no_classes(tmp_path: Path) -> None:
    fill(tmp_path / "test", "a", "b")
    fill(tmp_path / "val", "a", "b")
    assert "test/ has folders in it and there is no train/" in refusal(tmp_path)


def test_classes_may_be_called_like_splits(tmp_path: Path) -> None:
    assert len(files(fill(tmp_path, "train", "bus", "test"))) == 9


def test_two_folders_for_one_split(tmp_path: Path) -> None:
    fill(tmp_path / "train", "a", "b")
    fill(tmp_path / "val", "a", "b")
    fill(tmp_path / "valid", "a", "b")
    assert "two folders for validation: val, valid" in refusal(tmp_path)


def test_animations_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(tmp_path, "a", "b")
    frames = [Image.new("L", (8, 8), level) for level in (0, 99)]
    for name in ("a/x.gif", "b/y.webp"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    files(tmp_path)
    (record,) = caplog.records
    assert record.getMessage() == f"{tmp_path}: of 2 files with several frames or pages the first is read"


def test_one_folder_too_high(tmp_path: Path) -> None:
    fill(tmp_path / "photos", "a", "b")
    message = refusal(tmp_path)
    assert "one class only, 'photos'" in message and message.endswith(f"is {tmp_path / 'photos'} meant?")


def test_a_class_without_an_image_says_what_it_holds(tmp_path: Path) -> None:
    fill(tmp_path, "a", "b", "c")
    for i in range(3):
        (tmp_path / "c" / f"{i}.png").rename(tmp_path / "c" / f"{i}.cr2")
    assert "no image in c (only 3 .cr2); images are files that end in .avif" in refusal(tmp_path)


def test_an_archive_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "photos.zip").touch()
    assert "is a file; give a folder (unpack an archive)" in refusal(tmp_path / "photos.zip")


def test_odd_names(tmp_path: Path) -> None:
    fill(tmp_path, "größe 😀", "two words")
    for name in ("new\nline.png", "日本 👨‍👩‍👧.JPG", "a,b;'c'\".png"):
        Image.new("L", (8, 8)).save(tmp_path / "two words" / name, format="PNG")
    assert len(files(tmp_path)) == 9
    (tmp_path / "two words" / "new\nline.png").write_bytes(b"")
    assert "new\\nline.png' (is empty, 0 bytes)" in refusal(tmp_path)


def test_a_class_name_that_is_no_text(tmp_path: Path) -> None:
    fill(tmp_path, "a", "b")
    os.rename(tmp_path / "b", os.fsencode(tmp_path) + b"/b\xff")
    assert r"'b\udcff' is not UTF-8; rename it" in refusal(tmp_path)


def test_files_that_are_not_there_or_no_files(tmp_path: Path) -> None:
    fill(tmp_path, "a", "b")
    (tmp_path / "a" / "gone.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(tmp_path / "b" / "pipe.png")
    message = refusal(tmp_path)
    assert "2 images cannot be read" in message
    assert f"{tmp_path}/a/gone.jpg (is no file, or a link to none)" in message and f"{tmp_path}/b/pipe.png (" in message


def test_links_in_a_circle(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    expected = files(fill(tmp_path, "a", "b"))
    (tmp_path / "a" / "up").symlink_to(tmp_path / "a")
    assert files(tmp_path) == expected
    assert "left out: 1 linked in a circle;" in caplog.text


@pytest.mark.parametrize("name", ["a/1.png", "a", "."])
def test_without_permission(tmp_path: Path, name: str) -> None:
    place = fill(tmp_path / "photos", "a", "b") / name
    mode = place.stat().st_mode
    place.chmod(0)
    try:
        if os.access(place, os.R_OK):
            pytest.skip("this user may read everything")
        message = refusal(tmp_path / "photos")
    finally:
        place.chmod(mode)
    assert str(place) in message and "permission denied" in message.lower()
