"""From a run to a folder in another library's format, read back by that library before it appears."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor

from tlresearch.config.errors import choose, fail
from tlresearch.export import FORMATS, card
from tlresearch.export.folder import building, check_free
from tlresearch.export.source import Source, read
from tlresearch.results.runs import Run

TOLERANCE = 1e-4
"""How far a logit read back may be from the run's own: in its unit (of a regression the deviation of its target), or as
a share of it where it is above 1."""


class Format(Protocol):
    """What a module of a format offers."""

    REQUIRES: tuple[str, ...]

    def obstacle(self, source: Source) -> str:
        """Why the format cannot hold this model, "" where it can."""

    def write(self, source: Source, folder: Path) -> str:
        """Writes the files; returns the Markdown of "how to load" for the model card."""

    def reload(self, source: Source, folder: Path) -> dict[str, Tensor]:
        """The logits of the probe by the written files and their own library: task → (B, C)."""


class Exported(NamedTuple):
    """format: the one written; reason: why it is not the one asked for, "" where it is; difference: max |Δ logit|."""

    format: str
    reason: str
    difference: float


def export(run: Run, target: Path, name: str) -> Exported:
    """Writes the model of a run to the new or empty folder `target`.

    A text model that no stock class of transformers computes becomes a sentence-transformers folder, and says so.

    Args:
        name: one of FORMATS.

    Raises:
        ConfigError: the run has no model, the folder is in use, the format cannot hold the model, its extra is not
            installed, or the files read back answer otherwise. Nothing is left behind.
    """
    choose("--format", name, FORMATS)
    check_free(target)
    with torch.random.fork_rng(devices=[]):  # building networks draws numbers that belong to the caller
        source = read(run)
        chosen, reason = _choose(source, name)
        form = _load(chosen)
        _check_installed(chosen, form)
        with building(target) as folder:
            usage = form.write(source, folder)
            difference = _difference(chosen, source, _reload(chosen, form, source, folder))
            (folder / "README.md").write_text(card.text(source, chosen, usage, difference), encoding="utf-8")
    return Exported(chosen, reason, difference)


def _choose(source: Source, name: str) -> tuple[str, str]:
    """The format to write and why it is another than `name`."""
    reason = _load(name).obstacle(source)
    if not reason:
        return name, ""
    able = [other for other in FORMATS if not _load(other).obstacle(source)]
    instead = "sentence-transformers"
    if name == "transformers" and instead in able:
        return instead, f"{reason}; onnx and safetensors would hold it too"
    fail("--format", name, f"{reason}; this model can be written as {', '.join(able)}")


def _load(name: str) -> Format:
    return cast(Format, importlib.import_module(FORMATS[name]))


def _check_installed(name: str, form: Format) -> None:
    missing = [package for package in form.REQUIRES if find_spec(package) is None]
    if missing:
        fail("--format", name, f'needs {", ".join(missing)}; pip install "tlresearch[export]"')


def _reload(name: str, form: Format, source: Source, folder: Path) -> dict[str, Tensor]:
    try:
        with torch.no_grad():
            return form.reload(source, folder)
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        fail("--format", name, f"the library does not load what was written ({reason}); try safetensors")


def _difference(name: str, source: Source, found: dict[str, Tensor]) -> float:
    greatest = 0.0
    for task, expected in source.logits.items():
        difference = float((found[task] - expected).abs().max())
        greatest = max(greatest, difference)
        unit = source.model.head(task).kind.unit
        if not torch.allclose(found[task], expected, rtol=TOLERANCE, atol=TOLERANCE * unit):
            fail(
                "--format", name, f"it would change the logits of {task!r} by {difference:.2g}; try safetensors or onnx"
            )
    return greatest
