"""What makes two runs the same run: configuration, data and weights, without what does not change the numbers."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import tlresearch
from tlresearch.config.check import EVERYTHING
from tlresearch.config.registry import index

HOME = Path(tlresearch.__file__).parent
NN = "tlresearch.nn."

IRRELEVANT = frozenset(
    [
        "store",
        "data_dir",
        "devices",
        "num_nodes",
        "accelerator",
        "strategy",
        "tracker",
        "debug",
        "dry_run",
        "progress",
        "retry_failed",
        "rerun_stale",
        "cache",
        "checkpoint_seconds",
        "log_every",
        "preset",
        "gradient_checkpointing",
        "compile",
        "objective",
        "budget",
        "prices",
        "keep",
        "pipeline",
        "pipeline_shared",
    ]
)
"""Top-level keys that are not part of the identity."""


START = ("init_from", "init_heads", "init_methods")
"""Keys that count by what they come to: which weights, which heads, which methods' states."""


def identity(config: Mapping[str, Any], fingerprint: str, weights: str, rates: Any, start: Any = None) -> str:
    """16 hexadecimal digits. Paths do not count (what lies there does, through fingerprint and weights).

    start: what is carried on from other runs, by content; None where nothing is.

    Methods enter as an ordered list; `finetune`, which says "everything", is the default and left out.
    """
    kept = {key: value for key, value in config.items() if key not in IRRELEVANT and key not in START}
    kept |= {} if start is None else {"start": start}
    kept["method"] = [[name, options] for name, options in config["method"].items() if name != EVERYTHING]
    kept["optimizer"] = {k: v for k, v in config["optimizer"].items() if k != "lr"}  # null: see rates
    kept["backbone"] = {**config["backbone"], "weights": weights}
    kept["dataset"] = _without_paths(config["dataset"])
    if config["steps"] is not None:
        kept["epochs"] = None  # steps win over epochs
    text = json.dumps([kept, fingerprint, rates], sort_keys=True, default=list)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _without_paths(options: Mapping[str, Any]) -> dict[str, Any]:
    kept = {k: v for k, v in options.items() if k != "path" and not k.endswith("_path")}
    return {k: _without_paths(v) if isinstance(v, Mapping) else v for k, v in kept.items()}


def components(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Kind and name of every plugin that takes part in a run."""
    chosen = [
        (kind, config[kind]["name"]) for kind in ("backbone", "head", "dataset", "optimizer", "schedule", "selection")
    ]
    chosen += [("method", name) for name in config["method"]]
    chosen += [("predictor", config["predictor"]["name"])] if config["predictor"] is not None else []
    return chosen


def source_hashes(config: Mapping[str, Any]) -> dict[str, str]:
    """Component → hash of the file it is written in and of what it imports; "tlresearch" → hash of core and training.

    Of `tlresearch.nn`, which is a box of parts, counts what is imported, so that a new part makes no other run stale.
    Hashed is what the code does: comments, docstrings and layout may change without making a run stale.
    """
    entries = index()
    files = {f"{kind}.{name}": Path(entries[kind, name].file) for kind, name in components(config)}
    shared = _framework()
    return {
        **{name: _hash([file, *sorted(with_imports([file]) - {file, *shared})]) for name, file in files.items()},
        "tlresearch": _hash(shared),
    }


@cache
def _framework() -> tuple[Path, ...]:
    return tuple(sorted(with_imports(path for part in ("core", "training") for path in (HOME / part).rglob("*.py"))))


def with_imports(files: Iterable[Path]) -> set[Path]:
    """Files and the modules of `tlresearch.nn` that they import, directly or not, on top or in a function."""
    found: set[Path] = set()
    waiting = list(files)
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _source(path, path.stat().st_mtime_ns).imports
    return found


def _hash(paths: Iterable[Path]) -> str:
    return _digest(tuple((path, path.stat().st_mtime_ns) for path in paths))


@cache
def _digest(files: tuple[tuple[Path, int], ...]) -> str:
    digest = hashlib.sha256()
    for path, modified in files:
        digest.update(_source(path, modified).code)
    return digest.hexdigest()[:16]


class _Source(NamedTuple):
    """The syntax tree of a file without docstrings, as bytes; the modules of `tlresearch.nn` that it imports."""

    code: bytes
    imports: tuple[Path, ...]


@cache
def _source(path: Path, _modified: int) -> _Source:
    tree = ast.parse(path.read_text())
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    places = (HOME.joinpath(*name.split(".")[1:]).with_suffix(".py") for name in names if name.startswith(NN))
    return _Source(ast.dump(tree).encode(), tuple(sorted(place for place in places if place.exists())))
