"""Encoder, pooling and linear head as a folder of sentence-transformers."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from torch import Tensor, nn

from tlresearch.export import encoder, labels
from tlresearch.export.card import code
from tlresearch.export.source import TEXTS, Source, one_linear_head

REQUIRES = ("sentence_transformers",)

_MODES = {"cls": "cls", "mean": "mean", "max": "max", "last": "lasttoken"}


def obstacle(source: Source) -> str:
    """Every encoder of transformers with a linear head, save those cut out of an encoder-decoder network."""
    found = one_linear_head(source, "transformers")
    return found or encoder.half_obstacle(source)


def write(source: Source, folder: Path) -> str:
    """Saves Transformer, Pooling and a Dense layer without activation, whose "embeddings" are the logits."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    head, parts = source.head, folder / "parts"
    output = Dense(head.in_features, head.out_features, activation_function=nn.Identity())
    output.linear.load_state_dict(head.state_dict())
    with encoder.quiet():
        encoder.save(source, encoder.network(source), parts)
        transformer = Transformer(str(parts), max_seq_length=source.model.backbone.max_length)
        modules = [transformer, Pooling(head.in_features, _MODES[source.pooling]), output]
        SentenceTransformer(modules=modules, device="cpu").save(str(folder), create_model_card=False)
    shutil.rmtree(parts)
    lines = code(
        "from sentence_transformers import SentenceTransformer",
        "",
        encoder.USAGE_TEXTS,
        'model = SentenceTransformer(".", device="cpu")',
        "logits = model.encode(texts, convert_to_tensor=True)",
        *labels.decoding(source, "labels = [model[0].model.config.id2label[i] for i in logits.argmax(-1).tolist()]"),
    )
    what = "logits, one number a label" if source.task.labels else "the predicted number"
    return f"{lines}\n\nThe vectors that `encode` returns are {what}; they are no sentence embeddings."


def reload(source: Source, folder: Path) -> dict[str, Tensor]:
    """By SentenceTransformer, from raw texts."""
    from sentence_transformers import SentenceTransformer

    with encoder.quiet():
        model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
        logits = model.encode(list(TEXTS), convert_to_tensor=True, show_progress_bar=False)
    assert isinstance(logits, torch.Tensor)
    return {source.task.name: logits.clone()}
