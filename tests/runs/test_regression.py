"""Numbers to predict, from a table through the real command: the length of a text, by a tiny BERT."""

import csv
import io
import json
import random
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn

from tlresearch import Run
from tlresearch.commands.main import main
from tlresearch.config.errors import ConfigError
from tlresearch.training.logits import read_logits

WORDS = ("good", "bad", "film", "plot", "the", "very", "not", "dull")


@pytest.fixture
def lengths(folder, tiny_bert_folder):
    """Overrides for 120 texts of 1 to 12 words that cost 1000 and 25 a word, from two shops."""
    draw = random.Random(0)
    with open(folder / "prices.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["body", "price", "shop"])
        for i in range(120):
            n = draw.randint(1, 12)
            table.writerow([" ".join(draw.choices(WORDS, k=n)), 1000 + 25 * n, "ab"[i % 2]])
    columns = ["dataset.text_column=body", "dataset.label_column=price", "dataset.domain_column=shop"]
    network = ["backbone=transformers", f"backbone.weights=path:{tiny_bert_folder}", "optimizer.lr=0.003"]
    data = ["dataset=text_file", "dataset.path=prices.csv", "dataset.kind=regression", *columns]
    return [*data, *network, "head.pooling=cls", "batch_size=16", "epochs=12"]


def test_a_regression_from_the_table_to_the_answers(train, lengths, history, capfd):
    run = train(*lengths).run
    test = run.metrics["test"]
    guess = run.record["data"]["description"]["targets"]["price"]["test"]["rmse_of_mean"]
    assert run.metric == "test.rmse" and run.value == test["rmse"] < guess / 2, "it has learnt the length"
    assert set(test) == {"rmse", "mae", "r2", "spearman", "loss", "rows"} and "class" not in run.metrics
    (answers,) = read_logits(run.folder, ["text_file"], ["price"])["price"]
    y, predicted = answers.y.double().numpy(), answers.logits[:, 0].double().numpy()
    assert test["rmse"] == pytest.approx(sklearn.root_mean_squared_error(y, predicted), rel=1e-6)
    assert test["r2"] == pytest.approx(sklearn.r2_score(y, predicted), rel=1e-6)
    assert test["spearman"] == pytest.approx(stats.spearmanr(y, predicted).statistic, rel=1e-5)
    numbers, rows = run.metrics["domain"], {name: part["rows"] for name, part in run.metrics["domain"].items()}
    pooled = sum(numbers[shop]["rmse"] ** 2 * rows[shop] for shop in "ab") / sum(rows.values())
    assert np.sqrt(pooled) == pytest.approx(test["rmse"], rel=1e-6)
    evaluated = [row["validation/rmse"] for row in history(run.folder) if "validation/rmse" in row]
    assert run.metrics["validation"]["rmse"] == min(evaluated) < evaluated[0], "the lowest is selected"

    model = Run.load(run.folder).model  # read again, with its mean and scale
    train_rows = run.stream.stages[0].train.labels["price"]
    kind = model.head("price").kind
    assert kind.mean.item() == pytest.approx(train_rows.mean().item(), rel=1e-6)
    assert kind.scale.item() == pytest.approx(train_rows.std(correction=0).item(), rel=1e-5)
    rows = run.stream.stages[0].test
    found = [answer.values["price"] for answer in run.predict([row["input"] for row in rows], accelerator="cpu")]
    order = np.argsort(rows.index.numpy())
    np.testing.assert_allclose(np.array(found)[order], predicted, rtol=1e-4)

    capfd.readouterr()
    assert main(["predict", str(run.folder), "prices.csv", "--format", "csv", "--accelerator", "cpu"]) == 0
    table = list(csv.DictReader(io.StringIO(capfd.readouterr().out)))
    assert list(table[0]) == ["input", "text", "price.value"] and len(table) == 120
    numbered = dict(zip(answers.index.tolist(), predicted.tolist(), strict=True))
    assert all(float(table[i]["price.value"]) == pytest.approx(value, rel=1e-4) for i, value in numbered.items())
    for option, key in ((["--top", "2"], "--top: 2"), (["--probabilities"], "--probabilities: True")):
        assert main(["predict", str(run.folder), "prices.csv", *option]) == 2
        assert f"{key}: is about labels and this run predicts numbers" in capfd.readouterr().err

    assert main(["report", str(run.folder)]) == 0
    told = capfd.readouterr().out
    assert "the 10 largest errors" in told and "predicted.png, predicted.svg, mistakes.jsonl" in told
    assert "f1" not in told and (run.folder / "predicted.png").stat().st_size > 0
    listed = [json.loads(line) for line in (run.folder / "mistakes.jsonl").read_text().splitlines()]
    assert [abs(row["error"]) for row in listed] == pytest.approx(sorted(np.abs(predicted - y), reverse=True))


def test_a_store_of_both_kinds_has_a_table_for_each(train, lengths, capfd):
    train(*lengths, "steps=1", "seed=1")
    train("backbone=mlp", "steps=1")
    capfd.readouterr()
    assert main(["report"]) == 0
    first, second = capfd.readouterr().out.split("\n\n")
    tables = {"test.rmse" in part: part for part in (first, second)}
    assert "test.accuracy" in tables[False] and "digits" in tables[False] and "text_file" in tables[True]
    assert main(["report", "--picture", "both"]) == 2
    assert "--picture: 'both': shows one metric and these runs have" in capfd.readouterr().err
    assert main(["report", "--picture", "one", "--metric", "test.rmse"]) == 0
    assert "one.png" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (["dataset.labels_per_class=5"], "dataset.labels_per_class: 5: must be null: task 'price' is a regression"),
        (["dataset.class_weights=balanced"], "dataset.class_weights: 'balanced': must be none: task 'price' is a"),
        (["head=prototype", "method=[probe]"], "head: 'prototype' serves classification; task 'price' is regression; "),
        (["predictor=majority"], "predictor: 'regression': the majority class needs a classification task"),
        (
            ["selection.metric=accuracy"],
            "selection.metric: 'accuracy': unknown; Allowed: loss, mae, r2, rmse, spearman",
        ),
        (["dataset.kind=regresion"], "dataset.kind: 'regresion': unknown; did you mean 'regression'?"),
        (["dataset.label_column=body", "dataset.text_column=price"], "dataset.label_column: 'body': holds '"),
    ],
)
def test_what_a_regression_cannot_have_is_refused(refused, lengths, override, message):
    assert refused(*lengths, *override).startswith(message)


def test_there_are_no_classes_to_cut_into_stages(refused, lengths):
    base = "{path:prices.csv,text_column:body,label_column:price,kind:regression}"
    split = ["dataset=split", "dataset.base=text_file", f"dataset.base_arguments={base}"]
    network = [option for option in lengths if not option.startswith("dataset")]
    message = refused(*split, "dataset.scenario=class_incremental", *network)
    assert message.startswith("dataset.base: 'text_file': its task 'price' is a regression, without classes to cut")


def test_a_model_of_numbers_needs_its_data_for_the_details_alone(train, lengths, folder):
    run = train(*lengths, "steps=2").run
    (folder / "prices.csv").unlink()
    again = Run.load(run.folder)
    assert next(again.predict(["good film"], accelerator="cpu")).values["price"] > 0
    with pytest.raises(ConfigError):
        again.stream  # noqa: B018


def test_a_regression_goes_on_in_a_pipeline(train, lengths):
    """Its head is carried on with its mean and scale; there is no accuracy to be measured after each run."""
    short = [*lengths, "steps=20"]
    result = train(f"pipeline={{pre:{json.dumps(short)},task:{json.dumps([*short, 'init_from=pre'])}}}", *short)
    assert result.code == 0, result.err
    first, last = (Run.load(Path(line.split()[0])) for line in result.out.splitlines() if "test.rmse=" in line)
    assert last.record["start"]["heads"] == ["price"]
    assert last.model.head("price").kind.mean.item() == first.model.head("price").kind.mean.item()
    assert "pipeline" not in last.metrics
