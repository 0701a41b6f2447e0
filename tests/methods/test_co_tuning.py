"""Co-Tuning: the relationship by counting and by Bayes' rule, and the term by hand."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tlresearch.config.errors import ConfigError
from tlresearch.core.types import IGNORE, Clock, Spec, Stage, Task
from tlresearch.methods.co_tuning import INVERSE_STRENGTHS, CoTuning, direct, reverse

CLOCK = Clock(0, 0, 0, 10, {})
TASK = Task("label", "classification", ("a", "b", "c"))
STAGE, SPEC = Stage("only", (TASK,), None, None, None), Spec("vector", (4,), (TASK,))


@pytest.fixture
def model(small_model):
    torch.manual_seed(1)
    model = small_model()
    model.backbone.__dict__["pretrained_head"] = nn.Linear(5, 6).requires_grad_(False)
    return model


def begun(model, train, validation, **options):
    method = CoTuning(**options)
    method.setup(model, SPEC)
    method.on_stage_start(model, STAGE, {"train": [train], "validation": [validation]}.__getitem__)
    return method


def test_direct_is_the_mean_answer_to_each_class():
    p = torch.tensor([[0.8, 0.2], [0.6, 0.4], [0.1, 0.9]], dtype=torch.float64)
    found = direct(p, torch.tensor([0, 0, 1]), 3)
    expected = torch.tensor([[0.7, 0.3], [0.1, 0.9], [0.5, 0.5]])  # of a class without rows nothing is known
    torch.testing.assert_close(found, expected)


def answers(count, seed):
    """p(s | x) over 4 source categories, of which each of 3 target classes prefers another."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % 3
    logits = rng.normal(size=(count, 4)) + 2.0 * np.eye(4)[y]
    return torch.from_numpy(np.exp(logits) / np.exp(logits).sum(1, keepdims=True)), torch.from_numpy(y)


def test_reverse_is_bayes_rule_as_in_the_authors_code():
    from sklearn.linear_model import LogisticRegression

    train, validation = answers(90, 0), answers(30, 1)
    p, y = (tensor.numpy() for tensor in train)
    accuracies = []
    for c in INVERSE_STRENGTHS:
        one = LogisticRegression(C=c, max_iter=2000).fit(p, y)
        right = (one.decision_function(validation[0].numpy()).argmax(1) == validation[1].numpy()).mean()
        accuracies.append((right, c, one))
    best = max(accuracies, key=lambda found: found[:2])[2]
    scores = np.exp(np.eye(4) @ best.coef_.T + best.intercept_)
    target_given_source = scores / scores.sum(1, keepdims=True)
    joint = (target_given_source.T * p.mean(0)).T
    expected = (joint / joint.sum(0, keepdims=True)).T
    found = reverse(train, validation, 3)
    torch.testing.assert_close(found, torch.from_numpy(expected).float(), rtol=1e-4, atol=1e-5)
    assert found.argmax(1).tolist() == [0, 1, 2]


def test_one_class_alone_is_related_to_what_is_answered():
    p, _ = answers(30, 0)
    found = reverse((p, torch.ones(30, dtype=torch.int64)), (p, torch.ones(30, dtype=torch.int64)), 3)
    torch.testing.assert_close(found[1], p.mean(0).float())


@pytest.mark.parametrize("relation", ["direct", "reverse"])
def test_the_term_by_hand(model, small_batch, relation):
    train = small_batch(rows=30)
    method = begun(model, train, small_batch(seed=1), strength=0.5, relation=relation, temperature=2.0)
    source = model.backbone.pretrained_head
    p = (source(model.eval()(train.x).features.pooled).double() / 2.0).softmax(1).detach()
    if relation == "direct":
        torch.testing.assert_close(method.related["label"], direct(p, train.y["label"], 3))
    batch = small_batch(rows=4, seed=2)
    batch.y["label"][1] = IGNORE
    with torch.no_grad():
        model.aux["co_tuning"].weight += 0.1
    out = model(batch.x)
    term = method.loss(model, batch, out, CLOCK)["label"]
    logs = model.aux["co_tuning"](out.features.pooled).log_softmax(1)
    losses = [-(method.related["label"][batch.y["label"][i]] * logs[i]).sum() for i in (0, 2, 3)]
    torch.testing.assert_close(term, 0.5 * sum(losses) / 4)
    term.backward()
    assert model.aux["co_tuning"].weight.grad.abs().max() > 0
    assert next(model.backbone.parameters()).grad.abs().max() > 0
    assert source.weight.grad is None and not torch.equal(source.weight, model.aux["co_tuning"].weight)


def test_soft_labels_mix_the_relationships(model, small_batch):
    method = begun(model, small_batch(rows=30), small_batch(seed=1), strength=1.0)
    batch = small_batch(rows=4, seed=2)
    hard = method.loss(model, batch, model(batch.x), CLOCK)["label"]
    soft = batch._replace(y={"label": F.one_hot(batch.y["label"], 3).float()})
    torch.testing.assert_close(method.loss(model, soft, model(batch.x), CLOCK)["label"], hard)


def test_a_resumed_run_goes_on(model, small_batch):
    method, resumed = begun(model, small_batch(rows=30), small_batch(seed=1)), CoTuning()
    resumed.load_state_dict(copy.deepcopy(method.state_dict()))
    batch = small_batch(rows=4, seed=2)
    terms = [one.loss(model, batch, model(batch.x), CLOCK)["label"] for one in (method, resumed)]
    assert terms[0] > 0 and torch.equal(*terms)


def test_a_backbone_without_classifier_is_refused(small_model):
    with pytest.raises(ConfigError, match="'co_tuning': needs the checkpoint's own classifier"):
        CoTuning().setup(small_model(), SPEC)


def test_a_regression_is_refused(model):
    with pytest.raises(ConfigError, match="'co_tuning': needs a task with classes, and 'size' has none"):
        CoTuning().setup(model, Spec("vector", (4,), (Task("size", "regression", (), "rmse"),)))


@pytest.mark.parametrize("bad", [{"strength": -1.0}, {"temperature": 0.0}, {"relation": "both"}])
def test_bad_values_name_their_key(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        CoTuning(**bad)
