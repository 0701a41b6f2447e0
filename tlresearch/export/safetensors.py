"""A run folder that stands alone: all tensors, merged, and what tlresearch needs to load it without data and base."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from tlresearch.config.registry import load
from tlresearch.core.model import state_tensors
from tlresearch.export import encoder, labels
from tlresearch.export.card import code
from tlresearch.export.source import Source
from tlresearch.nn.adapters import METHODS
from tlresearch.results.runs import Run
from tlresearch.results.store import write_record
from tlresearch.training import checkpoint
from tlresearch.training.keeper import MODEL

REQUIRES: tuple[str, ...] = ()
ENCODER = "encoder"


def obstacle(source: Source) -> str:
    """Every model fits."""
    return ""


def write(source: Source, folder: Path) -> str:
    """Saves the tensors by name, the record, the label names, and for text models configuration and tokenizer."""
    names = {task: list(found) for task, found in source.model.labels.items()}
    # adapters are merged, and what only training needed is over
    used = [name for name in source.run.config["method"] if name in METHODS or load("method", name).training_only]
    spent = tuple(f"aux.{name}." for name in used)
    tensors = {name: t for name, t in state_tensors(source.model).items() if not name.startswith(spent)}
    checkpoint.write(folder / MODEL, tensors, {"labels": names})
    labels.write(source, folder)
    record = source.run.record
    config = _config(source, folder)
    config["method"] = {name: options for name, options in config["method"].items() if name not in used}
    sources = {part: digest for part, digest in record["sources"].items() if part.removeprefix("method.") not in used}
    write_record(folder, {**record, "config": config, "sources": sources})
    return "\n\n".join(
        [
            "With tlresearch, without the data and the base weights; `tlresearch predict` takes the folder too:",
            code("from tlresearch import Run", "", 'run = Run.load(".")', "model, spec = run.model, run.spec"),
            "The tensors alone, by name (`backbone.…`, `heads.head_TASK.…`), and the labels in the order of logits:",
            code(
                "import json",
                "",
                "from safetensors.torch import load_file",
                "",
                f'tensors = load_file("{MODEL}")',
                f'labels = json.load(open("{labels.FILE}"))',
            ),
        ]
    )


def reload(source: Source, folder: Path) -> dict[str, Tensor]:
    """By `Run.load`."""
    return dict(Run.load(folder).model(source.inputs).logits)


def _config(source: Source, folder: Path) -> dict[str, Any]:
    """The run's configuration without weights to load."""
    config = source.run.config
    backbone = {**config["backbone"], "weights": "none"}
    if backbone["name"] == "transformers":
        backbone["model"] = f"path:{ENCODER}"
        _save_encoder(source, folder / ENCODER)
    if backbone["name"] == "timm":
        own: Any = source.model.backbone
        data = {key: own.data[key] for key in ("input_size", "interpolation", "crop_pct", "crop_mode", "mean", "std")}
        backbone["arguments"] = {**backbone["arguments"], "pretrained_cfg_overlay": data}
    return {**config, "backbone": backbone}


def _save_encoder(source: Source, folder: Path) -> None:
    """Configuration, tokenizer and pooling, from which the backbone is built without weights."""
    backbone: Any = source.model.backbone
    config = encoder.named_config(source)
    config.is_encoder_decoder = type(config)().is_encoder_decoder  # of the whole network, whose encoder this is
    config.save_pretrained(folder)
    if backbone.reader is not None:
        backbone.reader.processor.save_pretrained(folder)
        return
    encoder.save_tokenizer(source, folder)
    flags = {"cls": "pooling_mode_cls_token", "mean": "pooling_mode_mean_tokens", "max": "pooling_mode_max_tokens"}
    if backbone.pooling in flags:
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text(json.dumps({flags[backbone.pooling]: True}))
        (folder / "modules.json").write_text("[]")
