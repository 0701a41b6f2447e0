"""What is registered, and with which arguments the kit builds it small."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tlresearch.config import registry
from tlresearch.config.reader import Entry

FIXTURES = Path(__file__).parent / "fixtures"
VIT = {"img_size": 16, "patch_size": 4, "embed_dim": 32, "depth": 2, "num_heads": 2}

SMALL: dict[tuple[str, str], dict[str, Any]] = {
    ("backbone", "convnet"): {"width": 4, "layers": 2, "random_crop": 0},
    ("backbone", "lenet"): {"channels": [4]},
    ("backbone", "mlp"): {"width": 16},
    ("backbone", "timm"): {"model": "vit_tiny_patch16_224", "arguments": VIT, "weights": "path:{vit.safetensors}"},
    ("backbone", "transformers"): {"weights": "path:{bert}"},
    ("dataset", "domains"): {
        "source": ["mnist"],
        "target": ["usps"],
        "base_arguments": {"mnist": {"path": "{mnist}"}, "usps": {"path": "{usps.npz}"}},
    },
    ("dataset", "huggingface"): {"path": "{saved}"},
    ("dataset", "image_folder"): {"path": "{pictures}"},
    ("dataset", "mnist"): {"path": "{mnist}"},
    ("dataset", "mnist_m"): {"path": "{mnist}", "photos_path": "{photos}"},
    ("dataset", "text_file"): {"path": "{table.csv}"},
    ("dataset", "rotated"): {"base": "contract_images"},
    ("dataset", "split"): {"base": "contract_images", "stages": 3, "scenario": "class_incremental"},
    ("dataset", "usps"): {"path": "{usps.npz}"},
    ("method", "adapter"): {"reduction": 2},
    ("method", "co_tuning"): {"relation": "direct"},  # the other fits 13 logistic regressions a task and stage
    ("method", "lora"): {"rank": 3},
    ("method", "peft"): {"options": {"r": 3}},
    ("method", "wise_ft"): {"alphas": [0.5, 1.0]},  # the start, which a few steps may not beat, moves nothing
    ("tracker", "wandb"): {"mode": "disabled"},
}
"""(kind, name) → options; what is not here comes with its defaults. {…} names a folder or file that the kit makes."""

READING: dict[tuple[str, str], dict[str, Any]] = {("transformers", "image"): {"weights": "path:{vit}"}}
"""(backbone, modality) → options of one that reads several, where those above are for another."""


def reading(name: str, modality: str, places: Mapping[str, Path]) -> dict[str, Any]:
    """What a backbone needs beside its other options to read a modality."""
    return {option: _filled(value, places) for option, value in READING.get((name, modality), {}).items()}


@contextmanager
def fixtures() -> Iterator[None]:
    """Inside, the kit's own toys are registered beside everything else."""
    before = os.environ.get(registry.ENVIRONMENT)
    os.environ[registry.ENVIRONMENT] = os.pathsep.join(filter(None, (before, str(FIXTURES))))
    try:
        yield
    finally:
        if before is None:
            del os.environ[registry.ENVIRONMENT]
        else:
            os.environ[registry.ENVIRONMENT] = before


def entries(kind: str) -> list[Entry]:
    """Every plugin of a kind by name, broken ones included (their checks fail with the reason)."""
    with fixtures():
        found = registry.index()
    return [entry for key, entry in sorted(found.items()) if key[0] == kind]


def methods() -> list[str]:
    """All methods but the kit's own."""
    return [entry.name for entry in entries("method") if Path(entry.file).parent != FIXTURES]


def every(kind: str, argument: str = "name", names: Sequence[str] | None = None) -> pytest.MarkDecorator:
    """A test for each plugin of a kind; the mark tells `--only` whom it is about."""
    chosen = [entry.name for entry in entries(kind)] if names is None else names
    return pytest.mark.parametrize(argument, [pytest.param(name, marks=about((kind, name))) for name in chosen])


def about(*subjects: tuple[str, str]) -> pytest.MarkDecorator:
    return pytest.mark.about(*subjects)


def options(kind: str, name: str, places: Mapping[str, Path], given: Sequence[str] = ()) -> dict[str, Any]:
    """With what the kit builds a plugin: `given` ("dataset.path=…", "method.lora.rank=1") wins over the table above."""
    import yaml

    from tlresearch.config.schema import key

    values = {option: _filled(value, places) for option, value in SMALL.get((kind, name), {}).items()}
    prefix = key(kind, name) + "."
    for override in given:
        option, _, value = override.partition("=")
        if option.startswith(prefix):
            values[option.removeprefix(prefix)] = yaml.safe_load(value)
    missing = [o.name for o in registry.find(kind, name).options if o.required and o.name not in values]
    assert not missing, f"the kit does not know {missing} of {kind} {name!r}: give {prefix}{missing[0]}=… (--override)"
    return values


def _filled(value: Any, places: Mapping[str, Path]) -> Any:
    if isinstance(value, Mapping):
        return {key: _filled(item, places) for key, item in value.items()}
    return re.sub(r"\{([\w.]+)\}", lambda found: str(places[found[1]]), value) if isinstance(value, str) else value
