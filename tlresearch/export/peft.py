"""Adapters as peft saves them, with the base they belong to and the head."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, cast

import peft
import timm
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tlresearch.config.errors import ConfigError
from tlresearch.core.head import pool
from tlresearch.core.types import Features
from tlresearch.export import encoder, labels, timm as timm_format, transformers as transformers_format
from tlresearch.export.card import code
from tlresearch.export.source import TEXTS, Source, one_linear_head
from tlresearch.nn.adapters import METHODS, adapted, without_adapters

REQUIRES: tuple[str, ...] = ()
BASE, HEAD = "base", "head.safetensors"

_POOL = {
    "cls": "pooled = tokens[:, 0]",
    "mean": "pooled = (tokens * mask).sum(1) / mask.sum(1)",
    "max": 'pooled = tokens.masked_fill(mask == 0, float("-inf")).amax(1)',
    "last": "pooled = tokens[torch.arange(len(texts)), mask.sum(1).squeeze(1) - 1]",
}
"""The line from `tokens` (B, L, D) and `mask` (B, L, 1) to `pooled` (B, D)."""


def obstacle(source: Source) -> str:
    """A run with method lora or peft, on a network of transformers or timm with a linear head."""
    if not METHODS & set(source.run.config["method"]):
        return f"it holds adapters of peft and this run's methods are {list(source.run.config['method'])}"
    if source.run.config["backbone"]["name"] == "timm":
        return timm_format.obstacle(source)
    return one_linear_head(source, "transformers") or encoder.half_obstacle(source)


def write(source: Source, folder: Path) -> str:
    """Saves adapter_config.json and adapter_model.safetensors, head included, and the base they were trained on."""
    if source.run.config["backbone"]["name"] == "timm":
        usage = _write_timm(source, folder)
    else:
        plain = without_adapters(source.run.model.get_submodule("backbone.network"), merge=False)
        encoder.save(source, plain, folder / BASE)
        encoder.save_tokenizer(source, folder)
        stock = not transformers_format.obstacle(source)
        usage = _write_stock(source, plain, folder) if stock else _write_encoder(source, plain, folder)
    return f"{usage}\n\n`{BASE}` is the network as the adapter found it; `model.merge_and_unload()` adds the adapter."


def reload(source: Source, folder: Path) -> dict[str, Tensor]:
    """By PeftModel on the base in the folder; merged and unmerged must agree."""
    image = source.run.config["backbone"]["name"] == "timm"
    answer = _image_logits if image else _text_logits
    with encoder.quiet():
        model: Any = peft.PeftModel.from_pretrained(_base(source, folder), folder).eval()
    separate = answer(source, folder, model)
    merged = answer(source, folder, model.merge_and_unload())
    if not torch.allclose(separate, merged, rtol=1e-4, atol=1e-4):
        raise ValueError("merged and unmerged adapters disagree")
    return {source.task.name: separate}


def _write_timm(source: Source, folder: Path) -> str:
    plain = without_adapters(source.run.model, merge=False)
    timm_format.save(source, plain.get_submodule("backbone.network"), folder / BASE)
    labels.write(source, folder)
    network = timm_format.with_classifier(source, plain)
    own = network.get_classifier()
    classifier = next(name for name, module in network.named_modules() if module is own)
    _save_adapter(source, network, "", folder, [classifier], None)
    return code(
        "import json",
        "",
        "import timm",
        "from peft import PeftModel",
        "from PIL import Image, ImageOps",
        "",
        f'network = timm.create_model("local-dir:{BASE}", pretrained=True)',
        f"network.reset_classifier({source.head.out_features})",
        'model = PeftModel.from_pretrained(network, ".").eval()',
        "data = timm.data.resolve_data_config(model=network)",
        "transform = timm.data.create_transform(**data, is_training=False)",
        timm_format.open_image(source),
        "logits = model(transform(image).unsqueeze(0))",
        *labels.decoding(
            source, f'label = json.load(open("{labels.FILE}"))["{source.task.name}"][logits.argmax().item()]'
        ),
    )


def _write_stock(source: Source, plain: Any, folder: Path) -> str:
    model = transformers_format.classifier(source, plain)
    stock = transformers_format.STOCKS[plain.config.model_type]
    if stock.activation == "linear":
        plain.config.pooler_hidden_act = "linear"
        plain.config.save_pretrained(folder / BASE)
    _save_adapter(source, model, f"{model.base_model_prefix}.", folder, [stock.dense, stock.output], "SEQ_CLS")
    lines = code(
        "from peft import PeftModel",
        "from transformers import AutoModelForSequenceClassification, AutoTokenizer",
        "",
        encoder.USAGE_TEXTS,
        'tokenizer = AutoTokenizer.from_pretrained(".")',
        f'network = AutoModelForSequenceClassification.from_pretrained("{BASE}")  # its new classifier is replaced',
        'model = PeftModel.from_pretrained(network, ".").eval()',
        'batch = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")',
        "logits = model(**batch).logits",
        *labels.decoding(source, "labels = [network.config.id2label[i] for i in logits.argmax(-1).tolist()]"),
    )
    return f"{lines}\n\n{transformers_format.note(source)}"


def _write_encoder(source: Source, plain: Any, folder: Path) -> str:
    save_file({name: tensor.detach().clone() for name, tensor in source.head.state_dict().items()}, folder / HEAD)
    _save_adapter(source, plain, "", folder, None, "FEATURE_EXTRACTION")
    return code(
        "import torch",
        "from peft import PeftModel",
        "from safetensors.torch import load_file",
        "from transformers import AutoModel, AutoTokenizer",
        "",
        encoder.USAGE_TEXTS,
        'tokenizer = AutoTokenizer.from_pretrained(".")',
        f'network = AutoModel.from_pretrained("{BASE}")',
        'model = PeftModel.from_pretrained(network, ".").eval()',
        f'head = load_file("{HEAD}")',
        'batch = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")',
        'tokens, mask = model(**batch).last_hidden_state, batch["attention_mask"].unsqueeze(-1)',
        _POOL[source.pooling],
        'logits = pooled @ head["weight"].T + head["bias"]',
        *labels.decoding(source, "labels = [network.config.id2label[i] for i in logits.argmax(-1).tolist()]"),
    )


def _save_adapter(
    source: Source, base: nn.Module, prefix: str, folder: Path, heads: list[str] | None, kind: str | None
) -> None:
    """Puts the run's tuner around `base`, whose layers are named as the run's behind `prefix`, and saves it."""
    backbone = source.run.model.backbone
    config: Any = copy.deepcopy(backbone.peft_config["default"])  # type: ignore[index]
    trained: nn.Module = backbone.get_submodule("network")
    if heads and not hasattr(config, "modules_to_save"):
        kind_name = config.peft_type.value.lower()
        raise ConfigError(f"peft's {kind_name} saves no head beside it; --format safetensors holds the whole model")
    config.target_modules = {prefix + name for name in adapted(trained)}
    if hasattr(config, "feedforward_modules"):
        config.feedforward_modules = {prefix + n.removeprefix("network.") for n in config.feedforward_modules}
    config.modules_to_save, config.task_type = heads, kind
    own_base = isinstance(getattr(config, "init_lora_weights", True), str)
    if own_base:  # PiSSA and its like have changed the base, which is saved as it is now
        config.init_lora_weights = True
    if hasattr(config, "total_step"):
        config.rank_pattern = {}  # the singular values that were taken away are saved as zeros
    with encoder.quiet():
        model: Any = peft.get_peft_model(cast(Any, base), config)  # any module will do
    state = {f"base_model.model.{prefix}{n}": tensor for n, tensor in trained.state_dict().items()}
    unknown = model.load_state_dict(state, strict=False).unexpected_keys
    assert not unknown, f"the adapters have no place in the base: {unknown}"
    given = source.run.config["backbone"]
    hub = given["weights"] == "hub" and not own_base
    config.base_model_name_or_path = str(given.get("model")) if hub else f"./{BASE}"
    model.save_pretrained(folder, save_embedding_layers=False)  # to decide it by itself, peft asks the hub


def _base(source: Source, folder: Path) -> Any:
    """The base as the model card loads it."""
    if source.run.config["backbone"]["name"] == "timm":
        network: Any = timm.create_model(f"local-dir:{folder / BASE}", pretrained=True)
        network.reset_classifier(source.head.out_features)
        return network
    if transformers_format.obstacle(source):
        return transformers.AutoModel.from_pretrained(folder / BASE)
    return transformers.AutoModelForSequenceClassification.from_pretrained(folder / BASE)


def _image_logits(source: Source, folder: Path, model: Any) -> Tensor:
    base = model.get_base_model() if isinstance(model, peft.PeftModel) else model
    logits: Tensor = model(timm_format.normalised(source, base))
    return logits


def _text_logits(source: Source, folder: Path, model: Any) -> Tensor:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(list(TEXTS), padding=True, truncation=True, return_tensors="pt")
    out = model(**batch)
    if not (folder / HEAD).exists():
        logits: Tensor = out.logits
        return logits
    head = load_file(folder / HEAD)
    return nn.functional.linear(
        _pooled(source, out.last_hidden_state, batch["attention_mask"]), head["weight"], head["bias"]
    )


def _pooled(source: Source, tokens: Tensor, mask: Tensor) -> Tensor:
    if source.pooling == "last":
        return tokens[torch.arange(len(tokens)), mask.sum(1) - 1]
    return pool(Features(tokens, tokens[:, 0], mask.bool()), source.pooling).pooled
