"""Which parameters are biases, by peft's own rule."""

import pytest
from torch import nn

from tlresearch.config.errors import ConfigError
from tlresearch.core.types import Spec
from tlresearch.methods.bitfit import BitFit


def test_bitfit_moves_what_peft_calls_biases(bert, moving):
    from peft import LoraConfig, get_peft_model

    found = moving(bert, BitFit())
    wrapped = get_peft_model(nn.Sequential(bert.backbone), LoraConfig(target_modules=["query"], bias="all"))
    peer = {id(p) for name, p in wrapped.named_parameters() if p.requires_grad and "lora_" not in name}
    assert {id(p) for name, p in bert.backbone.named_parameters() if name.replace(".base_layer", "") in found} == peer
    assert len(peer) == 2 * 8 + 1, "six projections and two norms a layer, and the embeddings' norm"


def test_bitfit_of_the_papers_smaller_set(bert, moving):
    found = moving(bert, BitFit(targets="query|intermediate"))
    assert {name.split("layer.")[1] for name in found} == {
        f"{i}.{part}.bias" for i in (0, 1) for part in ("attention.self.query", "intermediate.dense")
    }


def test_what_is_not_there_is_refused(bert, plain):
    with pytest.raises(ConfigError, match="this backbone has no bias"):
        BitFit().setup(plain, Spec("vector", (2,), ()))
    with pytest.raises(ConfigError, match="targets: 'kwery': matches no bias of the backbone"):
        BitFit(targets="kwery").setup(bert, Spec("text", None, ()))
    with pytest.raises(ConfigError, match=r"targets: '\(': is no regular expression"):
        BitFit(targets="(").setup(bert, Spec("text", None, ()))
