"""What the formats for text models share: network, tokenizer and configuration with label names."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tlresearch.export.source import Source

USAGE_TEXTS = 'texts = ["The parcel has not arrived.", "Thank you, all is well now."]'


def network(source: Source) -> Any:
    """The encoder of transformers inside the backbone, adapters merged."""
    return source.model.backbone.network


def half_obstacle(source: Source) -> str:
    """Why the encoder of an encoder-decoder network (T5) is not written: transformers does not save it alone."""
    half = type(network(source).config)().is_encoder_decoder
    return "it holds whole networks, not the encoder of an encoder-decoder" if half else ""


def save(source: Source, network: Any, folder: Path) -> None:
    """Network, configuration with label names, and tokenizer, as transformers saves them."""
    network.config = named_config(source)
    with quiet():
        network.save_pretrained(folder)
    save_tokenizer(source, folder)


def save_tokenizer(source: Source, folder: Path) -> None:
    """The tokenizer as the run used it: it cuts off at the backbone's `max_length` and pads no further than asked."""
    backbone: Any = source.model.backbone
    tokenizer = copy.deepcopy(backbone.tokenizer)
    tokenizer.model_max_length = backbone.max_length
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.save_pretrained(folder)


def named_config(source: Source) -> Any:
    """A copy of the network's configuration that knows the label names of the first task.

    Of a regression the one output has the name of the task.
    """
    config, labels = copy.deepcopy(network(source).config), source.task.labels or (source.task.name,)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: i for i, label in enumerate(labels)}
    config.problem_type = "single_label_classification" if source.task.labels else "regression"
    return config


@contextmanager
def quiet() -> Iterator[None]:
    """Without the library's bars, its report on tensors that are loaded later and its warnings about its own code."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
