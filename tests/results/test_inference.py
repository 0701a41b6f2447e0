"""Answers to new inputs against those that the run saved for its own test rows, and against SciPy's softmax."""

import csv
from itertools import count

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from scipy.special import softmax
from sklearn.datasets import load_digits

import tlresearch
from tlresearch.config.errors import ConfigError
from tlresearch.core.types import Spec, Task
from tlresearch.results.inference import choose_device, predict
from tlresearch.results.inputs import Input

QUICK = ["backbone=mlp", "steps=3", "progress=false", "accelerator=cpu", "tracker=[]"]
SPLIT = ["dataset=split", "dataset.stages=5"]
CPU = torch.device("cpu")
TASK = Task("label", "classification", ("a", "b", "c"))


@pytest.fixture
def train(tmp_path, monkeypatch):
    """train("dataset=support") → the run, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return lambda *overrides: tlresearch.run([*QUICK, *overrides])


@pytest.fixture
def digits(tmp_path):
    """The path of digit i as a picture."""

    def path(i):
        file = tmp_path / f"digit {i} ü.png"
        Image.fromarray((load_digits().images[i] * 255 / 16).round().astype(np.uint8)).save(file)
        return file

    return path


def saved(run):
    """task → (logits, index) of the run's own test rows, as its file has them."""
    tensors = load_file(run.folder / "logits.safetensors")
    found = {name.split("/")[1]: name.rpartition("/")[0] for name in tensors}
    return {task: (tensors[f"{prefix}/logits"], tensors[f"{prefix}/index"]) for task, prefix in found.items()}


def close(answers, logits, tolerance=1e-5):
    (task,) = answers[0].logits
    torch.testing.assert_close(torch.stack([a.logits[task] for a in answers]), logits, atol=tolerance, rtol=0)


@pytest.mark.parametrize("overrides", [[], ["head=prototype", "method=[probe]"], ["backbone=convnet"]])
def test_pictures_get_the_logits_that_the_run_saved(train, digits, overrides):
    run = train(*overrides)
    logits, index = saved(run)["digit"]
    files = [digits(i) for i in index[:9].tolist()]
    for size in (1, 4, 64):
        answers = list(run.predict([str(file) for file in files], batch_size=size))
        close(answers, logits[:9])
        assert [a.labels["digit"] for a in answers] == [str(i) for i in logits[:9].argmax(1).tolist()]
    shares = [[a.probabilities["digit"][str(c)] for c in range(10)] for a in answers]
    np.testing.assert_allclose(shares, softmax(logits[:9].numpy(), axis=1), atol=1e-5)
    assert list(answers[0].probabilities["digit"].values()) == sorted(shares[0], reverse=True)


def test_texts_get_the_logits_that_the_run_saved(train, tmp_path, tiny_bert_folder):
    texts = ["the film is good", "bad", "", "very very dull plot was not fine , the film was bad ."]
    for name, part in (("train", texts * 5), ("test", texts)):
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("text", "mood"), *((text, i % 2) for i, text in enumerate(part))])
    files = [
        f"dataset.path={tmp_path}/train.csv",
        f"dataset.test_path={tmp_path}/test.csv",
        "dataset.label_column=mood",
    ]
    run = train("dataset=text_file", *files, "backbone=transformers", f"backbone.weights=path:{tiny_bert_folder}")
    (tmp_path / "train.csv").unlink()
    logits, _ = saved(run)["mood"]
    for size in (1, 64):
        close(list(run.predict(iter(texts), batch_size=size)), logits)


def test_every_task_is_answered(train, digits):
    run = train(*SPLIT, "dataset.scenario=task_incremental")
    (answer,) = run.predict([digits(0)])
    for task, (logits, index) in saved(run).items():
        (again,) = run.predict([digits(int(index[0]))])
        torch.testing.assert_close(again.logits[task], logits[0], atol=1e-5, rtol=0)
    assert len(answer.probabilities) == 5 and answer.probabilities.keys() == saved(run).keys()
    assert all(len(found) == 2 and sum(found.values()) == pytest.approx(1) for found in answer.probabilities.values())


def ask(model, inputs, task=TASK, **options):
    model.backbone.preprocess = lambda split: lambda row: {**row, "input": torch.as_tensor(row["input"])}
    given = {"batch_size": 2, "device": CPU, "on_error": "stop", **options}
    return predict(model, Spec("vector", (4,), (task,)), inputs, **given)


def vectors(n):
    return [Input(f"row {i}", values) for i, values in enumerate(torch.randn(n, 4).tolist())]


def test_what_the_head_decodes_comes_first_and_the_others_fall(small_model):
    model = small_model()
    model.head("label").predict = lambda logits, mask: logits.argmin(1)
    for answer in ask(model, vectors(5)):
        low, high, middle = answer.probabilities["label"].items()
        assert low[1] < middle[1] < high[1]
        assert answer.labels["label"] == "abc"[int(answer.logits["label"].argmin())] == low[0]


def test_a_class_never_seen_has_no_chance(small_model):
    model = small_model()
    model.head("label").forward = lambda features: torch.tensor([[-1e4, torch.finfo(torch.float32).min, -1e4 - 2.0]])
    (answer,) = ask(model, vectors(1))
    assert answer.probabilities["label"] == pytest.approx({"a": 1 / (1 + np.exp(-2)), "b": 0, "c": 1 / (1 + np.exp(2))})


def test_only_some_batches_are_in_memory(small_model):
    taken = []
    endless = (taken.append(i) or Input(f"row {i}", [float(i)] * 4) for i in count())
    answers = ask(small_model(), endless)
    names = [next(answers).input.name for _ in range(7)]
    assert names == [f"row {i}" for i in range(7)]
    assert len(taken) <= 7 + 3 * 2


def test_an_image_that_cannot_be_read(train, digits, tmp_path):
    run = train()
    (tmp_path / "broken.png").write_bytes(digits(1).read_bytes()[:60])
    files = [digits(0), tmp_path / "broken.png", tmp_path / "nowhere.png", digits(2)]
    whole = [a.logits["digit"] for a in run.predict([files[0], files[3]])]
    first, broken, absent, last = run.predict(files, batch_size=3, on_error="skip")
    torch.testing.assert_close([first.logits["digit"], last.logits["digit"]], whole)
    assert "broken.png" in broken.error and broken.labels == {} and "nowhere.png" in absent.error
    assert all(a.error for a in run.predict(files[1:3], on_error="skip"))
    with pytest.raises(ConfigError, match=r"broken\.png.*on-error skip"):
        list(run.predict(files))


def test_any_other_input_that_cannot_be_read_is_named(small_model):
    ragged = Input("row 1", [[1.0, 2.0], [3.0]])
    good, bad = ask(small_model(), [*vectors(1), ragged], on_error="skip")
    assert good.labels and bad.error.startswith("row 1 cannot be read: expected sequence")


def test_what_is_refused(small_model, train, monkeypatch):
    with pytest.raises(ConfigError, match="'tagging'"):
        ask(small_model(), [], Task("label", "tagging", ("a",)))
    with pytest.raises(ConfigError, match="batch_size"):
        ask(small_model(), [], batch_size=0)
    with pytest.raises(ConfigError, match="did you mean 'skip'"):
        ask(small_model(), [], on_error="skpi")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="allowed here: auto, cpu"):
        choose_device("cuda")
    with pytest.raises(ConfigError, match="predictor 'majority' answers without a model"):
        train("predictor=majority").predict([])
