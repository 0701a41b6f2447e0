"""A bare network of transformers: its configuration, the tower that reads the data, weights, layers and pooling."""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from torch import nn

from tlresearch.config.errors import fail, require
from tlresearch.core.weights import Weights
from tlresearch.nn import checkpoints
from tlresearch.nn.hub import hub

_READS = {"input_ids": "text", "pixel_values": "image"}
_POOLINGS = {"pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean", "pooling_mode_max_tokens": "max"}
_LOG = logging.getLogger(__name__)


class Loaded(NamedTuple):
    """network: in float32, without task head; missing: names of the tensors that the weights did not provide."""

    network: Any
    missing: frozenset[str]


def source_of(model: str | None, path: Path | None) -> tuple[str, Path | None]:
    """Where configuration and tokenizer come from: a name for transformers, and the folder where it is one."""
    if model is None:
        if path is None or not path.is_dir():
            fail("model", model, "needed unless `weights` is a folder; give a hub name, path:FOLDER or package:NAME")
        return str(path), path
    if not model.startswith(("path:", "package:")):
        return model, None
    folder = Weights.parse(model).location("model")
    if folder is None or not (folder / "config.json").is_file():
        fail("model", model, "must be a folder with config.json, as transformers saves it")
    return str(folder), folder


def read_config(source: str, arguments: dict[str, Any], modality: str) -> Any:
    """The configuration, of two towers (CLIP) that of the one which reads the data."""
    try:
        whole = transformers.AutoConfig.from_pretrained(source, trust_remote_code=False)
        towers = hasattr(whole, "text_config") and hasattr(whole, "vision_config")
        own = getattr(whole, {"text": "text_config", "image": "vision_config"}[modality]) if towers else whole
        config, unknown = type(own).from_pretrained(source, return_unused_kwargs=True, **arguments)
    except (OSError, ValueError, KeyError) as error:
        fail("model", source, f"transformers knows no such network ({reason(error, source)})")
    require(not unknown, "arguments", sorted(unknown), f"options of {type(config).__name__}")
    if getattr(config, "mask_ratio", None):
        fail("model", source, f"{config.model_type!r} hides patches at random; save it as the encoder it was made from")
    config.use_cache = False  # of a decoder's keys and values, which nothing here reads
    return config


def bare_class(config: Any, source: str, modality: str) -> Any:
    """The class of the network without head; raises ConfigError for one that reads something else."""
    found: Any = transformers.MODEL_MAPPING.get(type(config), None)
    if found is None:  # some towers are known to no list
        found = getattr(transformers, type(config).__name__.replace("Config", "Model"), None)
    if found is None:
        fail("model", source, f"{type(config).__name__} is of no bare network; choose an encoder of texts or images")
    kind = found[0] if isinstance(found, tuple) else found
    reads = _READS.get(kind.main_input_name)
    if reads != modality:
        what = {"text": "texts", "image": "images", None: "neither texts nor images"}[reads]
        fail("model", source, f"{kind.__name__} reads {what}, and the data are of kind {modality!r}; choose another")
    return kind


def load(config: Any, weights: Weights, path: Path | None, source: str, modality: str) -> Loaded:
    """The bare network: of encoder-decoders the encoder, without a pooler that only another task has trained.

    Raises ConfigError where the weights lack more than that pooler, or are of another architecture.
    """
    kind = bare_class(config, source, modality)
    options: dict[str, Any] = {"dtype": torch.float32}
    if modality == "text" and "add_pooling_layer" in inspect.signature(kind).parameters:
        options["add_pooling_layer"] = False
    missing: set[str] = set()
    report: dict[str, Any] = {}
    if weights.kind == "none":
        network = kind._from_config(config, **options)
    else:
        options |= {"config": config, "output_loading_info": True, "ignore_mismatched_sizes": True}
        with nullcontext() if path else hub("weights", source):
            network, report = _read(kind, path, source, options)
        missing = set(report["missing_keys"])
        _refuse_other(weights, network, report)
    if config.is_encoder_decoder:
        network, whole = network.get_encoder(), network
        prefix = next(name for name, module in whole.named_modules() if module is network) + "."
        missing = {name.removeprefix(prefix) for name in missing if name.startswith(prefix)}
    if hasattr(getattr(network, "pooler", None), "dense"):  # made for the next sentence; classifiers of images skip it
        network.pooler = None
        missing = {name for name in missing if not name.startswith("pooler.")}
    needed = sorted(n for n in missing if modality == "image" or "pooler" not in n)  # that of a text is not read here
    if needed:
        given = [*(network.state_dict().keys() - missing), *report["unexpected_keys"]]
        fail("weights", str(weights), checkpoints.lack(needed, network.state_dict(), type(network).__name__, given))
    return Loaded(network, frozenset(missing))


def _read(kind: Any, path: Path | None, source: str, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """By transformers from safetensors; a torch state dict is read by torch alone, which runs no code of others."""
    place, state = path, None
    if path is not None and (path.is_file() or not any(path.glob("*.safetensors"))):
        place, state = None, checkpoints.read(path)
    elif path is None:
        return _pretrained(kind, source, {**options, "use_safetensors": True}, source)
    if state is not None:
        return _pretrained(kind, None, {**options, "state_dict": state}, str(path))
    return _pretrained(kind, str(place), {**options, "use_safetensors": True}, str(path))


def _pretrained(kind: Any, place: str | None, options: dict[str, Any], told: str) -> tuple[Any, dict[str, Any]]:
    try:
        network, report = kind.from_pretrained(place, **options)
    except (OSError, RuntimeError, ValueError) as error:
        fail("weights", told, f"cannot be loaded ({reason(error, told)}); give a folder with model.safetensors")
    return network, report


def _refuse_other(weights: Weights, network: Any, report: dict[str, Any]) -> None:
    """Names what has another shape, and logs what has no place."""
    name = type(network).__name__
    wrong = [f"{n} {tuple(theirs)} instead of {tuple(own)}" for n, theirs, own in report["mismatched_keys"]]
    if wrong:
        fail("weights", str(weights), checkpoints.misfit(wrong, name))
    if report["unexpected_keys"]:
        unused = report["unexpected_keys"]
        _LOG.info("%d tensors have no place in %s: %s", len(unused), name, checkpoints.some(unused))


def reason(error: Exception, source: str) -> str:
    """The first line of the error; one of the hub is left to `hub`."""
    if isinstance(error, OSError) and not Path(source).exists():
        raise error
    return (str(error).splitlines() or [type(error).__name__])[0]


def layers(network: nn.Module, config: Any, source: str) -> str:
    """The name of the list of layers: as long as the configuration says, the longest there is otherwise."""
    lists = {n: m for n, m in network.named_modules() if isinstance(m, nn.ModuleList) and len(m)}
    depth = getattr(config, "num_hidden_layers", None)
    wanted = [name for name, found in lists.items() if len(found) == depth]
    if not lists:
        fail("model", source, f"{type(network).__name__} has no list of layers; choose another network")
    name: str = wanted[0] if wanted else max(lists, key=lambda found: len(lists[found]))
    parent = name.rpartition(".")[0]
    beside = [n for n in wanted if n != name and n.rpartition(".")[0] == parent]
    if beside:
        message = f"{type(network).__name__} keeps parts of one layer in several lists ({name}, {', '.join(beside)})"
        fail("model", source, f"{message}, so that it has no blocks; choose another network")
    return name


def own_pooling(folder: Path | None, config: Any, modality: str) -> str:
    """cls, mean, max, last, or own (the network's `pooler_output`, for images).

    From the file of sentence-transformers where the folder (or its parent) has one, then from the configuration.
    """
    if modality == "image":
        return "own"
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
    said = getattr(config, "classifier_pooling", None)
    if said in ("cls", "mean"):
        return str(said)
    if config.model_type.endswith("_text_model"):  # the tower of a CLIP reads the token that ends the text
        return "last"
    causal = type(config) in transformers.MODEL_FOR_CAUSAL_LM_MAPPING
    return "last" if causal and type(config) not in transformers.MODEL_FOR_MASKED_LM_MAPPING else "cls"


@contextmanager
def quiet() -> Iterator[None]:
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
