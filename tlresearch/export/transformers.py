"""Stock sequence classifiers of transformers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from torch import Tensor, nn

from tlresearch.export import encoder, labels
from tlresearch.export.card import code
from tlresearch.export.source import TEXTS, Source, one_linear_head

REQUIRES: tuple[str, ...] = ()

SCALE = 2.0**-16
"""ε of tanh(ε x) / ε = x − ε² x³ / 3 + …: below float32's rounding for |x| < 27; as a power of two it adds none."""

MARGIN = 8.0
"""Above it GELU is the identity in float32."""


class Stock(NamedTuple):
    """dense: the layer between the first token and the classifier; output: the classifier; activation: between them."""

    dense: str
    output: str
    activation: str


_ROBERTA = Stock("classifier.dense", "classifier.out_proj", "tanh")
_DEBERTA = Stock("pooler.dense", "classifier", "linear")
STOCKS = {
    "albert": Stock("albert.pooler", "classifier", "tanh"),
    "bert": Stock("bert.pooler.dense", "classifier", "tanh"),
    "camembert": _ROBERTA,
    "deberta": _DEBERTA,
    "deberta-v2": _DEBERTA,
    "distilbert": Stock("pre_classifier", "classifier", "relu"),
    "electra": Stock("classifier.dense", "classifier.out_proj", "gelu"),
    "mpnet": _ROBERTA,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
}
"""model_type of a configuration → how its stock classifier is built."""


def obstacle(source: Source) -> str:
    """Stock classes read the first token; of other families none is known that computes the same function."""
    found = one_linear_head(source, "transformers")
    if found:
        return found
    if source.pooling == "last":
        return "the stock classifiers of decoders have no bias and this head has one"
    if source.pooling != "cls":
        return f"its stock classifiers read the first token and this model pools by {source.pooling!r}"
    family = encoder.network(source).config.model_type
    known = ", ".join(STOCKS)
    return (
        ""
        if family in STOCKS
        else f"no stock classifier of {family!r} computes CLS and a linear head, those of {known} do"
    )


def write(source: Source, folder: Path) -> str:
    """Saves the stock classifier with its tokenizer."""
    with encoder.quiet():
        classifier(source, encoder.network(source)).save_pretrained(folder)
    encoder.save_tokenizer(source, folder)
    lines = code(
        "from transformers import AutoModelForSequenceClassification, AutoTokenizer",
        "",
        encoder.USAGE_TEXTS,
        'tokenizer = AutoTokenizer.from_pretrained(".")',
        'model = AutoModelForSequenceClassification.from_pretrained(".").eval()',
        'batch = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")',
        "logits = model(**batch).logits",
        *labels.decoding(source, "labels = [model.config.id2label[i] for i in logits.argmax(-1).tolist()]"),
    )
    return f"{lines}\n\n{note(source)}"


def reload(source: Source, folder: Path) -> dict[str, Tensor]:
    """By AutoTokenizer and AutoModelForSequenceClassification."""
    with encoder.quiet():
        model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(list(TEXTS), padding=True, truncation=True, return_tensors="pt")
    return {source.task.name: model(**batch).logits}


def classifier(source: Source, network: Any) -> Any:
    """The stock classifier around `network`, in which the layer between first token and classifier does nothing.

    tanh is passed in its linear range: dense = ε I and W / ε. ReLU and GELU are passed where they are the identity:
    dense = I with a bias b that is taken off again, c − W b; b exceeds what a LayerNorm of D features can give,
    max(|γ| √D + |β|). DeBERTa's activation is an option and set to none.
    """
    config, stock = encoder.named_config(source), STOCKS[network.config.model_type]
    if stock.activation == "linear":
        config.pooler_hidden_act = "linear"
    model: Any = transformers.AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    getattr(model, model.base_model_prefix).load_state_dict(network.state_dict(), strict=False)
    scale = SCALE if stock.activation == "tanh" else 1.0
    shift = {"relu": 0.0, "gelu": MARGIN}.get(stock.activation)
    shift = 0.0 if shift is None else shift + bound(network)
    dense, output = model.get_submodule(stock.dense), model.get_submodule(stock.output)
    weight, bias = source.head.weight.double(), source.head.bias.double()
    with torch.no_grad():
        dense.weight.copy_(scale * torch.eye(len(dense.weight)))
        dense.bias.fill_(shift)
        output.weight.copy_(weight / scale)
        output.bias.copy_(bias - shift * weight.sum(1))
    return model.eval()


def bound(network: nn.Module) -> float:
    """The greatest absolute value that the network's last LayerNorm can give, as the next power of two."""
    norm = [module for module in network.modules() if isinstance(module, nn.LayerNorm)][-1]
    most = (norm.weight.abs() * math.sqrt(len(norm.weight)) + norm.bias.abs()).max().item()
    return float(2.0 ** math.ceil(math.log2(most)))


def note(source: Source) -> str:
    """What to know before training goes on from the stock classifier."""
    stock = STOCKS[encoder.network(source).config.model_type]
    if stock.activation == "linear":
        return f"The layer `{stock.dense}` is the identity and its activation is switched off (`pooler_hidden_act`)."
    how, types = "shifted by a large bias", "float32, not in shorter types"
    if stock.activation == "tanh":
        how, types = f"scaled by 2^{int(math.log2(SCALE))}", "float32 and bfloat16, not in float16"
    return (
        f"The head was trained on the first token itself. The layer `{stock.dense}`, which this class puts between, is "
        f"the identity {how}, so that its {stock.activation} does nothing, and `{stock.output}` undoes it. That is "
        f"exact enough in {types}. Training that goes on from here starts ill-conditioned: "
        f"initialise `{stock.dense}` and `{stock.output}` anew for it."
    )
