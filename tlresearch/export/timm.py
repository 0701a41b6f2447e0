"""Networks of timm with their own classifier."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models._hub import save_for_hf
from torch import Tensor, nn

from tlresearch.core.backbone import pixels
from tlresearch.export import labels
from tlresearch.export.card import code
from tlresearch.export.source import Source, one_linear_head

REQUIRES: tuple[str, ...] = ()


def obstacle(source: Source) -> str:
    """A linear head on what the network's own classifier would read, and a classifier that is one linear layer."""
    found = one_linear_head(source, "timm")
    if found:
        return found
    if source.pooling != "auto":
        return f"its classifier reads the network's own pooling and this head pools by {source.pooling!r}"
    own = with_classifier(source, source.model).get_classifier()
    return "" if isinstance(own, nn.Linear) else "the network's own classifier is not one linear layer"


def write(source: Source, folder: Path) -> str:
    """Saves model.safetensors and config.json as timm does for the hub."""
    network = with_classifier(source, source.model)
    save(source, network, folder)
    arguments = json.loads((folder / "config.json").read_text("utf-8")).get("model_args", {})
    extra = "".join(f", {key}={value!r}" for key, value in arguments.items() if key != "num_classes")
    name, count = network.pretrained_cfg["architecture"], source.head.out_features
    return "\n\n".join(
        [
            code(
                "import timm",
                "from PIL import Image, ImageOps",
                "",
                'model = timm.create_model("local-dir:.", pretrained=True).eval()',
                "data = timm.data.resolve_data_config(model=model)",
                "transform = timm.data.create_transform(**data, is_training=False)",
                open_image(source),
                "logits = model(transform(image).unsqueeze(0))",
                *labels.decoding(source, 'label = model.pretrained_cfg["label_names"][logits.argmax().item()]'),
            ),
            "Or the weights alone, without the normalisation and the label names:",
            code(
                "import timm",
                "",
                f'model = timm.create_model("{name}", checkpoint_path="model.safetensors", num_classes={count}{extra})',
            ),
        ]
    )


def reload(source: Source, folder: Path) -> dict[str, Tensor]:
    """By `timm.create_model` from the folder, on inputs normalised by what the folder says."""
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    return {source.task.name: network(normalised(source, network))}


def with_classifier(source: Source, model: nn.Module) -> Any:
    """A copy of the network of `model` with the first task's head as its classifier."""
    network: Any = copy.deepcopy(model.get_submodule("backbone.network"))
    network.reset_classifier(source.head.out_features)
    own = network.get_classifier()
    if isinstance(own, nn.Linear):
        own.load_state_dict(source.head.state_dict())
    return network.eval()


def save(source: Source, network: Any, folder: Path) -> None:
    """A network, how the run prepared its images, and the label names."""
    backbone: Any = source.model.backbone
    data = {key: backbone.data[key] for key in ("input_size", "interpolation", "crop_pct", "crop_mode")}
    scale = {name: (getattr(backbone, name).flatten() / 255).tolist() for name in ("mean", "std")}
    names = {"label_names": list(source.task.labels)} if network.num_classes and source.task.labels else {}
    save_for_hf(network, str(folder), names, safe_serialization=True, data_config={**data, **scale})


def open_image(source: Source) -> str:
    """The line of the model card that reads an image, turned upright as the run's were."""
    mode = "RGB" if pixels(source.inputs).shape[1] == 3 else "L"
    return f'image = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("{mode}")'


def normalised(source: Source, network: Any) -> Tensor:
    """The probe's pixels by the mean and deviation that the network's configuration names."""
    config = timm.data.resolve_data_config(model=network)
    mean, std = (torch.tensor(config[name]).view(-1, 1, 1) for name in ("mean", "std"))
    return (pixels(source.inputs) / 255 - mean) / std
