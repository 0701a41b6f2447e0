"""Images in folders, one folder a class."""

from __future__ import annotations

import logging
import os
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import torch
from PIL.Image import DecompressionBombWarning

from tlresearch.config.errors import fail
from tlresearch.config.registry import register
from tlresearch.core.dataset import Dataset, find
from tlresearch.core.rows import Rows
from tlresearch.core.sampling import Sampling
from tlresearch.core.types import Spec, Stream, Task
from tlresearch.nn import image_files
from tlresearch.nn.image_files import ENDINGS as ENDINGS

_SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
_LAYOUT = "expected PATH/CLASS/IMAGE or PATH/train/CLASS/IMAGE, validation/ and test/ beside train/ if any"
_READ = f"images are files that end in {' '.join(sorted(ENDINGS))}"


@register("dataset", "image_folder")
class ImageFolder(Dataset):
    """Every image below path/CLASS/, at any depth, or below path/{train,validation,test}/CLASS/; no hidden file.

    Inputs: `Path`s, decoded by the backbone: the first frame, upright as its EXIF says, transparency on white, 16 bits
    scaled to 8, CMYK as RGB, colour profiles ignored. The ending says whether a file is an image, its content of what
    format; what is left out is counted in a warning. Every file is read once before, and a broken one refused. Refused
    are also floats, sides over 200 times the other, and over 80 million pixels, except in baseline JPEGs: those are
    then read at a half, a quarter or an eighth of their size.
    """

    def __init__(self, sampling: Sampling, data_dir: Path | None, *, path: str) -> None:
        self.sampling = sampling
        self.path = find("path", path, data_dir)
        if not self.path.is_dir():
            fail("path", path, f"is a file; give a folder (unpack an archive): {_LAYOUT}")

    def stream(self) -> Stream:
        """One stage whose classes are the names of the folders."""
        others: Counter[str] = Counter()
        try:
            splits = {name: _classes(folder, others) for name, folder in _folders(self.path, others).items()}
        except OSError as error:
            fail("path", str(self.path), f"{error.filename}: {error.strerror}; make it readable or remove it")
        labels = tuple(sorted({label for classes in splits.values() for label in classes}))
        if len(labels) < 2:
            inner = self.path / labels[0]
            guess = f"; is {_shown(inner)} meant?" if sum(map(_is_class, inner.iterdir())) > 1 else ""
            fail("path", str(self.path), f"one class only, {labels[0]!r}; {_LAYOUT}{guess}")
        files: list[Path] = []
        ids: list[int] = []
        parts: dict[str, torch.Tensor] = {}
        for split, classes in splits.items():
            start = len(files)
            for label in sorted(classes):
                files += classes[label]
                ids += [labels.index(label)] * len(classes[label])
            parts[split] = torch.arange(start, len(files))
        more_frames = _check(self.path, files)
        task = Task("label", "classification", labels)
        rows = Rows(files, {task.name: torch.tensor(ids)})
        train, validation, test = (rows.take(parts[split]) if split in parts else None for split in _SPLITS)
        assert train is not None, "a folder without train/ is itself the training set"
        stage = self.sampling.stage("image_folder", (task,), train, validation, test)
        logger = logging.getLogger("tlresearch")
        if others:
            logger.warning("%s: left out: %s; %s", self.path, image_files.listed(others), _READ)
        if more_frames:
            logger.warning("%s: of %d files with several frames or pages the first is read", self.path, more_frames)
        return Stream(Spec("image", None, (task,)), (stage,))


def _folders(path: Path, others: Counter[str]) -> dict[str, Path]:
    """split → folder of classes; the folder itself where no folder of classes in it is called like a split."""
    found: dict[str, Path] = {}
    beside: Counter[str] = Counter()
    for entry in sorted(path.iterdir()):
        split = next((split for split, names in _SPLITS.items() if entry.name.lower() in names), None)
        if split is None or not entry.is_dir():
            beside[f"beside train/ ({_shown(entry.name)}/)" if _is_class(entry) else _loose(entry)] += 1
        elif split in found:
            fail("path", str(path), f"two folders for {split}: {found[split].name}, {entry.name}; keep one")
        else:
            found[split] = entry
    filled = [split for split, folder in found.items() if any(map(_is_class, folder.iterdir()))]
    if "train" in filled:
        others.update(beside)
        return found
    if filled:
        name = found[filled[0]].name
        fail("path", str(path), f"{name}/ has folders in it and there is no train/ with classes beside it; {_LAYOUT}")
    return {"train": path}


def _classes(folder: Path, others: Counter[str]) -> dict[str, list[Path]]:
    """Class → its images; what else is in the folder is counted in `others`."""
    classes: dict[str, list[Path]] = {}
    empty: list[str] = []
    for entry in sorted(folder.iterdir()):
        if not _is_class(entry):
            others[_loose(entry)] += 1
            continue
        if any("\ud800" <= letter <= "\udfff" for letter in entry.name):  # how Python reads bytes that are no UTF-8
            fail("path", str(folder), f"the name of the class folder {entry.name!r} is not UTF-8; rename it")
        classes[entry.name], left = image_files.find(entry)
        others.update(left)
        if not classes[entry.name]:
            empty.append(_shown(entry.name) + (f" (only {image_files.listed(left)})" if left else ""))
    if empty:
        fail("path", str(folder), f"no image in {_at_most_ten(empty)}; {_READ}; {_LAYOUT}")
    if not classes:
        fail("path", str(folder), f"a folder without classes; {_LAYOUT}")
    return classes


def _is_class(entry: Path) -> bool:
    return entry.is_dir() and not image_files.hidden(entry)


def _loose(entry: Path) -> str:
    """How something that lies where class folders are expected is counted."""
    if entry.suffix.lower() in ENDINGS and not image_files.hidden(entry):
        return "outside a class folder"
    return image_files.kind(entry)


def _check(path: Path, files: Sequence[Path]) -> int:
    """How many files hold further frames; raises ConfigError naming up to ten images that cannot be read."""
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:  # decoders release Python's lock
        warnings.simplefilter("ignore", DecompressionBombWarning)  # such a file is refused
        inspections = list(pool.map(_inspect, files))
    broken = [f"{_shown(file)} ({i.flaw})" for file, i in zip(files, inspections, strict=True) if i.flaw]
    if broken:
        fail("path", str(path), f"{len(broken)} images cannot be read: {_at_most_ten(broken)}; mend or remove them")
    return sum(inspection.more_frames for inspection in inspections)


def _inspect(file: Path) -> image_files.Inspection:
    if not file.exists():
        return image_files.inspect(file)
    status = file.stat()
    return _inspected(file, status.st_size, status.st_mtime_ns)


@cache  # the runs of a sweep read the same files
def _inspected(file: Path, size: int, changed: int) -> image_files.Inspection:
    return image_files.inspect(file)


def _at_most_ten(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _shown(name: str | Path) -> str:
    """A name as a message shows it, on one line whatever it holds."""
    return str(name) if str(name).isprintable() else repr(str(name))
