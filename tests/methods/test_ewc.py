"""EWC against the closed form of a linear softmax model and against single-row gradients of a plain loop."""

import pytest
import torch
import torch.nn.functional as F

from tlresearch.core.types import Clock, Stage, Task
from tlresearch.methods.ewc import EWC, fisher_information

CLOCK = Clock(0, 0, 0, 10, {})
TASK = Task("label", "classification", ("a", "b", "c"))
STAGE = Stage("s", (TASK,), None, None, None)


def test_fisher_of_the_head_is_the_mean_of_squared_row_gradients_in_closed_form(small_model, small_batch):
    model, batch = small_model(), small_batch(rows=7)
    fisher = fisher_information(model, STAGE, lambda split: iter([batch]), samples=7)
    features = model.eval().features(batch.x, "label").pooled.detach()
    error = model(batch.x).logits["label"].softmax(1).detach() - F.one_hot(batch.y["label"], 3)  # d CE / d logits
    expected = torch.einsum("bc,bd->bcd", error**2, features**2).mean(0)  # (p − y)² f², averaged over rows
    (name,) = [name for name in fisher if name.startswith("heads") and name.endswith("weight")]
    assert torch.allclose(fisher[name], expected, atol=1e-7)
    batch_gradient = torch.einsum("bc,bd->cd", error, features) / 7
    assert not torch.allclose(fisher[name], batch_gradient**2, atol=1e-4)  # E[g²], not E[g]²


def test_fisher_of_the_body_agrees_with_a_plain_loop_over_rows(small_model, small_batch):
    model, batch = small_model(), small_batch(rows=5)
    fisher = fisher_information(model, STAGE, lambda split: iter([batch]), samples=3)
    weight = next(model.backbone.parameters())
    expected = torch.zeros_like(weight)
    for i in range(3):
        loss = F.cross_entropy(model(batch.x[i : i + 1]).logits["label"], batch.y["label"][i : i + 1])
        expected += torch.autograd.grad(loss, weight)[0] ** 2 / 3
    name = next(name for name, p in model.named_parameters() if p is weight)
    assert torch.allclose(fisher[name], expected, atol=1e-7)
    assert expected.abs().max() > 0


def test_penalty_is_half_lambda_times_the_weighted_squared_distance(small_model, small_batch):
    model, batch = small_model(), small_batch()
    method = EWC(strength=3.0)
    assert method.loss(model, batch, model(batch.x), CLOCK) == {}  # nothing to remember yet
    method.on_stage_end(model, STAGE, lambda split: iter([batch]))
    assert method.loss(model, batch, model(batch.x), CLOCK)["penalty"].item() == 0
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.5
    fisher = fisher_sum(method)
    assert method.loss(model, batch, model(batch.x), CLOCK)["penalty"].item() == pytest.approx(
        1.5 * 0.25 * fisher, rel=1e-5
    )


def fisher_sum(method):
    return sum(f.sum().item() for penalty in method.penalties for f, _ in penalty.values())


def test_one_penalty_a_stage_or_one_running_sum(small_model, small_batch):
    batch = small_batch()
    offline, online = EWC(), EWC(online=True, gamma=0.5)
    for method in (offline, online):
        model = small_model()
        for _ in range(3):
            method.on_stage_end(model, STAGE, lambda split: iter([batch]))
    assert len(offline.penalties) == 3 and len(online.penalties) == 1
    one = fisher_sum(offline) / 3
    assert fisher_sum(online) == pytest.approx(one * (1 + 0.5 + 0.25), rel=1e-5)


def test_outputs_that_grew_later_are_free(small_model, small_batch):
    model, batch = small_model(), small_batch()
    method = EWC(strength=1.0)
    method.on_stage_end(model, STAGE, lambda split: iter([batch]))
    model.grow_head(TASK._replace(labels=("a", "b", "c", "d")))
    with torch.no_grad():
        model.head("label").state_dict()  # the new row moves, the old ones do not
        for name, parameter in model.named_parameters():
            if name.startswith("heads"):
                parameter[3:] += 7.0
    assert method.loss(model, batch, model(batch.x), CLOCK)["penalty"].item() == 0


def test_state_survives_a_round_trip(small_model, small_batch):
    model, batch = small_model(), small_batch()
    method, other = EWC(strength=2.0), EWC(strength=2.0)
    method.on_stage_end(model, STAGE, lambda split: iter([batch]))
    other.load_state_dict(method.state_dict())
    with torch.no_grad():
        next(model.parameters()).mul_(1.1)
    values = [m.loss(model, batch, model(batch.x), CLOCK)["penalty"] for m in (method, other)]
    assert values[0] > 0 and torch.equal(*values)


@pytest.mark.parametrize("bad", [{"strength": -1.0}, {"samples": 0}, {"gamma": 2.0}, {"gamma": 0.5}])
def test_bad_values_name_their_key(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        EWC(**bad)
