"""Images of every kind that data sets give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tlresearch.config.errors import ConfigError
from tlresearch.nn.images import flip, shift, to_pil, to_pixels

COLOURS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def test_one_picture_in_every_form(tmp_path: Path) -> None:
    Image.fromarray(COLOURS).save(tmp_path / "picture.png")
    planes = torch.from_numpy(COLOURS).permute(2, 0, 1)
    forms: list[Any] = [
        tmp_path / "picture.png",
        Image.fromarray(COLOURS),
        COLOURS,
        COLOURS.transpose(2, 0, 1),
        planes,
        planes.float(),
    ]
    for form in forms:
        assert np.array_equal(np.array(to_pil(form, 3)), COLOURS), type(form)
        assert torch.equal(to_pixels(form, (3, 5, 7)), planes), type(form)


def test_grey_becomes_three_equal_channels_and_colours_grey() -> None:
    grey = COLOURS[:, :, 0]
    for form in (grey, torch.from_numpy(grey), torch.from_numpy(grey)[None], grey[:, :, None]):
        assert np.array_equal(np.array(to_pil(form, 3)), np.stack([grey] * 3, -1))
        assert np.array_equal(np.array(to_pil(form, 1)), grey)
    weighted = COLOURS @ np.array([0.299, 0.587, 0.114])  # ITU-R 601
    assert np.abs(np.array(to_pil(COLOURS, 1)) - weighted).max() <= 1


def test_pil_images_are_treated_like_files() -> None:
    image = Image.fromarray(COLOURS)
    image.getexif()[274] = 6  # a data set's decoded photo, still on its side
    assert np.array_equal(np.array(to_pil(image, 3)), np.rot90(COLOURS, -1))
    assert image.size == (7, 5)
    assert np.array(to_pil(Image.fromarray(np.array([[0, 257, 65535]], np.uint16)), 1)).tolist() == [[0, 1, 255]]
    with pytest.raises(ValueError, match="floats"):
        to_pil(Image.fromarray(np.ones((2, 2), np.float32)), 3)


def test_other_sizes_are_resized() -> None:
    flat = np.full((20, 10, 3), 99, dtype=np.uint8)
    assert torch.equal(to_pixels(flat, (3, 4, 6)), torch.full((3, 4, 6), 99, dtype=torch.uint8))


def test_numbers_beyond_a_byte_are_clipped() -> None:
    assert to_pixels(torch.tensor([[-3.0, 1.6, 300.0]]), (1, 1, 3)).tolist() == [[[0, 2, 255]]]


@pytest.mark.parametrize("content", [b"no picture", b"\x89PNG\r\n\x1a\n broken", b""])
def test_a_corrupt_file_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "broken.png"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"broken\.png"):
        to_pil(file, 3)


def test_a_file_cut_short_is_named(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.jpg")
    content = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(ConfigError, match=r"cut\.jpg"):
        to_pil(tmp_path / "cut.jpg", 3)


def test_shift_keeps_type_and_covers_every_offset_alike() -> None:
    torch.manual_seed(0)
    x = torch.zeros(4500, 1, 5, 5, dtype=torch.uint8)
    x[:, :, 2, 2] = 9
    moved = shift(x, 1)
    assert moved.dtype == torch.uint8
    assert moved.sum((1, 2, 3)).tolist() == [9] * 4500  # the point stays inside
    counts = (moved[:, 0, 1:4, 1:4] == 9).sum(0)
    assert counts.sum() == 4500 and counts.min() > 400 and counts.max() < 600  # 500 each


def test_flip_mirrors_half_of_the_rows() -> None:
    torch.manual_seed(0)
    x = torch.arange(6.0).view(1, 1, 2, 3).repeat(1000, 1, 1, 1)
    out = flip(x)
    mirrored = (out == x.flip(-1)).flatten(1).all(1)
    assert bool(((out == x).flatten(1).all(1) ^ mirrored).all())
    assert 400 < int(mirrored.sum()) < 600
