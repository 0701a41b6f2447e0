"""WiSE-FT: the line by hand, and the choice on validation rows."""

import copy

import pytest
import torch

from tlresearch.config.errors import ConfigError
from tlresearch.core.types import IGNORE, Clock, Stage, Task
from tlresearch.methods.wise_ft import WiseFT

STAGE = Stage("only", (Task("label", "classification", ("a", "b", "c")),), None, None, None)


def moved(model, by):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(by)


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def begun(model, **options):
    method = WiseFT(**options)
    method.on_stage_start(model, STAGE, None)
    return method


def validation(batch):
    """Batches that know nothing but validation rows."""
    return {"validation": [batch]}.__getitem__


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("heads", ["learnt", "interpolated"])
def test_the_line_by_hand(small_model, small_batch, alpha, heads):
    model = small_model()
    method, start = begun(model, alphas=[alpha], heads=heads), state(model)
    moved(model, 1.5)
    end = state(model)
    method.on_stage_end(model, STAGE, validation(small_batch()))
    for name, tensor in model.state_dict().items():
        learnt = name.startswith("heads.") and heads == "learnt"
        expected = end[name] if learnt else (1 - alpha) * start[name] + alpha * end[name]
        torch.testing.assert_close(tensor, expected, msg=name)
        assert alpha < 1 or torch.equal(tensor, end[name])


def test_alpha_is_the_best_on_validation_rows(small_model, small_batch):
    """Labels are what the model at α = 0.4 answers: no other point of the grid gives all of them."""
    model, batch = small_model(width=8), small_batch(rows=200)
    method, start = begun(model, alphas=[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]), state(model)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter))
    end = state(model)

    def answers(alpha):
        point = copy.deepcopy(model)
        heads = {name: tensor for name, tensor in end.items() if name.startswith("heads.")}
        point.load_state_dict({**{n: torch.lerp(start[n], end[n], alpha) for n in end}, **heads})
        return point.eval()(batch.x).logits["label"].argmax(1)

    wanted = answers(0.4)
    assert [alpha for alpha in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0) if torch.equal(answers(alpha), wanted)] == [0.4]
    wanted[::7] = IGNORE  # rows without a label do not vote
    method.on_stage_end(model, STAGE, validation(batch._replace(y={"label": wanted})))
    assert method.alpha == 0.4
    assert torch.equal(model.eval()(batch.x).logits["label"].argmax(1), answers(0.4))


def test_among_equals_the_lowest_loss(small_model, small_batch):
    """Only the scale of the features differs along the line: every answer is the same, sharper ones lose less."""
    model, batch = small_model(), small_batch(rows=50)
    with torch.no_grad():
        model.head("label").output.bias.zero_()
    last = model.backbone.blocks()[-1]
    method = begun(model, alphas=[0.25, 0.5, 1.0])
    y = model.eval()(batch.x).logits["label"].argmax(1)
    with torch.no_grad():
        for parameter in last.parameters():
            parameter *= 0.1  # a step back: less sharp
    method.on_stage_end(model, STAGE, validation(batch._replace(y={"label": y})))
    assert method.alpha == 0.25


def test_what_begins_to_train_later_starts_from_where_it_is(small_model, small_batch):
    model, batch = small_model(), small_batch()
    model.backbone.requires_grad_(False)
    method = begun(model, alphas=[0.0])
    model.backbone.requires_grad_(True)
    start = state(model)
    method.loss(model, batch, None, Clock(0, 1, 4, 8, {}))
    moved(model, 1.0)
    method.on_stage_end(model, STAGE, validation(batch))
    body = [name for name in start if name.startswith("backbone.")]
    assert all(torch.allclose(model.state_dict()[name], start[name]) for name in body)


def test_a_resumed_run_knows_its_start(small_model, small_batch):
    model, batch = small_model(), small_batch()
    method, resumed = begun(model, alphas=[0.5]), WiseFT(alphas=[0.5])
    resumed.load_state_dict(copy.deepcopy(method.state_dict()))
    moved(model, 1.0)
    other = copy.deepcopy(model)
    method.on_stage_end(model, STAGE, validation(batch))
    resumed.on_stage_end(other, STAGE, validation(batch))
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("bad", [{"alphas": []}, {"alphas": [0.5, 1.2]}, {"heads": "zero_shot"}])
def test_bad_values_name_their_key(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        WiseFT(**bad)
