"""What outlives a run within one process: read data, prepared rows and loaded weights, for the next run of a sweep."""

from __future__ import annotations

import copy
import json
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tlresearch.config.build import build
from tlresearch.config.errors import ConfigError
from tlresearch.config.registry import load
from tlresearch.core.backbone import Backbone
from tlresearch.core.fingerprint import fingerprint
from tlresearch.core.model import state_tensors
from tlresearch.core.seeding import seeded
from tlresearch.core.types import Spec, Stream
from tlresearch.core.weights import Weights
from tlresearch.training.data import Preprocessed

Config = Mapping[str, Any]
Key = tuple[Any, ...]
MOST = {"data": 8, "backbone": 2, "inputs": 4}
"""So many values of a kind (the first part of a key) are kept at most, OTHERS of any other kind."""
OTHERS = 32


class Memory:
    """Values by key; those unused for longest make room for others. Runs are equal with and without it, bit by bit."""

    def __init__(self) -> None:
        self._items: OrderedDict[Key, tuple[Any, Callable[[], float]]] = OrderedDict()

    def get(self, key: Key) -> Any | None:
        """The value kept under `key`, None where there is none."""
        if key not in self._items:
            return None
        self._items.move_to_end(key)
        return self._items[key][0]

    def keep(self, key: Key, value: Any, size: Callable[[], float] = lambda: 0.0, limit: float = 0.0) -> None:
        """Keeps a value. size: its bytes by now; limit: those of all values together (0: only their number counts)."""
        self._items[key] = (value, size)
        self._items.move_to_end(key)
        alike = [other for other in self._items if other[0] == key[0]]
        for other in alike[: max(len(alike) - MOST.get(key[0], OTHERS), 0)]:
            del self._items[other]
        sizes = {key: size() for key, (_, size) in self._items.items()} if limit else {}
        total = sum(sizes.values())
        while total > limit > 0:
            oldest, _ = self._items.popitem(last=False)
            total -= sizes[oldest]

    def clear(self) -> None:
        """Forgets all."""
        self._items.clear()


memory = Memory()
"""That of this process."""


class Data(NamedTuple):
    """A stream and its fingerprint."""

    stream: Stream
    fingerprint: str


def read_data(config: Config) -> Data:
    """The configured data, read anew only where configuration or files are others than last time."""
    key = ("data", _data_key(config))
    found = memory.get(key)
    if found is None:
        data_dir = Path(config["data_dir"]) if config["data_dir"] else None
        dataset = build("dataset", config["dataset"], data_dir=data_dir)
        try:
            stream = dataset.stream()
        except ConfigError as error:
            raise error.below("dataset") from error
        found = Data(stream, fingerprint(stream))
        memory.keep(key, found)
    assert isinstance(found, Data)
    return found


def fresh_backbone(config: Config, spec: Spec) -> Backbone:
    """The configured backbone as its weights file gives it, or as `seed` draws it: a copy of one that is kept."""
    key, limit = backbone_key(config, spec), _limit(config)
    kept = memory.get(("backbone", key, None)) or memory.get(("backbone", key, config["seed"]))
    if kept is None:
        with seeded(config["seed"], "backbone"):
            kept = build("backbone", config["backbone"], spec=spec)
        size = sum(t.numel() * t.element_size() for t in state_tensors(kept).values())
        if 2 * size > limit:
            return kept  # type: ignore[no-any-return]
        drawn = kept.fresh is None or bool(kept.fresh)
        memory.keep(("backbone", key, config["seed"] if drawn else None), kept, lambda: size, limit)
    shared = {id(v): v for n, v in vars(kept).items() if n == "tokenizer"}  # nothing changes it, and copying is slow
    copied: Backbone = copy.deepcopy(kept, shared)
    return copied


def prepared_inputs(config: Config, spec: Spec, split: str) -> dict[bytes, Preprocessed]:
    """Digest of a row's input → what the backbone's preprocessing made of it; to be filled by the caller."""
    key = ("inputs", backbone_key(config, spec), split)
    found = memory.get(key)
    if found is None:
        found = {}
        memory.keep(key, found, lambda: _input_bytes(found), _limit(config))
    assert isinstance(found, dict)
    return found


def backbone_key(config: Config, spec: Spec) -> object:
    """Equal for runs whose backbones preprocess alike and start alike but for what `seed` draws."""
    options = config["backbone"]
    weights = Weights.parse(options["weights"]).digest(options.get("model") or "")
    shape = (spec.modality, spec.input_shape, spec.domains)
    return load("backbone", options["name"]), json.dumps([options, weights, shape], sort_keys=True)


def _limit(config: Config) -> float:
    return float(config["cache"]["memory_gb"]) * 1e9


def _input_bytes(inputs: Mapping[bytes, Preprocessed]) -> float:
    """Estimated by the first ones."""
    some = [found.input for found, _ in zip(inputs.values(), range(100), strict=False)]
    each = [sum(t.numel() * t.element_size() for t in (x.values() if isinstance(x, dict) else [x])) for x in some]
    return len(inputs) * sum(each) / max(len(each), 1)


def _data_key(config: Config) -> object:
    """The dataset's options, its class (and its base's), and how the files it names look from here."""
    options = config["dataset"]
    names = [options["name"], *([options["base"]] if isinstance(options.get("base"), str) else [])]
    seen = [_state(Path(place), config["data_dir"]) for place in _paths(options)]
    text = json.dumps([options, config["data_dir"], os.getcwd()], sort_keys=True)
    return tuple(load("dataset", name) for name in names), text, tuple(seen)


def _paths(options: Config) -> Iterator[str]:
    for key, value in options.items():
        if isinstance(value, Mapping):
            yield from _paths(value)
        elif isinstance(value, str) and (key == "path" or key.endswith("_path")):
            yield value


def _state(path: Path, data_dir: str | None) -> tuple[object, ...]:
    """Names, sizes and times of change of a file, or of all files of a folder; empty where there is neither."""
    for place in (path.expanduser(), Path(data_dir or ".") / path):
        if place.exists():
            files = sorted(f for f in place.rglob("*") if f.is_file()) if place.is_dir() else [place]
            return tuple((str(f), (s := f.stat()).st_size, s.st_mtime_ns) for f in files)
    return ()
