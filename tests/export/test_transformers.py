"""Exports as stock classifiers of transformers, read back by transformers alone in another process."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

from tlresearch.export import transformers as transformers_format
from tlresearch.export.write import export

CARD_TEXTS = ["The parcel has not arrived.", "Thank you, all is well now."]
LOGITS = "answer = {'logits': logits.tolist(), 'labels': labels}"


def test_cls_and_a_linear_head_survive_another_process_and_seed(text_run, exported, elsewhere, text_logits):
    run = text_run()
    answer = elsewhere(exported(run, "transformers"), LOGITS)
    expected = text_logits(run)
    torch.testing.assert_close(torch.tensor(answer["logits"]), expected, rtol=0, atol=1e-4)
    assert answer["labels"] == [run.spec.tasks[0].labels[i] for i in expected.argmax(-1)]


SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 130,
    "pad_token_id": 0,
}


@pytest.fixture
def member(tiny_bert_folder, tmp_path):
    """member("roberta") → the folder of a tiny random network of that family, with the tiny BERT's tokenizer."""

    def make(family, **options):
        folder = tmp_path / family
        tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_bert_folder)
        tokenizer.model_input_names = ["input_ids", "attention_mask"]
        tokenizer.save_pretrained(folder)
        config = transformers.AutoConfig.for_model(family, vocab_size=len(tokenizer), **options)
        with torch.random.fork_rng():
            torch.manual_seed(1)
            transformers.AutoModel.from_config(config).save_pretrained(folder)
        return folder

    return make


DISTIL = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64, "max_position_embeddings": 130, "pad_token_id": 0}
FAMILIES = {
    "albert": {**SMALL, "embedding_size": 16},
    "camembert": SMALL,
    "deberta": {**SMALL, "relative_attention": True, "pos_att_type": ["c2p", "p2c"], "type_vocab_size": 0},
    "deberta-v2": {**SMALL, "relative_attention": True, "position_buckets": 8, "pos_att_type": ["c2p", "p2c"]},
    "distilbert": DISTIL,
    "electra": {**SMALL, "embedding_size": 16},
    "mpnet": SMALL,
    "roberta": SMALL,
    "xlm-roberta": SMALL,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_stock_class_of_every_known_family_computes_the_same(family, member, text_run, exported, text_logits):
    run = text_run("method=[probe]", model=member(family, **FAMILIES[family]))
    folder = exported(run, "transformers")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    assert model.config.id2label == dict(enumerate(run.spec.tasks[0].labels))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(CARD_TEXTS, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(model(**batch).logits, text_logits(run), rtol=0, atol=1e-4)
    assert set(FAMILIES) | {"bert"} == set(transformers_format.STOCKS)


def test_merged_lora_is_the_unmerged_one(text_run, exported, text_logits):
    run = text_run("method=[lora]")
    folder = exported(run, "transformers")
    names = transformers.AutoModelForSequenceClassification.from_pretrained(folder).state_dict()
    assert not any("lora" in name for name in names)
    model = transformers.pipeline("text-classification", model=str(folder), top_k=None, function_to_apply="none")
    found = [{row["label"]: row["score"] for row in rows} for rows in model(CARD_TEXTS, truncation=True)]
    labels = run.spec.tasks[0].labels
    torch.testing.assert_close(
        torch.tensor([[row[label] for label in labels] for row in found]), text_logits(run), rtol=0, atol=1e-4
    )


def test_the_loaded_run_is_not_changed(text_run, tmp_path):
    run = text_run("method=[lora]")
    before = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    state = torch.get_rng_state()
    export(run, tmp_path / "out", "transformers")
    after = run.model.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[n], after[n]) for n in before)
    assert torch.equal(state, torch.get_rng_state())


def test_the_bound_is_what_a_layer_norm_can_reach():
    """γ √(D − 1) + β for an input that is zero but in one place (the variance's ε apart)."""
    norm = torch.nn.LayerNorm(8)
    torch.nn.init.constant_(norm.weight, 3.0)
    torch.nn.init.constant_(norm.bias, 0.5)
    extreme = norm(torch.tensor([1e4, 0, 0, 0, 0, 0, 0, 0])).max().item()
    assert extreme == pytest.approx(3 * 7**0.5 + 0.5, rel=1e-4)
    assert extreme <= transformers_format.bound(torch.nn.Sequential(norm)) == 16.0


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_other_poolings_become_the_sentence_transformers_form_aloud(pooling, text_run, command, tmp_path):
    run = text_run(f"head.pooling={pooling}")
    code, out, err = command("export", str(run.folder), str(tmp_path / "out"), "--format", "transformers")
    assert code == 0
    assert f"its stock classifiers read the first token and this model pools by '{pooling}'" in err
    assert "onnx and safetensors" in err and "written as sentence-transformers instead" in err
    assert "format=sentence-transformers" in out
    assert (tmp_path / "out" / "modules.json").is_file()


def test_a_family_without_a_fitting_class_is_named(member, text_run, command, tmp_path):
    run = text_run(model=member("modernbert", **SMALL, cls_token_id=2, sep_token_id=3, bos_token_id=2, eos_token_id=3))
    _, out, err = command("export", str(run.folder), str(tmp_path / "out"), "--format", "transformers")
    assert "no stock classifier of 'modernbert'" in err and "format=sentence-transformers" in out


def test_another_head_is_refused(text_run, command, tmp_path):
    run = text_run("head=mlp")
    code, _, err = command("export", str(run.folder), str(tmp_path / "out"), "--format", "transformers")
    assert code == 2 and err.startswith(
        "error: --format: 'transformers': it holds a linear head and this run has 'mlp'"
    )
    assert "safetensors, onnx" in err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_answers_otherwise_is_refused_and_removed(text_run, command, tmp_path, monkeypatch):
    """tanh is far from linear at this scale."""
    monkeypatch.setattr(transformers_format, "SCALE", 0.5)
    run = text_run()
    code, _, err = command("export", str(run.folder), str(tmp_path / "new" / "out"), "--format", "transformers")
    assert code == 2 and "would change the logits of 'label'" in err
    assert not (tmp_path / "new").exists() and not list(tmp_path.glob(".*"))


def test_several_tasks_are_refused(train, command, tmp_path, tiny_bert_folder, monkeypatch):
    monkeypatch.setenv("TLRESEARCH_PLUGINS", str(Path(__file__).parents[1] / "contract" / "fixtures" / "toys.py"))
    network = ("backbone=transformers", f"backbone.weights=path:{tiny_bert_folder}", "backbone.max_length=16")
    run = train("dataset=contract_texts", "dataset.tasks=2", *network)
    code, _, err = command("export", str(run.folder), str(tmp_path / "out"), "--format", "transformers")
    assert code == 2 and "holds one task and this run has shape, shade" in err and "safetensors, onnx" in err
