"""Any encoder of texts or images of the transformers library."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, ClassVar

import torch
import transformers
from torch import Tensor, nn

from tlresearch.config.errors import fail, require
from tlresearch.config.registry import register
from tlresearch.core.backbone import Backbone, pixels
from tlresearch.core.head import pool
from tlresearch.core.rows import Row
from tlresearch.core.types import Features, Inputs, Spec
from tlresearch.core.weights import ENDINGS, Weights
from tlresearch.nn import transformers_network as networks
from tlresearch.nn.flow import flow
from tlresearch.nn.hub import hub
from tlresearch.nn.transformers_images import ImageReader

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_CHARACTERS_PER_TOKEN = 32
_LENGTH = 128


@register("backbone", "transformers")
class Transformers(Backbone):
    """An encoder of transformers (Wolf et al., 2020, arXiv:1910.03771) without any head; no code of others is run.

    Of a network with two towers (CLIP) it is the one that reads the data. Features of texts: `tokens` (B, L, D) are
    the last hidden states, `mask` (B, L) the real ones among them. `pooled` (B, D) is what a sentence-transformers
    folder says (mean, cls or max), or the configuration (`classifier_pooling`); without one the first token, for
    decoders and CLIP the last real token, for encoders of encoder-decoder networks (T5) the mean. Features of images:
    `tokens` are patches (class tokens included) or places, `pooled` is the network's own (`pooler_output`), the first
    token where it has none or only one that was made for another task.

    Args:
        model: where configuration, tokenizer and image processor come from, also for `weights=none`: a name on the
            hub, path:FOLDER or package:NAME; null = the folder that `weights` names.
        max_length: longer texts are cut after so many tokens, special tokens included; at least 4.
        arguments: changes to the configuration (hidden_dropout_prob, num_hidden_layers, image_size …).
    """

    modalities: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    learning_rate: ClassVar[float] = 1e-4
    mean: Tensor  # (3, 1, 1), as `std` on the scale 0 … 255; of networks that read images
    std: Tensor

    def __init__(
        self,
        spec: Spec,
        weights: Weights,
        *,
        model: str | None = None,
        max_length: int = 128,
        arguments: dict[str, Any] = {},
    ) -> None:
        super().__init__()
        require(max_length >= 4, "max_length", max_length, "an integer of at least 4")
        path = weights.location()
        if path is not None and path.suffix not in ENDINGS and not (path / "config.json").is_file():
            forms = f"a folder as transformers saves it, with config.json, or a file that ends in {', '.join(ENDINGS)}"
            fail("weights", str(weights), f"must be {forms}")
        source, folder = networks.source_of(model, path)
        self.reader: ImageReader | None = None
        with nullcontext() if folder else hub("model", source), networks.quiet():
            config = networks.read_config(source, arguments, spec.modality)
            networks.bare_class(config, source, spec.modality)
            if spec.modality == "text":
                self.tokenizer = _tokenizer(source)
            else:
                require(max_length == _LENGTH, "max_length", max_length, "left out: images have none")
                self.reader = ImageReader(source, arguments.get("image_size"))
                self.register_buffer("mean", self.reader.mean, persistent=False)
                self.register_buffer("std", self.reader.std, persistent=False)
        with networks.quiet():
            self.network, missing = networks.load(config, weights, path, source, spec.modality)
        self.max_length = max_length
        self.fresh = None if weights.kind == "none" else frozenset(f"network.{n}" for n in missing)
        self.layers = networks.layers(self.network, config, source)
        near = path if path is not None and path.is_dir() else folder
        self.pooling = networks.own_pooling(near, config, spec.modality)
        if self.reader is None:
            filler = self.tokenizer.pad_token_id
            self.filler = 0 if filler is None else filler  # masked: any id serves where the tokenizer has none
            self._check_length(config)
        else:
            parts = [name.rpartition(".")[2] for name, _ in self.network.named_parameters()]
            self.class_token = not {"cls_token", "class_embedding"}.isdisjoint(parts)
        self.behind = self._follow(source)

    def _check_length(self, config: Any) -> None:
        positions = getattr(config, "max_position_embeddings", None) or self.max_length
        table = next((m for n, m in self.network.named_modules() if n.endswith("position_embeddings")), None)
        reserved = getattr(table, "padding_idx", None)  # RoBERTa counts from the number of its padding token
        limit = min(positions - (0 if reserved is None else reserved + 1), self.tokenizer.model_max_length)
        fits = f"at most {limit}, what the network has positions for"
        require(self.max_length <= limit, "max_length", self.max_length, fits)

    def _follow(self, source: str) -> frozenset[str]:
        """Takes one example through the network: sets `feature_dim` and returns what is called behind the blocks."""
        value: Any = "a" if self.reader is None else torch.zeros(3, 32, 32, dtype=torch.uint8)
        row = self.preprocess("test")(Row(input=value, labels={}, domain=0, index=0, weight=1.0))
        x = self.transform(self.collate([row]).x, "test")
        widths: list[int] = []
        try:
            seen = flow(self.network, self.blocks(), lambda: widths.append(self(x).pooled.shape[1]))
        except (RuntimeError, IndexError, TypeError, ValueError, AttributeError) as error:
            first = (str(error).splitlines() or [""])[0]
            fail("model", source, f"does not read an example ({type(error).__name__}: {first}); choose another network")
        if seen.order != tuple(range(len(self.blocks()))):
            fail(
                "model", source, f"{type(self.network).__name__} does not call {self.layers} one by one; choose another"
            )
        self.feature_dim = widths[0]
        return seen.behind

    @property
    def padding(self) -> dict[str, float]:
        """The tokenizer's padding token fills up short sequences of token numbers."""
        return {"input_ids": self.filler} if self.reader is None else {}

    def forward(self, x: Inputs) -> Features:
        """The last hidden states as tokens; `pooled` is the checkpoint's own pooling of them."""
        if self.reader is not None:
            return self._image_features(pixels(x))
        assert isinstance(x, dict), "expected named inputs, got a plain tensor"
        tokens: Tensor = self.network(**x).last_hidden_state
        mask = x["attention_mask"].bool()
        features = Features(tokens, tokens[:, 0], mask)
        if self.pooling == "last":
            last = mask.sum(1) - 1
            return features._replace(pooled=tokens[torch.arange(len(tokens), device=tokens.device), last])
        return features if self.pooling == "cls" else pool(features, self.pooling)

    def _image_features(self, x: Tensor) -> Features:
        """Places (B, D, H, W) or patches (B, L, D) → tokens; without a pooling of its own the first, or their mean."""
        out = self.network(pixel_values=x)
        tokens, places = out.last_hidden_state, out.last_hidden_state.ndim == 4
        if places:
            tokens = tokens.flatten(2).transpose(1, 2)
        pooled = getattr(out, "pooler_output", None)
        if pooled is None:
            pooled = tokens.mean(1) if places else tokens[:, 0]
        pooled = pooled.flatten(1)
        return Features(tokens if tokens.shape[2] == pooled.shape[1] else None, pooled, None)

    def blocks(self) -> list[nn.Module]:
        """The network's layers, shallow → deep."""
        return list(self.network.get_submodule(self.layers).children())

    def depths(self) -> dict[str, int]:
        """Every parameter's depth, by name: outside the blocks the last one's for what is called behind it, 0 else."""
        blocks = self.blocks()
        inside = {id(p): i + 1 for i, block in enumerate(blocks) for p in block.parameters()}
        return {
            name: inside.get(id(p), len(blocks) if self._is_behind(name.removeprefix("network.")) else 0)
            for name, p in self.named_parameters()
        }

    def _is_behind(self, name: str) -> bool:
        """Whether the parameter, or a module that it has been put below, is called behind the blocks."""
        while "." in name:
            name = name.rpartition(".")[0]
            if name in self.behind:
                return True
        return False

    def preprocess(self, split: str) -> Callable[[Row], Row]:
        """Turns a row's text into token numbers, cut off at `max_length`; an image into uint8 pixels."""

        def tokenize(row: Row) -> Row:
            encoded, cut = self._encode(row["input"])
            if not encoded["input_ids"]:  # an empty text, and a tokenizer without special tokens
                encoded = {"input_ids": [self.filler], "attention_mask": [1]}
            found: Row = {**row, "input": {n: torch.tensor(encoded[n]) for n in _INPUTS if n in encoded}}
            return found if cut is None else {**found, "cut": cut}

        reader = self.reader
        return tokenize if reader is None else lambda row: {**row, "input": reader(row["input"])}

    def transform(self, x: Inputs, split: str) -> Inputs:
        """Normalises images as the checkpoint's processor does; texts stay as they are."""
        return x if self.reader is None else (pixels(x) - self.mean) / self.std

    def _encode(self, text: str) -> tuple[Any, bool | None]:
        """What the tokenizer makes of the text, and whether it is cut: None from one in pure Python, which forgets.

        Of a huge text it sees only as much as `max_length` tokens can need.
        """
        shortened, length = False, _CHARACTERS_PER_TOKEN * self.max_length
        while self.tokenizer.truncation_side == "right" and length < len(text) // 2:
            start = self.tokenizer(text[:length], truncation=True, max_length=self.max_length)
            if len(start["input_ids"]) == self.max_length:  # all from the first half: the cut behind it changes none
                text, shortened = text[: 2 * length], True
            length *= 2
        encoded = self.tokenizer(text, truncation=True, max_length=self.max_length)
        parts = encoded.encodings
        return encoded, None if parts is None else shortened or bool(parts[0].overflowing)


def _tokenizer(source: str) -> Any:
    try:
        return transformers.AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        fail("model", source, f"has no usable tokenizer ({networks.reason(error, source)})")
