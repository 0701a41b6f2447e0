"""A regression in the formats of other libraries: its numbers, in the unit of the target."""

from __future__ import annotations

import json

import pytest
import torch

DATA = ("dataset.path=prices.jsonl", "dataset.label_column=price", "dataset.kind=regression")
VALUES = "answer = {'values': values}"


@pytest.fixture
def number_run(text_run, folder):
    """number_run("method=[lora]") → a run on prices around 40,000."""
    words = ["good film", "bad plot", "very dull", "the film was fine", "not good at all", "a fine plot"] * 4
    rows = [{"text": text, "price": 40000 + 900 * len(text) + i} for i, text in enumerate(words)]
    (folder / "prices.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return lambda *overrides: text_run(*DATA, *overrides)


@pytest.mark.parametrize(
    ("name", "pooling", "where"),
    [("transformers", "cls", "here"), ("sentence-transformers", "mean", "here"), ("onnx", "mean", "here")],
)
def test_other_libraries_give_the_run_s_numbers(name, pooling, where, number_run, exported, text_logits, request):
    run = number_run(f"head.pooling={pooling}")
    folder = exported(run, name)
    answer = request.getfixturevalue(where)(folder, VALUES)
    expected = text_logits(run)[:, 0]
    assert (expected > 10000).all(), "in the target's unit"
    torch.testing.assert_close(torch.tensor(answer["values"]), expected, rtol=1e-5, atol=0)
    card = (folder / "README.md").read_text()
    assert "- head of `price`: linear, a number in the unit of its training target" in card and "test.rmse" in card


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_adapters_with_the_head_that_computes_the_number(pooling, number_run, exported, text_logits, here):
    run = number_run("method=[lora]", f"head.pooling={pooling}")
    answer = here(exported(run, "peft"), VALUES)
    torch.testing.assert_close(torch.tensor(answer["values"]), text_logits(run)[:, 0], rtol=1e-5, atol=0)


def test_transformers_knows_that_it_is_a_regression(number_run, exported):
    from transformers import AutoModelForSequenceClassification

    folder = exported(number_run("head.pooling=cls"), "transformers")
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    assert model.config.problem_type == "regression" and model.config.id2label == {0: "price"}
    tokens = torch.tensor([[2, 7, 3]])
    out = model(input_ids=tokens, labels=torch.tensor([40000.0]))
    assert out.loss.item() == pytest.approx((out.logits.item() - 40000) ** 2, rel=1e-4), (
        "its own loss is the squared error"
    )


def test_a_folder_that_stands_alone(number_run, exported, text_logits):
    from tlresearch import Run

    run = number_run("head=mlp")
    folder = exported(run, "safetensors")
    assert torch.equal(text_logits(Run.load(folder)), text_logits(run))
    assert json.loads((folder / "labels.json").read_text()) == {"price": []}
