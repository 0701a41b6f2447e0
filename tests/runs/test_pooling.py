"""head.pooling that learns, through the real command: trained, cached as tokens, rebuilt, refused where it must be."""

import csv

import pytest
import torch

pytestmark = pytest.mark.usefixtures("forgotten")


@pytest.fixture
def texts(folder, tiny_bert_folder):
    with open(folder / "mails.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["text", "label"])
        table.writerows([f"{['good', 'bad'][i % 2]} film {'very ' * (i % 5)}", "ab"[i % 2]] for i in range(40))
    model = ("backbone=transformers", f"backbone.weights=path:{tiny_bert_folder}", "method=[probe]")
    return (*model, "dataset=text_file", "dataset.path=mails.csv", "epochs=3", "batch_size=8")


@pytest.mark.parametrize("how", ["attention", "gem"])
def test_it_trains_from_cached_tokens_as_from_texts_and_comes_back(train, texts, tensors, how):
    chosen = (*texts, f"head.pooling={how}")
    plain = train(*chosen, "cache.features=never").run
    cached = train(*chosen, "cache.features=always", "store=other").run
    assert cached.record["features"]["used"] and not cached.record["features"]["pooled"]
    assert cached.record["features"]["blocks"] == 2
    found, expected = tensors(cached), tensors(plain)
    (name,) = (n for n in found if ".pooling." in n)
    assert not torch.equal(found[name], torch.zeros(32) if how == "attention" else torch.tensor(3.0)), "it never moved"
    for key, tensor in expected.items():
        torch.testing.assert_close(found[key], tensor, atol=1e-4, rtol=1e-4)
    task = plain.spec.tasks[0].name
    assert torch.equal(plain.model.get_parameter(name), expected[name]) and plain.model.pooling == {task: how}


def test_a_closed_form_cannot_train_it(train, texts):
    result = train(*texts, "head=ridge", "head.pooling=attention")
    assert result.code == 2 and "head.pooling: 'attention'" in result.err and "closed form" in result.err


@pytest.mark.parametrize("head", ["ridge", "lda", "logistic", "knn", "cosine", "bn_linear"])
def test_a_run_of_every_head_can_be_loaded_and_exported(train, texts, head, folder):
    from tlresearch.commands.main import main

    run = train(*texts, f"head={head}", "store=heads").run
    rows, model = run.stream.stages[0].test, run.model
    with torch.no_grad():
        batch = model.backbone.collate([model.backbone.preprocess("test")(rows[i]) for i in range(len(rows))])
        x, before = batch.x, model(batch.x).logits
    (task,) = before
    right = model.head(task).predict(before[task], None) == batch.y[task]
    assert run.metrics["test"]["accuracy"] == pytest.approx(right.float().mean().item()), "not what was reported"
    assert main(["export", str(run.folder), str(folder / "out"), "--format", "safetensors"]) == 0
    from tlresearch import Run

    after = Run.load(folder / "out").model.eval()(x).logits
    torch.testing.assert_close(after[task], before[task])
