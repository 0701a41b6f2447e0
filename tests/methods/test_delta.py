"""DELTA: distances of feature maps by hand, and the attention against finite differences and scikit-learn."""

import copy

import pytest
import torch
import torch.nn.functional as F

from tlresearch.config.build import build
from tlresearch.config.errors import ConfigError
from tlresearch.core.model import Model
from tlresearch.core.types import TRAIN, Batch, Clock, Features, Spec, Stage, Task
from tlresearch.methods.delta import Delta
from tlresearch.nn.channel_attention import ablated, channel_attention, first_order, logistic_regression
from tlresearch.nn.maps import by_channel

CLOCK = Clock(0, 0, 0, 10, {})
TASK = Task("label", "classification", ("a", "b", "c"))
STAGE = Stage("only", (TASK,), None, None, None)
SPEC = Spec("image", (1, 8, 8), (TASK,))


@pytest.fixture
def model():
    torch.manual_seed(0)
    backbone = build("backbone", {"name": "convnet", "width": 4, "layers": 2, "random_crop": 2}, spec=SPEC)
    model = Model(backbone)
    model.add_head(TASK, build("head", {"name": "linear"}, backbone=backbone, task=TASK))
    return model.train()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (6, 1, 8, 8), generator=generator, dtype=torch.uint8)
    numbers = torch.arange(6)
    return Batch(x, {"label": numbers % 3}, 0 * numbers, numbers, torch.full((6,), TRAIN), torch.ones(6))


def begun(model, batch, **options):
    method = Delta(**options)
    method.setup(model, SPEC)
    method.on_stage_start(model, STAGE, {"train": [batch]}.__getitem__)
    return method


def moved(model):
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))


def maps_of(backbone, x):
    """What the blocks give for transformed inputs, by a loop over them."""
    found = []
    for block in backbone.blocks():
        x = block(x)
        found.append(x)
    return found


def test_the_distance_by_hand_on_the_very_inputs_of_the_step(model, batch):
    method = begun(model, batch, strength=0.5, attention="uniform")
    frozen = copy.deepcopy(model).eval()
    moved(model)
    torch.manual_seed(7)  # images are shifted at random
    out = model(batch.x)
    term = method.loss(model, batch, out, CLOCK)["distance"]
    torch.manual_seed(7)
    x = model.backbone.transform(batch.x, "train")
    pairs = list(zip(maps_of(model.backbone, x), maps_of(frozen.backbone, x), strict=True))
    expected = sum((own - old).square().sum(1).mean() for own, old in pairs)
    torch.testing.assert_close(term, 0.5 * expected, rtol=1e-4, atol=1e-6)
    term.backward()
    assert all(p.grad is not None for p in model.backbone.parameters())


def test_attention_weighs_channels(model, batch):
    method = begun(model, batch, strength=1.0, attention="uniform", blocks=1)
    frozen, weights = copy.deepcopy(model).eval(), torch.rand(8).softmax(0)
    method.weights = {2: weights}
    moved(model)
    model.backbone.random_crop = 0
    term = method.loss(model, batch, model(batch.x), CLOCK)["distance"]
    x = model.backbone.transform(batch.x, "test")
    own, old = maps_of(model.backbone, x)[1], maps_of(frozen.backbone, x)[1]
    squares = (own - old).square().mean((2, 3)).mean(0)
    torch.testing.assert_close(term, 8 * (weights * squares).sum(), rtol=1e-4, atol=1e-6)


def test_what_cannot_move_is_not_held(model, batch):
    model.backbone.blocks()[0].requires_grad_(False)
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    method = begun(model, batch, strength=1.0)
    assert set(method.weights) == {1, 2}, "what rests may thaw later"
    assert frozen == [name for name, p in model.named_parameters() if not p.requires_grad]
    model.backbone.random_crop = 0
    moved(model)
    held = method.loss(model, batch, model(batch.x), CLOCK)["distance"]
    only = begun(model, batch, strength=1.0, blocks=1)
    only.load_state_dict(method.state_dict())
    torch.testing.assert_close(only.loss(model, batch, model(batch.x), CLOCK)["distance"], held)
    assert held > 0
    model.backbone.requires_grad_(False)
    assert begun(model, batch).loss(model, batch, model(batch.x), CLOCK)["distance"].item() == 0


def test_padded_tokens_do_not_count():
    method = Delta(attention="uniform")
    own, old = torch.randn(2, 2, 3, 5)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    squares = (own - old).square().sum(2)
    expected = torch.stack([squares[0, :2].mean(), squares[1, 0]]).mean()
    torch.testing.assert_close(method._distance(1, own, old, mask), expected)


def test_channels_are_found():
    assert by_channel(torch.zeros(2, 7)).shape == (2, 1, 7)
    assert by_channel(torch.zeros(2, 5, 7)).shape == (2, 5, 7)
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(by_channel(x)[1, 6], x[1, :, 1, 2])
    swin = x.permute(0, 2, 3, 1)
    assert torch.equal(by_channel(swin), by_channel(x))


@pytest.fixture
def classifiers():
    torch.manual_seed(3)
    return {"label": torch.nn.Linear(8, 3).requires_grad_(False)}


def test_ablation_is_the_rise_of_the_loss_without_a_channel(model, batch, classifiers):
    model.eval()
    found = ablated(model, 1, 4, batch, classifiers)
    first, second = model.backbone.blocks()
    x = first(model.backbone.transform(batch.x, "test"))

    def loss(x):
        pooled = second(x).mean((2, 3))
        return F.cross_entropy(classifiers["label"](pooled), batch.y["label"], reduction="sum")

    for channel in range(4):
        without = x.clone()
        without[:, channel] = 0
        torch.testing.assert_close(found[channel], loss(without) - loss(x), rtol=1e-4, atol=1e-5)


def test_first_order_is_the_slope_of_that_rise(model, batch, classifiers):
    """−∂L/∂a · a is d L((1 − ε) a) / d ε at ε = 0, here by a small difference in double precision."""
    model.double().eval()
    classifiers["label"].double()
    method = begun(model, batch, attention="uniform")
    model.backbone.transform = lambda x, split: x.double() / 127.5 - 1
    with model.aux["delta"].watching():
        found = first_order(model, model.aux["delta"], batch, classifiers)
    assert method.weights == {} and set(found) == {1, 2}
    first, second = model.backbone.blocks()
    x, step = first(model.backbone.transform(batch.x, "test")), 1e-6
    for channel in range(4):
        losses = []
        for share in (1 - step, 1 + step):
            scaled = x.clone()
            scaled[:, channel] *= share
            pooled = second(scaled).mean((2, 3))
            losses.append(F.cross_entropy(classifiers["label"](pooled), batch.y["label"], reduction="sum"))
        torch.testing.assert_close(found[1][channel], (losses[0] - losses[1]) / (2 * step), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("exact", [False, True])
def test_attention_sums_to_one_and_leaves_no_trace(model, batch, exact):
    begun(model, batch, attention="uniform")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = channel_attention(model, model.aux["delta"], {"train": [batch]}.__getitem__, ["label"], 4, exact=exact)
    assert {depth: len(weights) for depth, weights in found.items()} == {1: 4, 2: 8}
    for weights in found.values():
        assert weights.sum().item() == pytest.approx(1) and weights.min() > 0 and weights.std() > 0
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in before.items())
    assert model.training and all(p.grad is None for p in model.parameters())


def test_the_classifier_is_that_of_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    torch.manual_seed(0)
    x, y = torch.randn(60, 4, dtype=torch.float64), torch.arange(60) % 3
    x += y.unsqueeze(1)
    torch.set_default_dtype(torch.float64)
    try:
        layer = logistic_regression(x, y, 3)
    finally:
        torch.set_default_dtype(torch.float32)
    oracle = LogisticRegression(C=1.0, tol=1e-8, max_iter=1000).fit(x.numpy(), y.numpy())
    expected = torch.from_numpy(oracle.predict_proba(x.numpy()))
    torch.testing.assert_close(layer(x).softmax(1), expected, rtol=0, atol=1e-4)


def test_evaluation_is_not_watched(model, batch):
    begun(model, batch)
    model.eval()
    with torch.no_grad():
        features = model(batch.x).features
    assert isinstance(features, Features) and model.aux["delta"].take() == (None, {})


def test_a_resumed_run_goes_on(model, batch):
    method, resumed = begun(model, batch, strength=1.0), Delta(strength=1.0)
    resumed.load_state_dict(copy.deepcopy(method.state_dict()))
    moved(model)
    model.backbone.random_crop = 0
    terms = [one.loss(model, batch, model(batch.x), CLOCK)["distance"] for one in (method, resumed)]
    assert terms[0] > 0 and torch.equal(*terms)


@pytest.mark.parametrize("bad", [{"strength": -1.0}, {"blocks": 0}, {"samples": 0}, {"attention": "all"}])
def test_bad_values_name_their_key(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        Delta(**bad)


def test_more_blocks_than_there_are(model):
    with pytest.raises(ConfigError, match="blocks: 3: must be at most 2"):
        Delta(blocks=3).setup(model, SPEC)
