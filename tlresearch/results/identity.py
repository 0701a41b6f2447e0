"""What makes two runs the same run: configuration, data and weights, without what does not change the numbers."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import tlresearch
from tlresearch.config.check import EVERYTHING
from tlresearch.config.registry import index

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
    """Component → hash of the file it is written in; "tlresearch" → hash of core, nn and training.

    Hashed is what the code does: comments, docstrings and layout may change without making a run stale.
    """
    entries = index()
    hashes = {f"{kind}.{name}": _hash([Path(entries[kind, name].file)]) for kind, name in components(config)}
    return {**hashes, "tlresearch": _framework()}


@cache
def _framework() -> str:
    home = Path(tlresearch.__file__).parent
    return _hash(sorted(path for part in ("core", "nn", "training") for path in (home / part).rglob("*.py")))


def _hash(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(_code(path, path.stat().st_mtime_ns))
    return digest.hexdigest()[:16]


@cache
def _code(path: Path, _modified: int) -> bytes:
    """The syntax tree of a file without docstrings, as bytes."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree).encode()
