"""Any text encoder of the transformers library."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, ClassVar

import torch
import transformers
from torch import Tensor, nn

from tlresearch.config.errors import fail, require
from tlresearch.config.registry import register
from tlresearch.core.backbone import Backbone
from tlresearch.core.head import pool
from tlresearch.core.rows import Row
from tlresearch.core.types import Features, Inputs, Spec
from tlresearch.core.weights import Weights
from tlresearch.nn.hub import hub

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_CHARACTERS_PER_TOKEN = 32
_POOLINGS = {"pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean", "pooling_mode_max_tokens": "max"}


@register("backbone", "transformers")
class Transformers(Backbone):
    """An encoder of transformers (Wolf et al., 2020, arXiv:1910.03771) without any head; no code of others is run.

    Features: `tokens` (B, L, D) are the last hidden states, `mask` (B, L) the real ones among them. `pooled` (B, D) is
    what a sentence-transformers folder says (mean, cls or max); without one the first token, for decoders the last
    real token, for encoders of encoder-decoder networks (T5) the mean.

    Args:
        model: where configuration and tokenizer come from, also for `weights=none`: a name on the hub, path:FOLDER or
            package:NAME; null = the folder that `weights` names.
        max_length: longer texts are cut after so many tokens, special tokens included; at least 4.
        arguments: changes to the configuration (hidden_dropout_prob, num_hidden_layers, attn_implementation …).
    """

    modalities: ClassVar[frozenset[str]] = frozenset({"text"})
    learning_rate: ClassVar[float] = 1e-4

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
        if path is not None and not (path / "config.json").is_file():
            fail("weights", str(weights), "must be a folder as transformers saves it, with config.json")
        source, folder = _source(model, path)
        with nullcontext() if folder else hub("model", source):
            config = _config(source, arguments)
            self.tokenizer = _tokenizer(source)
        with _quiet():
            network, missing = _network(config, weights, path, source)
        positions = getattr(config, "max_position_embeddings", None) or max_length
        limit = min(positions, self.tokenizer.model_max_length)
        require(max_length <= limit, "max_length", max_length, f"at most {limit}, what the network has positions for")
        self.max_length = max_length
        self.network = network
        self.fresh = None if weights.kind == "none" else frozenset(f"network.{n}" for n in missing)
        self.feature_dim = config.hidden_size
        self.layers = _layers(network, config)
        self.pooling = _pooling(path or folder, config)
        filler = self.tokenizer.pad_token_id
        self.filler = 0 if filler is None else filler  # masked, so that any id serves where the tokenizer has none

    @property
    def padding(self) -> dict[str, float]:
        """The tokenizer's padding token fills up short sequences of token numbers."""
        return {"input_ids": self.filler}

    def forward(self, x: Inputs) -> Features:
        """The last hidden states as tokens; `pooled` is the checkpoint's own pooling of them."""
        assert isinstance(x, dict), "expected named inputs, got a plain tensor"
        tokens: Tensor = self.network(**x).last_hidden_state
        mask = x["attention_mask"].bool()
        features = Features(tokens, tokens[:, 0], mask)
        if self.pooling == "last":
            last = mask.sum(1) - 1
            return features._replace(pooled=tokens[torch.arange(len(tokens), device=tokens.device), last])
        return features if self.pooling == "cls" else pool(features, self.pooling)

    def blocks(self) -> list[nn.Module]:
        """The network's layers, shallow → deep."""
        return list(self.network.get_submodule(self.layers).children())

    def preprocess(self, split: str) -> Callable[[Row], Row]:
        """Turns a row's text into token numbers, cut off at `max_length`."""

        def tokenize(row: Row) -> Row:
            encoded, cut = self._encode(row["input"])
            if not encoded["input_ids"]:  # an empty text, and a tokenizer without special tokens
                encoded = {"input_ids": [self.filler], "attention_mask": [1]}
            found: Row = {**row, "input": {n: torch.tensor(encoded[n]) for n in _INPUTS if n in encoded}}
            return found if cut is None else {**found, "cut": cut}

        return tokenize

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


def _source(model: str | None, path: Path | None) -> tuple[str, Path | None]:
    """Configuration and tokenizer: a name for transformers, and the folder where it is one."""
    if model is None:
        if path is None:
            fail("model", model, "needed unless `weights` is a folder; give a hub name, path:FOLDER or package:NAME")
        return str(path), path
    if not model.startswith(("path:", "package:")):
        return model, None
    folder = Weights.parse(model).location("model")
    if folder is None or not (folder / "config.json").is_file():
        fail("model", model, "must be a folder with config.json, as transformers saves it")
    return str(folder), folder


def _config(source: str, arguments: dict[str, Any]) -> Any:
    try:
        config, unknown = transformers.AutoConfig.from_pretrained(
            source, return_unused_kwargs=True, trust_remote_code=False, **arguments
        )
    except (OSError, ValueError, KeyError) as error:
        fail("model", source, f"transformers knows no such network ({_reason(error, source)})")
    require(not unknown, "arguments", sorted(unknown), f"options of {type(config).__name__}")
    config.use_cache = False  # of a decoder's keys and values, which nothing here reads
    return config


def _tokenizer(source: str) -> Any:
    try:
        return transformers.AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        fail("model", source, f"has no usable tokenizer ({_reason(error, source)})")


def _reason(error: Exception, source: str) -> str:
    """The first line of the error; one of the hub is left to `hub`."""
    if isinstance(error, OSError) and not Path(source).is_dir():
        raise error
    return (str(error).splitlines() or [type(error).__name__])[0]


def _network(config: Any, weights: Weights, path: Path | None, source: str) -> tuple[Any, set[str]]:
    """The bare encoder, in float32, and the names of the tensors that the weights lack."""
    found: Any = transformers.MODEL_MAPPING.get(type(config), None)
    if found is None:
        fail("model", source, f"{type(config).__name__} is of no bare network; choose a text encoder")
    kind = found[0] if isinstance(found, tuple) else found
    options: dict[str, Any] = {"dtype": torch.float32}
    if "add_pooling_layer" in inspect.signature(kind).parameters:
        options["add_pooling_layer"] = False
    missing: set[str] = set()
    if weights.kind == "none":
        network = transformers.AutoModel.from_config(config, trust_remote_code=False, **options)
    else:
        options |= {"config": config, "use_safetensors": True, "output_loading_info": True, "trust_remote_code": False}
        with nullcontext() if path else hub("weights", source):
            network, report = _load(str(path or source), options)
        missing = set(report["missing_keys"])
    if config.is_encoder_decoder:
        network, whole = network.get_encoder(), network
        prefix = next(name for name, module in whole.named_modules() if module is network) + "."
        missing = {name.removeprefix(prefix) for name in missing if name.startswith(prefix)}
    needed = sorted(name for name in missing if "pooler" not in name)  # the one part that is not read here
    if needed:
        message = f"{len(needed)} tensors are missing: {', '.join(needed[:5])}; choose the model they were made for"
        fail("weights", str(weights), message)
    return network, missing


def _load(source: str, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    try:
        network, report = transformers.AutoModel.from_pretrained(source, **options)
    except (OSError, RuntimeError, ValueError) as error:
        fail("weights", source, f"cannot be loaded ({_reason(error, source)}); give a folder with model.safetensors")
    return network, report


def _layers(network: nn.Module, config: Any) -> str:
    """The name of the list of layers: as long as the configuration says, the longest there is otherwise."""
    lists: dict[str, int] = {n: len(m) for n, m in network.named_modules() if isinstance(m, nn.ModuleList) and len(m)}
    wanted = [name for name, length in lists.items() if length == getattr(config, "num_hidden_layers", None)]
    assert lists, f"{type(network).__name__} has no list of layers"
    return wanted[0] if wanted else max(lists, key=lambda name: lists[name])


def _pooling(folder: Path | None, config: Any) -> str:
    """cls, mean, max or last; read from the file of sentence-transformers where the folder (or its parent) has one."""
    for place in (folder, folder.parent) if folder else ():
        file = place / "1_Pooling" / "config.json"
        if (place / "modules.json").is_file() and file.is_file():
            saved = json.loads(file.read_text("utf-8"))
            modes = [how for key, how in _POOLINGS.items() if saved.get(key)]
            if len(modes) == 1:
                return modes[0]
            fail("weights", str(file), f"names {len(modes)} of the poolings cls, mean and max, must name one")
    if config.is_encoder_decoder:
        return "mean"
    causal = type(config) in transformers.MODEL_FOR_CAUSAL_LM_MAPPING
    return "last" if causal and type(config) not in transformers.MODEL_FOR_MASKED_LM_MAPPING else "cls"


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's bars and reports: what is missing is an error here, what is left over a head."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
