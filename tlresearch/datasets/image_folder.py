"""Images in folders, one folder a class."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import torch

from tlresearch.config.errors import fail
from tlresearch.config.registry import register
from tlresearch.core.dataset import Dataset, find
from tlresearch.core.rows import Rows
from tlresearch.core.sampling import Sampling
from tlresearch.core.types import Spec, Stream, Task

ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp"})
_SPLITS = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}
_LAYOUT = "expected PATH/CLASS/IMAGE or PATH/train/CLASS/IMAGE, validation/ and test/ beside train/ if any"


@register("dataset", "image_folder")
class ImageFolder(Dataset):
    """Every image below path/CLASS/, at any depth, or below path/{train,validation,test}/CLASS/; no hidden file.

    Inputs: `Path`s, decoded by the backbone; every file is read once before, so that a broken one is found in time.
    """

    def __init__(self, sampling: Sampling, data_dir: Path | None, *, path: str) -> None:
        self.sampling = sampling
        self.path = find("path", path, data_dir)
        if not self.path.is_dir():
            fail("path", path, f"is a file; {_LAYOUT}")

    def stream(self) -> Stream:
        """One stage whose classes are the names of the folders."""
        splits = {name: _classes(folder) for name, folder in _folders(self.path).items()}
        labels = tuple(sorted({label for classes in splits.values() for label in classes}))
        if len(labels) < 2:
            found = f"one class only, {labels[0]!r}" if labels else "no class folders"
            fail("path", str(self.path), f"{found}; {_LAYOUT}")
        files: list[Path] = []
        ids: list[int] = []
        parts: dict[str, torch.Tensor] = {}
        for split, classes in splits.items():
            start = len(files)
            for label in sorted(classes):
                files += classes[label]
                ids += [labels.index(label)] * len(classes[label])
            parts[split] = torch.arange(start, len(files))
        _check(self.path, files)
        task = Task("label", "classification", labels)
        rows = Rows(files, {task.name: torch.tensor(ids)})
        train, validation, test = (rows.take(parts[split]) if split in parts else None for split in _SPLITS)
        assert train is not None, "a folder without train/ is itself the training set"
        stage = self.sampling.stage("image_folder", (task,), train, validation, test)
        return Stream(Spec("image", None, (task,)), (stage,))


def _folders(path: Path) -> dict[str, Path]:
    """split → folder of classes; the folder itself where no train/ with classes is in it."""
    found: dict[str, Path] = {}
    for folder in _visible_folders(path):
        for split, names in _SPLITS.items():
            if folder.name.lower() in names:
                if split in found:
                    fail("path", str(path), f"two folders for {split}: {found[split].name}, {folder.name}; keep one")
                found[split] = folder
    return found if "train" in found and any(_visible_folders(found["train"])) else {"train": path}


def _classes(folder: Path) -> dict[str, list[Path]]:
    classes = {entry.name: sorted(_images(entry)) for entry in _visible_folders(folder)}
    empty = sorted(name for name, images in classes.items() if not images)
    if empty:
        fail("path", str(folder), f"no image in {', '.join(empty)} (of {' '.join(sorted(ENDINGS))}); {_LAYOUT}")
    if not classes:
        fail("path", str(folder), f"a folder without classes; {_LAYOUT}")
    return classes


def _visible_folders(folder: Path) -> list[Path]:
    return sorted(e for e in folder.iterdir() if e.is_dir() and not e.name.startswith((".", "__")))


def _images(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place, n) for n in files if not n.startswith(".") and Path(n).suffix.lower() in ENDINGS)


def _check(path: Path, files: Sequence[Path]) -> None:
    """Raises ConfigError naming the images that cannot be decoded, up to ten of them."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoders release the interpreter's lock
        flaws = list(pool.map(_flaw, files))
    broken = [f"{file} ({flaw})" for file, flaw in zip(files, flaws, strict=True) if flaw]
    if broken:
        more = f" and {len(broken) - 10} more" if len(broken) > 10 else ""
        message = f"{len(broken)} images cannot be read: {', '.join(broken[:10])}{more}; mend or remove them"
        fail("path", str(path), message)


def _flaw(file: Path) -> str:
    status = file.stat()
    return _flaw_of(file, status.st_size, status.st_mtime_ns)


@cache  # the runs of a sweep read the same files
def _flaw_of(file: Path, size: int, changed: int) -> str:
    from PIL import Image

    try:
        with Image.open(file) as image:
            image.verify()
        with Image.open(file) as image:
            image.draft("RGB", (1, 1))  # a JPEG is still read to its end, but at an eighth of its size
            image.load()
    except Exception as error:  # decoders raise what they like; the reason is reported with the path
        return f"{type(error).__name__}: {error}"
    return ""
