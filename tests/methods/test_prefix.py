"""Prefixes against attention that is computed by hand with keys and values joined."""

import copy

import pytest
import torch
import transformers
from torch import nn

from tlresearch.config.build import build
from tlresearch.config.errors import ConfigError
from tlresearch.core.model import Model
from tlresearch.core.types import Clock, Spec
from tlresearch.methods.prefix import KeysAndValues, Prefix, Shape
from tlresearch.nn.prefix_attention import attend
from tlresearch.training.parameters import checkpoint_blocks, choose_trainable

CLOCK = Clock(0, 0, 0, 10, {})
TEXT = Spec("text", None, ())
X = {"input_ids": torch.arange(12).view(2, 6), "attention_mask": torch.tensor([[1] * 6, [1] * 4 + [0] * 2])}
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 40}
ENDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
T5 = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2, "vocab_size": 40}
FAMILIES = {
    "bert": transformers.BertConfig(**SMALL),
    "distilbert": transformers.DistilBertConfig(dim=32, n_layers=2, n_heads=2, hidden_dim=64, vocab_size=40),
    "albert": transformers.AlbertConfig(embedding_size=8, **SMALL),
    "modernbert": transformers.ModernBertConfig(**SMALL, **ENDS, cls_token_id=1, sep_token_id=2, local_attention=4),
    "t5": transformers.T5Config(**T5),
    "gpt2": transformers.GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=40, bos_token_id=1, eos_token_id=2),
    "llama": transformers.LlamaConfig(num_key_value_heads=1, **SMALL, **ENDS),
}


def bert(folder, **arguments):
    options = {"name": "transformers", "weights": f"path:{folder}", "arguments": arguments}
    return build("backbone", options, spec=TEXT).eval()


def prefixed(plain, **options):
    model, method = Model(copy.deepcopy(plain)), Prefix(**options)
    method.setup(model, TEXT)
    with torch.no_grad():
        for parameter in method.trainable(model, CLOCK):
            parameter.normal_()
    return model.backbone, method


def by_hand(query, key, value, seen, scale, bias=0.0):
    """softmax(Q Kᵀ s + b) V, row by row over what is seen."""
    scores = (query @ key.transpose(-1, -2)) * scale + bias
    return torch.softmax(scores.masked_fill(~seen, float("-inf")), -1) @ value


def test_attention_of_bert_by_hand(tiny_bert_folder):
    plain = bert(tiny_bert_folder)
    network, _ = prefixed(plain, length=3)
    layer, own = network.blocks()[1].attention.self, plain.blocks()[1].attention.self
    hidden = torch.randn(2, 6, 32)
    mask = X["attention_mask"].bool()[:, None, None]
    found = layer(hidden, attention_mask=mask)[0]
    query, key, value = (m(hidden).view(2, 6, 2, 16).transpose(1, 2) for m in (own.query, own.key, own.value))
    both = layer.prefix.embedding.view(3, 2, 32).transpose(0, 1).expand(2, -1, -1, -1)
    key, value = torch.cat([both[..., :16], key], 2), torch.cat([both[..., 16:], value], 2)
    seen = torch.cat([torch.ones(2, 1, 1, 3, dtype=torch.bool), mask], 3)
    expected = by_hand(query, key, value, seen, 16**-0.5).transpose(1, 2).reshape(2, 6, 32)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("masked", ["none", "boolean", "added"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_masks_and_positions(masked, causal, biased):
    """Grouped heads, keys wider than values; a mask that the network made, or torch's own causal one."""

    class Front(nn.Module): ...

    module = Front()
    module.num_key_value_groups, module.is_causal = 2, causal
    query, key, value = torch.randn(2, 4, 5, 8), torch.randn(2, 2, 5, 8), torch.randn(2, 2, 5, 8)
    seen = torch.ones(2, 1, 5, 5, dtype=torch.bool)
    seen = seen.tril() if causal else seen
    if masked != "none":
        seen[1, :, :, 3:] = False
    given = {"none": None, "boolean": seen, "added": torch.zeros(2, 1, 5, 5).masked_fill(~seen, -1e9)}[masked]
    bias = torch.randn(1, 4, 5, 5) if biased else None
    module.add_module("prefix", KeysAndValues(3, Shape(2, 8, 8), None))
    nn.init.normal_(module.prefix.embedding)
    found, _ = attend(module, query, key, value, given, scaling=0.3, position_bias=bias)
    front = [part.expand(2, -1, -1, -1) for part in module.prefix()]
    key, value = (torch.cat(pair, 2).repeat_interleave(2, 1) for pair in zip(front, (key, value), strict=True))
    seen = torch.cat([torch.ones(2, 1, 5, 3, dtype=torch.bool), seen], 3)
    added = 0.0 if bias is None else nn.functional.pad(bias, (3, 0))
    expected = by_hand(query, key, value, seen, 0.3, added).transpose(1, 2)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.fixture
def family(tiny_bert_folder, request):
    """A backbone with the network of a family in place of its own."""
    backbone, config = bert(tiny_bert_folder), copy.deepcopy(FAMILIES[request.param])
    config.use_cache = False
    network = transformers.AutoModel.from_config(config).eval()
    backbone.network = network.get_encoder() if config.is_encoder_decoder else network
    lists = [(n, m) for n, m in backbone.network.named_modules() if isinstance(m, nn.ModuleList)]
    backbone.layers = max(lists, key=lambda pair: len(pair[1]))[0]
    encode = backbone.tokenizer
    backbone.preprocess = lambda split: (
        lambda row: {
            **row,
            "input": {n: torch.tensor(encode(row["input"])[n]) for n in ("input_ids", "attention_mask")},
        }
    )
    return backbone


@pytest.mark.parametrize("family", FAMILIES, indirect=True)
@pytest.mark.parametrize("hidden", [None, 4])
def test_padding_changes_nothing_and_every_position_sees_the_prefix(family, hidden):
    plain = family
    network, method = prefixed(plain, length=2, hidden=hidden)
    found = network(X).tokens
    alone = network({n: part[1:, :4] for n, part in X.items()}).tokens
    torch.testing.assert_close(found[1:, :4], alone, atol=1e-4, rtol=1e-4)
    before = plain(X).tokens
    moved = (found - before).abs().amax(2)[X["attention_mask"].bool()]
    assert (moved > 1e-4).all(), "the first position of causal attention too"
    for parameter in method.trainable(None, CLOCK):
        assert parameter.grad is None
    network(X).tokens.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.trainable(None, CLOCK))


def test_other_networks_of_the_process_attend_as_before(tiny_bert_folder):
    plain = bert(tiny_bert_folder)
    before = plain(X).tokens
    prefixed(plain, length=2)
    assert plain.network.config._attn_implementation == "sdpa"
    assert torch.equal(plain(X).tokens, before)


def test_parameters_are_those_of_the_formula(tiny_bert_folder):
    plain = bert(tiny_bert_folder)
    for hidden, expected in ((None, 5 * 64), (7, 5 * 64 + 64 * 7 + 7 + 7 * 64 + 64)):
        network, method = prefixed(plain, length=5, hidden=hidden)
        assert sum(p.numel() for p in method.trainable(None, CLOCK)) == 2 * expected
        depths = network.depths()
        assert sorted({depths[n] for n in depths if ".prefix." in n}) == [1, 2]


def test_gradients_with_checkpointing_are_those_without(tiny_bert_folder):
    network, method = prefixed(bert(tiny_bert_folder), length=2)
    model, found = Model(network.train()), []
    choose_trainable(model, {"prefix": method}, CLOCK)
    for checkpointed in (False, True):
        if checkpointed:
            checkpoint_blocks(model)
        found.append(torch.autograd.grad(network(X).pooled.square().sum(), method.trainable(model, CLOCK)))
    for one, other in zip(*found, strict=True):
        assert one.abs().sum() > 0
        torch.testing.assert_close(one, other)


def test_what_it_refuses(small_model, tiny_bert_folder):
    with pytest.raises(ConfigError, match="MLP is no network of transformers; it takes those whose attention"):
        Prefix().setup(small_model(), Spec("vector", (4,), ()))
    with pytest.raises(ConfigError, match="BertModel computes attention as 'eager'"):
        Prefix().setup(Model(bert(tiny_bert_folder, attn_implementation="eager")), TEXT)
    for options in ({"length": 0}, {"hidden": 0}):
        with pytest.raises(ConfigError, match=f"{next(iter(options))}: 0: must be an integer of at least 1"):
            Prefix(**options)
