"""Odd photos through the real command: read, or refused by path and reason, and never left out unsaid."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

FOLDER = ("dataset=image_folder", "dataset.path=photos", "backbone.image_size=8")


@pytest.fixture
def photos(folder: Path) -> Path:
    for i, label in enumerate(("cat", "dog")):
        (folder / "photos" / label).mkdir(parents=True)
        for j in range(6):
            Image.new("RGB", (8, 8), (100 * i, 10 * j, 0)).save(folder / "photos" / label / f"{j}.jpg")
    return folder / "photos"


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty.jpg": (Path.touch, "is empty, 0 bytes"),
    "text.jpg": (lambda file: file.write_text("hello"), "its content is no image"),
    "gone.png": (lambda file: file.symlink_to("nowhere"), "is no file, or a link to none"),
    "floats.tif": (lambda file: Image.new("F", (4, 4)).save(file), "holds floats, whose range is not stated"),
    "strip.png": (lambda file: Image.new("L", (9000, 3)).save(file), "has 9000 x 3 pixels, too long a strip"),
    "bomb.pgm": (lambda file: file.write_bytes(b"P5 20000 20000 255\n"), "has more than 80,000,000 pixels"),
    "warned.pgm": (lambda file: file.write_bytes(b"P5 10000 10000 255\n"), "has more than 80,000,000 pixels"),
}


@pytest.mark.filterwarnings("error::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_photo_is_refused_by_path_and_reason(refused, photos: Path, name: str) -> None:
    make, reason = BROKEN[name]
    make(photos / "cat" / name)
    start = f"dataset.path: 'photos': 1 images cannot be read: photos/cat/{name} ({reason}"
    message = refused(*FOLDER)
    assert message.startswith(start) and message.endswith("); mend or remove them")


def test_all_broken_photos_are_named_at_once(refused, photos: Path) -> None:
    for name, (make, _) in BROKEN.items():
        make(photos / "dog" / name)
    message = refused(*FOLDER)
    assert "7 images cannot be read" in message and all(f"photos/dog/{name} (" in message for name in BROKEN)


def test_an_archive(refused, folder: Path) -> None:
    (folder / "photos").write_bytes(b"PK\3\4")
    assert "'photos': is a file; give a folder (unpack an archive)" in refused(*FOLDER)


def test_a_motley_folder_is_trained_on(train, photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    colours = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[274] = 6
    colours.save(photos / "cat" / "upright.jpg", exif=exif)
    colours.save(photos / "cat" / "really a png.jpeg", format="PNG")
    colours.convert("CMYK").save(photos / "cat" / "CMYK.JPG")
    colours.convert("P").save(photos / "cat" / "palette.png", transparency=bytes(range(256)))
    colours.convert("RGBA").save(photos / "dog" / "ünï 😀.webp")
    colours.convert("1").save(photos / "dog" / "bits.bmp")
    colours.save(photos / "dog" / "moving.gif", save_all=True, append_images=[colours.rotate(90)])
    Image.fromarray(np.full((1, 1), 60_000, np.uint16)).save(photos / "dog" / "dot.png")
    (photos / "dog" / "deep").mkdir()
    Image.new("RGB", (4000, 100)).save(photos / "dog" / "deep" / "panorama.tiff")
    for name in ("dog/IMG_1.HEIC", "cat/.DS_Store", "cover.jpg"):
        (photos / name).touch()
    result = train(*FOLDER)
    stage = result.run.record["data"]["stages"][0]
    assert stage["train"] + stage["validation"] + stage["test"] == 21
    told = [record.getMessage() for record in caplog.records if record.name == "tlresearch"]
    assert told[0].startswith(
        "photos: left out: 1 .heic, 1 hidden, 1 outside a class folder; images are files that end"
    )
    assert told[1] == "photos: of 1 files with several frames or pages the first is read"
    assert "Warning" not in result.err
