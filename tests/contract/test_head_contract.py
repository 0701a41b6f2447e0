"""Every registered head, on the features of a tiny network, for every kind of task that it serves."""

import pytest
import torch
from torch import Tensor

from tlresearch import IGNORE, Features, Head, Task
from tlresearch.config.registry import load
from tlresearch.core.kinds import KINDS

from . import registered
from .harness import Kit, same

LABELS = ("a", "b", "c", "d")
TASKS = {"classification": Task("toy", "classification", LABELS), "regression": Task("toy", "regression", (), "rmse")}
UNKNOWN = {"classification": IGNORE, "regression": torch.nan}
every_head = registered.every("head")
every_kind = pytest.mark.parametrize("kind", TASKS)


def test_the_kit_has_a_toy_of_every_kind() -> None:
    assert set(TASKS) == set(KINDS)


@pytest.fixture
def backbone(kit: Kit):
    spec = kit.build("dataset", "contract_vectors").stream().spec
    return kit.build("backbone", "mlp", spec=spec)


def serves(name: str, kind: str) -> bool:
    kinds = load("head", name).kinds
    assert kinds & set(TASKS), f"the kit has no task of kind {sorted(kinds)} for head {name!r}"
    return kind in kinds


def made(kit: Kit, backbone, name: str, task: Task = TASKS["classification"], seed: int = 0) -> Head:
    torch.manual_seed(seed)
    return kit.build("head", name, backbone=backbone, task=task).eval()


def rows(backbone, count: int = 12, kind: str = "classification") -> tuple[Features, Tensor]:
    """Features that lie around one corner a class; a regression's target is a class's number in another unit."""
    generator = torch.Generator().manual_seed(3)
    y = torch.arange(count) % len(LABELS)
    pooled = 0.1 * torch.randn(count, backbone.feature_dim, generator=generator)
    pooled[torch.arange(count), y] += 3
    return Features(None, pooled, None), y if kind == "classification" else 5000.0 + 100 * y


def fitted(head: Head, features: Features, y: Tensor) -> Head:
    head.prepare(y)
    if head.closed_form:
        parts = zip(features.pooled.split(len(y) // 2), y.split(len(y) // 2), strict=True)
        head.fit([(Features(None, pooled, None), labels) for pooled, labels in parts])
    return head


@every_kind
@every_head
def test_answers_have_the_shapes_of_the_task(kit: Kit, backbone, name: str, kind: str) -> None:
    if not serves(name, kind):
        return
    features, y = rows(backbone, kind=kind)
    head = fitted(made(kit, backbone, name, TASKS[kind]), features, y)
    logits = head(features)
    assert logits.shape == (12, 4 if kind == "classification" else 1) and logits.isfinite().all()
    predicted = head.predict(logits, None)
    assert predicted.shape == y.shape and predicted.dtype == y.dtype
    assert kind == "regression" or set(predicted.tolist()) <= set(range(4))
    assert head.count(y).tolist() == [1.0] * 12
    assert not any(module is backbone for module in head.modules()), "keeps the backbone as a submodule"


@every_kind
@every_head
def test_loss_counts_labelled_rows_only(kit: Kit, backbone, name: str, kind: str) -> None:
    if not serves(name, kind):
        return
    features, y = rows(backbone, kind=kind)
    head = fitted(made(kit, backbone, name, TASKS[kind]), features, y)
    hidden = y.clone()
    hidden[::3] = UNKNOWN[kind]
    logits = head(features)
    losses, whole = head.loss(logits, hidden), head.loss(logits, y)
    assert losses.shape == (12,) and (whole >= 0).all()
    assert (losses[::3] == 0).all() and head.count(hidden).tolist() == [0.0, 1.0, 1.0] * 4
    kept = head.count(hidden) > 0
    assert torch.equal(losses[kept], whole[kept])
    if not head.closed_form:
        losses.sum().backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in head.parameters())


@every_kind
@every_head
def test_it_learns_what_is_separable(kit: Kit, backbone, name: str, kind: str) -> None:
    if not serves(name, kind):
        return
    features, y = rows(backbone, 40, kind)
    head = made(kit, backbone, name, TASKS[kind])
    fitted(head, features, y)
    if not head.closed_form:
        assert list(head.parameters())
        optimizer = torch.optim.AdamW(head.parameters(), lr=0.02)
        for _ in range(60):
            optimizer.zero_grad()
            head.loss(head(features), y).mean().backward()
            assert all(p.grad is not None for p in head.parameters()), "its own loss does not reach all of it"
            optimizer.step()
    predicted = head.predict(head(features), None)
    # of a regression: nearer to its own corner's number than to the next one's, at the same rate in any unit
    assert (predicted == y).all() if kind == "classification" else ((predicted - y).abs() < 50).all()


@every_head
def test_growing_keeps_the_old_answers(kit: Kit, backbone, name: str) -> None:
    if not serves(name, "classification") or type(made(kit, backbone, name)).grow is Head.grow:
        return  # it says that it cannot
    features, y = rows(backbone)
    old = features._replace(pooled=features.pooled[y < 2])
    head = fitted(made(kit, backbone, name, TASKS["classification"]._replace(labels=LABELS[:2])), old, y[y < 2])
    before = head(old).detach()
    head.grow(TASKS["classification"])
    after = head(old)
    assert after.shape == (6, 4)
    torch.testing.assert_close(after[:, :2], before, rtol=1e-6, atol=1e-6)
    fresh = made(kit, backbone, name)
    fresh = fitted(fresh, old, y[y < 2]) if fresh.closed_form else fresh  # a head may keep the rows that it has seen
    assert {n: p.shape for n, p in head.state_dict().items()} == {n: p.shape for n, p in fresh.state_dict().items()}


@every_head
def test_closed_forms_keep_earlier_classes(kit: Kit, backbone, name: str) -> None:
    if not serves(name, "classification"):
        return
    head = made(kit, backbone, name)
    if not head.closed_form:
        with pytest.raises(NotImplementedError):
            head.fit([])
        return
    features, y = rows(backbone, 40)
    for chosen in (y < 2, y >= 2):
        head.fit([(features._replace(pooled=features.pooled[chosen]), y[chosen])])
    assert (head.predict(head(features), None) == y).all()


@every_kind
@every_head
def test_its_state_brings_it_back_under_another_seed(kit: Kit, backbone, name: str, kind: str) -> None:
    if not serves(name, kind):
        return
    features, y = rows(backbone, kind=kind)
    first = fitted(made(kit, backbone, name, TASKS[kind]), features, y)
    second = made(kit, backbone, name, TASKS[kind], seed=1)
    assert not torch.equal(first(features), second(features))
    second.load_state_dict(first.state_dict())
    same(first.state_dict(), second.state_dict())
    assert torch.equal(first(features), second(features))


def chosen(kit: Kit, name: str) -> dict[str, object]:
    from tlresearch.config.registry import common, find

    options = {o.name: o.default for o in (*common("head")[0], *find("head", name).options)}
    return {"name": name, **options, **kit.options("head", name)}


@every_head
def test_it_trains_in_a_run_over_growing_stages(kit: Kit, name: str) -> None:
    if not serves(name, "classification"):
        return
    method = "probe" if load("head", name).closed_form else "finetune"
    run = kit.run(kit.config("cnn", {method: {}}, head=chosen(kit, name)))
    assert run.results["metrics"]["test"]["rows"] == 48
    assert 0 <= run.results["metrics"]["test"]["accuracy"] <= 1


@every_head
def test_a_run_of_a_regression_stops_and_goes_on(kit: Kit, name: str) -> None:
    from .harness import Stop, numbers

    if not serves(name, "regression"):
        return
    method = "probe" if load("head", name).closed_form else "finetune"
    config = kit.config("numbers", {method: {}}, {}, head=chosen(kit, name), steps=12, evaluate_every=4)
    config["checkpoint_seconds"] = 0
    straight = kit.run(config)
    test = straight.results["metrics"]["test"]
    assert test["rmse"] < 500 and test["rows"] == 11, "guessing the mean of 200 times a sum of 8 normal numbers: 566"
    if load("head", name).closed_form:
        return  # it takes no steps between which it could stop
    folder = kit.place()
    with pytest.raises(Stop):
        kit.run(config, folder, stop=6)
    resumed = kit.run(config, folder)
    same(straight.state, resumed.state)
    assert numbers(straight.results) == numbers(resumed.results)
