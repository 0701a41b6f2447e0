"""Any vision network of the timm library."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import timm
import torch
from timm.data import create_transform, resolve_data_config
from torch import Tensor, nn

from tlresearch.config.errors import choose, fail, require
from tlresearch.config.registry import register
from tlresearch.core.backbone import Backbone, pixels
from tlresearch.core.rows import Row
from tlresearch.core.types import Features, Inputs, Spec
from tlresearch.core.weights import Weights
from tlresearch.nn import checkpoints
from tlresearch.nn.hub import hub
from tlresearch.nn.images import flip, shift, to_pil
from tlresearch.nn.timm_blocks import Layout, call_by_module, layout

_TRANSFORMER = re.compile(r"vit|deit|beit|eva|swin|cait|pit_|xcit|pvt|twins|crossvit|coat|maxvit|volo|hiera|tnt|naflex")
_OURS = frozenset({"pretrained", "num_classes", "checkpoint_path", "features_only", "pretrained_cfg"})


@register("backbone", "timm")
class Timm(Backbone):
    """A network of timm (Wightman, 2019, github.com/huggingface/pytorch-image-models) without its classifier.

    Features: `pooled` (B, D) is what the network's own classifier would read, D = feature_dim; `tokens` (B, L, D) are
    the places or patches (class tokens included) of the last layer, None where they are not of width D.
    Images are resized and cropped as timm does for evaluation, and normalised by the checkpoint's mean and deviation.

    Args:
        model: a name of `timm.list_models()`, with or without the tag of its weights.
        image_size: pixels a side of the network's input; null = that of the checkpoint.
        mean, std: three numbers (one for grey) on the scale 0 … 1; null = those of the checkpoint.
        augment: none, or crop_flip: in training, shifts by up to an eighth of the image and mirrors left to right.
        arguments: passed on to `timm.create_model` (drop_path_rate, img_size, in_chans …).
    """

    modalities: ClassVar[frozenset[str]] = frozenset({"image"})
    learning_rate: ClassVar[float] = 1e-3
    mean: Tensor  # (C, 1, 1), as `std` on the scale 0 … 255
    std: Tensor

    def __init__(
        self,
        spec: Spec,
        weights: Weights,
        *,
        model: str = "resnet18",
        image_size: int | None = None,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        augment: Literal["none", "crop_flip"] = "none",
        arguments: dict[str, Any] = {},
    ) -> None:
        super().__init__()
        _check_name(model)
        require(image_size is None or image_size >= 1, "image_size", image_size, "an integer of at least 1, or null")
        require(not _OURS & arguments.keys(), "arguments", sorted(arguments), f"free of {', '.join(sorted(_OURS))}")
        self.augment = choose("augment", augment, ("none", "crop_flip")) == "crop_flip"
        path = weights.location()
        self.network = _create(model, weights, path, image_size, arguments)
        missing = _load(self.network, checkpoints.read(path)) if path is not None else frozenset()
        classifier = self.network.get_classifier()
        loaded = weights.kind != "none" and not missing & _classifier_names(self.network)
        if loaded and isinstance(classifier, nn.Linear):
            self.__dict__["pretrained_head"] = classifier  # not a submodule: no part of the features
        self.network.reset_classifier(0)
        if weights.kind != "none":
            kept = self.state_dict().keys()
            self.fresh = frozenset(n for n in (f"network.{m}" for m in missing) if n in kept)
        self.feature_dim = self.network.head_hidden_size
        self.data = _data(self.network, path, image_size or arguments.get("img_size"))
        self.channels, self.side = self.data["input_size"][0], self.data["input_size"][-1]
        require(self.channels in (1, 3), "arguments.in_chans", self.channels, "1 or 3")
        for name, given in (("mean", mean), ("std", std)):
            values = list(self.data[name])[: self.channels] if given is None else given
            require(len(values) == self.channels, name, given, f"{self.channels} numbers, one a channel")
            require(name == "mean" or min(values) > 0, name, given, "numbers above 0")
            self.register_buffer(name, 255 * torch.tensor(values).view(-1, 1, 1), persistent=False)
        self.layout: Layout = layout(self.network)
        self.class_token = bool(getattr(self.network, "num_prefix_tokens", 0)) or hasattr(self.network, "cls_token")
        self.caching = call_by_module(self.network)

    @classmethod
    def recommended_rate(cls, options: Mapping[str, Any]) -> float:
        """1e-3 for convolutional networks, 1e-4 for transformers, which such a rate would break."""
        return 1e-4 if _TRANSFORMER.search(str(options.get("model"))) else cls.learning_rate

    def forward(self, x: Inputs) -> Features:
        """The network's last features as tokens; `pooled` is what its classifier would see."""
        for module in self.caching:  # what it has kept is of weights that may have been others
            module.attention_bias_cache = {}
        last = self.network.forward_features(pixels(x))
        pooled = self.network.forward_head(last, pre_logits=True)
        return Features(self._tokens(last), pooled, None)

    def _tokens(self, last: Any) -> Tensor | None:
        """(B, C, H, W), (B, H, W, C) or (B, L, C) → (B, L, D), None where C is not D or there are several outputs."""
        if not isinstance(last, Tensor):
            return None
        if last.ndim == 4:
            channels_last = getattr(self.network, "output_fmt", "NCHW") == "NHWC"
            last = last.flatten(1, 2) if channels_last else last.flatten(2).transpose(1, 2)
        return last if last.ndim == 3 and last.shape[2] == self.feature_dim else None

    def blocks(self) -> list[nn.Module]:
        """The network's blocks as its layout names them, shallow → deep."""
        return [self.network.get_submodule(name) for name in self.layout.blocks]

    def depths(self) -> dict[str, int]:
        """Every parameter's depth, by name, as the network's layout has it."""
        blocks = reversed(list(enumerate(self.blocks())))  # what several blocks share belongs to the shallowest
        inside = {id(p): i + 1 for i, block in blocks for p in block.parameters()}
        return {f"network.{n}": self.layout.depth(n, inside.get(id(p))) for n, p in self.network.named_parameters()}

    def preprocess(self, split: str) -> Callable[[Row], Row]:
        """Resizes and crops a row's image as the checkpoint's own evaluation does."""
        resize = create_transform(**self.data, is_training=False, normalize=False)

        def image(row: Row) -> Row:
            return {**row, "input": resize(to_pil(row["input"], self.channels))}

        return image

    def transform(self, x: Inputs, split: str) -> Tensor:
        """Shifts and flips training images where `augment` says so; normalises by `mean` and `std`."""
        images = pixels(x)
        if split == "train" and self.augment:
            images = flip(shift(images, max(1, self.side // 8)))
        return (images - self.mean) / self.std


def _check_name(model: str) -> None:
    architecture = model.partition(".")[0]
    if not timm.is_model(architecture):
        names = timm.list_models()
        near = difflib.get_close_matches(architecture, names, 3, 0.5) or names[:3]
        fail("model", model, f"unknown; did you mean {', '.join(near)}? timm.list_models() names all {len(names)}")


def _create(model: str, weights: Weights, path: Path | None, image_size: int | None, arguments: dict[str, Any]) -> Any:
    """The network with its classifier; where it needs to know the size of its input, it is told."""
    options = dict(arguments)
    config = timm.get_pretrained_cfg(model.partition(".")[0])
    if image_size is not None and config is not None and config.fixed_input_size:
        same = options.setdefault("img_size", image_size) == image_size
        require(same, "image_size", image_size, "the img_size of `arguments`, or null")
    try:
        if weights.kind != "hub":
            return timm.create_model(model, **options)
        with hub("weights", model):
            return timm.create_model(model, pretrained=True, **options)
    except (TypeError, AssertionError) as error:
        fail("arguments", options, f"refused by {model}: {error}")
    except RuntimeError as error:
        fail("model", model, str(error))


def _load(network: Any, state: dict[str, Tensor]) -> frozenset[str]:
    """Loads a file, a classifier of another number of classes included; returns the names it lacked."""
    state = checkpoints.fit_names(network, state)
    classifier = _classifier_names(network)
    outputs = {len(state[name]) for name in classifier & state.keys()}
    if len(outputs) == 1 and outputs != {network.num_classes}:
        network.reset_classifier(outputs.pop())
    return checkpoints.load(network, state, classifier)


def _classifier_names(network: Any) -> frozenset[str]:
    own = {id(t) for m in _modules(network.get_classifier()) for t in m.state_dict(keep_vars=True).values()}
    return frozenset(name for name, t in network.state_dict(keep_vars=True).items() if id(t) in own)


def _modules(classifier: Any) -> tuple[nn.Module, ...]:
    return classifier if isinstance(classifier, tuple) else (classifier,)


def _data(network: Any, path: Path | None, image_size: int | None) -> dict[str, Any]:
    """How images become inputs: input_size, interpolation, crop_pct, crop_mode, mean, std."""
    config = dict(network.pretrained_cfg)
    file = path / "config.json" if path is not None and path.is_dir() else None
    if file is not None and file.is_file():
        saved = json.loads(file.read_text("utf-8"))
        config |= saved.get("pretrained_cfg", saved)
    data = resolve_data_config(pretrained_cfg=config)
    channels = getattr(network, "in_chans", data["input_size"][0])
    size = (image_size, image_size) if image_size else data["input_size"][1:]
    return {**data, "input_size": (channels, *size)}
