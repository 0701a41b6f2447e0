"""Image files as cameras, editors and the web make them: what comes out of them is worked out by hand."""

import os
import struct
import warnings
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlresearch.nn import image_files
from tlresearch.nn.image_files import find, inspect, listed, plain, read

COLOURS = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
SMOOTH = np.stack(np.meshgrid(np.arange(64) * 4, np.arange(48) * 5), -1).astype(np.uint8)[:, :, [0, 1, 1]]
SIXTEEN = np.array([[0, 128, 129, 257, 32896, 65406, 65407, 65535]], dtype=np.uint16)
EIGHT = [[0, 0, 1, 1, 128, 254, 255, 255]]  # round(v / 257)


def save(file: Path, pixels: np.ndarray, **options) -> Path:
    Image.fromarray(pixels).save(file, **options)
    return file


def pixels(file: Path, channels: int = 3) -> np.ndarray:
    assert inspect(file).flaw == ""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return np.array(read(file, channels))


def flaw(file: Path) -> str:
    """What `inspect` finds, after `read` raised the very same."""
    with pytest.raises(ValueError) as error:  # noqa: PT011
        read(file, 3)
    assert str(error.value) == inspect(file).flaw != ""
    return inspect(file).flaw


@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_stand_upright(tmp_path: Path, ending: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    file = save(tmp_path / f"a.{ending}", COLOURS, exif=exif, **({"lossless": True} if ending == "webp" else {}))
    plain_file = save(tmp_path / f"b.{ending}", COLOURS, **({"lossless": True} if ending == "webp" else {}))
    stored = pixels(plain_file)
    upright = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.transpose(1, 0, 2),
        6: np.rot90(stored, -1),
        7: np.rot90(stored, 2).transpose(1, 0, 2),
        8: np.rot90(stored),
    }[orientation]
    assert np.array_equal(pixels(file), upright)


def test_an_ordinary_photo_is_decoded_as_pillow_does(tmp_path: Path) -> None:
    for ending in ("jpg", "png", "bmp", "gif", "webp", "avif"):
        file = save(tmp_path / f"a.{ending}", COLOURS)
        with Image.open(file) as image:
            assert np.array_equal(pixels(file), np.array(image.convert("RGB"))), ending


@pytest.mark.parametrize("junk", [b"", b"garbage!!", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\0\x01\x01\x12"])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF", "ignore:Tag data")
def test_broken_exif_does_not_cost_the_photo(tmp_path: Path, junk: bytes) -> None:
    file = save(tmp_path / "a.jpg", SMOOTH, exif=b"Exif\0\0" + junk)
    assert inspect(file).flaw == "" and read(file, 3).size == (64, 48)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "big.tif", "a.pgm"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path, name: str) -> None:
    if name == "a.pgm":
        (tmp_path / name).write_bytes(b"P5 8 1 65535\n" + SIXTEEN.astype(">u2").tobytes())
    else:
        save(tmp_path / name, SIXTEEN.astype(">u2" if name == "big.tif" else "<u2"))
    assert pixels(tmp_path / name, 1).tolist() == EIGHT
    assert pixels(tmp_path / name).tolist() == [[[v] * 3 for v in EIGHT[0]]]


def test_numbers_without_a_range_are_refused(tmp_path: Path) -> None:
    assert "floats, whose range is not stated" in flaw(save(tmp_path / "f.tif", np.ones((4, 4), np.float32)))
    assert "32-bit integers, whose range" in flaw(save(tmp_path / "i.tif", np.ones((4, 4), np.int32)))
    with pytest.raises(ValueError, match="floats"):
        plain(Image.fromarray(np.ones((4, 4), np.float32)), 1)


@pytest.mark.parametrize("name", ["a.png", "a.gif"])
def test_transparent_palettes_lie_on_white(tmp_path: Path, name: str) -> None:
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.save(tmp_path / name, transparency=0)
    assert pixels(tmp_path / name).tolist() == [[[255, 255, 255], [0, 255, 0], [0, 0, 255]]]
    image.save(tmp_path / "opaque.png")
    assert pixels(tmp_path / "opaque.png").tolist() == [[[255, 0, 0], [0, 255, 0], [0, 0, 255]]]
    image.save(tmp_path / "levels.png", transparency=bytes([0, 128, 255]))  # 128 of 255 green, the rest white
    assert pixels(tmp_path / "levels.png").tolist() == [[[255, 255, 255], [127, 255, 127], [0, 0, 255]]]


def test_alpha_lies_on_white(tmp_path: Path) -> None:
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 100, 200, 51]]], np.uint8)  # 51 of 255 is a fifth
    assert pixels(save(tmp_path / "a.png", rgba)).tolist() == [[[10, 20, 30], [255, 255, 255], [204, 224, 244]]]
    grey = np.array([[[10, 255], [10, 0], [100, 51]]], np.uint8)
    assert pixels(save(tmp_path / "b.png", grey), 1).tolist() == [[10, 255, 224]]
    save(tmp_path / "c.png", np.array([[7, 9]], np.uint8), transparency=7)  # one grey level stands for transparent
    assert pixels(tmp_path / "c.png", 1).tolist() == [[255, 9]]


def test_one_bit(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 255, 0]], np.uint8)).convert("1").save(tmp_path / "a.png")
    assert pixels(tmp_path / "a.png").tolist() == [[[0] * 3, [255] * 3, [0] * 3]]


def test_cmyk(tmp_path: Path) -> None:
    inks = {(0, 0, 0, 0): (255, 255, 255), (0, 255, 255, 0): (255, 0, 0), (0, 0, 0, 255): (0, 0, 0)}
    inks |= {(255, 0, 0, 0): (0, 255, 255), (0, 0, 0, 128): (127, 127, 127)}
    for ink, colour in inks.items():
        for name in ("a.jpg", "a.tif"):
            Image.new("CMYK", (16, 16), ink).save(tmp_path / name)
            assert np.abs(pixels(tmp_path / name).astype(int) - colour).max() <= 2, (ink, name)
        assert b"Adobe" in (tmp_path / "a.jpg").read_bytes()  # which stores inks inverted


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.tif", "a.mpo"])
def test_the_first_frame_counts(tmp_path: Path, name: str) -> None:
    dark, light = Image.new("RGB", (8, 8), (10, 10, 10)), Image.new("RGB", (8, 8), (250, 250, 250))
    dark.save(tmp_path / name, save_all=True, append_images=[light])
    assert np.abs(pixels(tmp_path / name).astype(int) - 10).max() <= 2
    assert inspect(tmp_path / name).more_frames is (name != "a.mpo")  # cameras hide previews and depth maps there
    dark.save(tmp_path / name)
    assert not inspect(tmp_path / name).more_frames


def test_the_content_decides_not_the_ending(tmp_path: Path) -> None:
    save(tmp_path / "a.png", COLOURS).rename(tmp_path / "a.jpg")
    assert np.array_equal(pixels(tmp_path / "a.jpg"), COLOURS)
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
    for content in (b"hello, I am a text\n", heic, b"GIF89a", b"\xff\xd8\xff"):
        (tmp_path / "b.jpg").write_bytes(content)
        assert flaw(tmp_path / "b.jpg")
    (tmp_path / "b.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    assert "its content is no image" in flaw(tmp_path / "b.jpg")  # and Ghostscript was not asked


def test_what_is_no_picture_is_refused_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    assert flaw(tmp_path / "empty.jpg") == "is empty, 0 bytes"
    (tmp_path / "link.jpg").symlink_to(tmp_path / "gone.jpg")
    assert "link to none" in flaw(tmp_path / "link.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    assert "is no file" in flaw(tmp_path / "pipe.jpg")


@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp", "gif", "bmp", "avif"])
def test_cut_files_are_refused(tmp_path: Path, ending: str) -> None:
    whole = save(tmp_path / f"a.{ending}", COLOURS).read_bytes()
    (tmp_path / f"a.{ending}").write_bytes(whole[: len(whole) * 2 // 3])
    assert flaw(tmp_path / f"a.{ending}")


def header_only_png(file: Path, width: int, height: int) -> Path:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return file


@pytest.mark.parametrize("width", [9_000, 10_000, 20_000])  # Pillow says nothing of the first, warns, raises
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path: Path, width: int) -> None:
    assert "more than 80,000,000 pixels" in flaw(header_only_png(tmp_path / "a.png", width, width))


def test_a_large_jpeg_is_read_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = save(tmp_path / "a.jpg", SMOOTH, quality=100, subsampling=0)
    progressive = save(tmp_path / "b.jpg", SMOOTH, progressive=True)
    for most, (height, width) in {48 * 64: (48, 64), 48 * 64 - 1: (24, 32), 24 * 32 - 1: (12, 16), 50: (6, 8)}.items():
        monkeypatch.setattr(image_files, "MOST_PIXELS", most)
        step = 64 // width
        means = SMOOTH.reshape(height, step, width, step, 3).mean((1, 3))
        assert np.abs(pixels(file) - means).max() < 4
        assert most == 48 * 64 or "pixels" in flaw(progressive)  # it would be held whole in memory
    monkeypatch.setattr(image_files, "MOST_PIXELS", 40)
    assert "pixels" in flaw(file)


def test_wide_and_tiny_images(tmp_path: Path) -> None:
    assert pixels(save(tmp_path / "a.jpg", np.zeros((500, 20_000, 3), np.uint8))).shape == (500, 20_000, 3)
    assert pixels(save(tmp_path / "b.png", np.zeros((1, 1, 3), np.uint8))).shape == (1, 1, 3)
    assert pixels(save(tmp_path / "c.png", np.zeros((1, 200), np.uint8))).shape == (1, 200, 3)
    assert "has 201 x 1 pixels" in flaw(save(tmp_path / "d.png", np.zeros((1, 201), np.uint8)))
    assert "has 1 x 201 pixels" in flaw(save(tmp_path / "e.png", np.zeros((201, 1), np.uint8)))


def test_what_a_folder_holds(tmp_path: Path) -> None:
    seen = ["b.JPG", "a.jpeg", "deep/er/c.png", "ünï cödé 😀.png", "new\nline.png", "a-b.png", "dir.jpg/in.gif"]
    left = ["IMG.HEIC", "x.svg", "y.svg", "README", ".DS_Store", "._a.jpeg", "__MACOSX/z.png", ".git/z.png"]
    for name in seen + left:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    images, others = find(tmp_path)
    assert images == sorted(tmp_path / name for name in seen)
    assert others == Counter({"hidden": 4, ".svg": 2, ".heic": 1, "without an ending": 1})
    assert listed(others) == "4 hidden, 2 .svg, 1 .heic, 1 without an ending"


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    for name in ("a/1.png", "b/2.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "other").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "back").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "knot").symlink_to(tmp_path / "a" / "knot")
    images, others = find(tmp_path / "a")
    assert [str(file.relative_to(tmp_path)) for file in images] == ["a/1.png", "a/other/2.png"]
    assert others == Counter({"linked in a circle": 3, "without an ending": 1})
