"""Every registered head, on the features of a tiny network."""

import pytest
import torch
from torch import Tensor

from tlresearch import IGNORE, Features, Head, Task
from tlresearch.config.registry import load

from . import registered
from .harness import Kit, same

LABELS = ("a", "b", "c", "d")
KINDS = {"classification"}
every_head = registered.every("head")


@pytest.fixture
def backbone(kit: Kit):
    spec = kit.build("dataset", "contract_vectors").stream().spec
    return kit.build("backbone", "mlp", spec=spec)


def made(kit: Kit, backbone, name: str, labels: tuple[str, ...] = LABELS, seed: int = 0) -> Head:
    kinds = load("head", name).kinds
    assert kinds & KINDS, f"the kit has no task of kind {sorted(kinds)} for head {name!r}"
    torch.manual_seed(seed)
    return kit.build("head", name, backbone=backbone, task=Task("toy", "classification", labels)).eval()


def rows(backbone, count: int = 12) -> tuple[Features, Tensor]:
    """Features that lie around one corner a class."""
    generator = torch.Generator().manual_seed(3)
    y = torch.arange(count) % len(LABELS)
    pooled = 0.1 * torch.randn(count, backbone.feature_dim, generator=generator)
    pooled[torch.arange(count), y] += 3
    return Features(None, pooled, None), y


def fitted(head: Head, features: Features, y: Tensor) -> Head:
    if head.closed_form:
        parts = zip(features.pooled.split(len(y) // 2), y.split(len(y) // 2), strict=True)
        head.fit([(Features(None, pooled, None), labels) for pooled, labels in parts])
    return head


@every_head
def test_answers_have_the_shapes_of_the_task(kit: Kit, backbone, name: str) -> None:
    features, y = rows(backbone)
    head = fitted(made(kit, backbone, name), features, y)
    logits = head(features)
    assert logits.shape == (12, 4) and logits.isfinite().all()
    predicted = head.predict(logits, None)
    assert predicted.shape == y.shape and set(predicted.tolist()) <= set(range(4))
    assert head.count(y).tolist() == [1.0] * 12
    assert not any(module is backbone for module in head.modules()), "keeps the backbone as a submodule"


@every_head
def test_loss_counts_labelled_rows_only(kit: Kit, backbone, name: str) -> None:
    features, y = rows(backbone)
    head = fitted(made(kit, backbone, name), features, y)
    hidden = y.clone()
    hidden[::3] = IGNORE
    logits = head(features)
    losses, whole = head.loss(logits, hidden), head.loss(logits, y)
    assert losses.shape == (12,) and (whole >= 0).all()
    assert (losses[::3] == 0).all() and head.count(hidden).tolist() == [0.0, 1.0, 1.0] * 4
    kept = hidden != IGNORE
    assert torch.equal(losses[kept], whole[kept])


@every_head
def test_it_learns_what_is_separable(kit: Kit, backbone, name: str) -> None:
    features, y = rows(backbone, 40)
    head = made(kit, backbone, name)
    fitted(head, features, y)
    if not head.closed_form:
        assert list(head.parameters())
        optimizer = torch.optim.AdamW(head.parameters(), lr=0.02)
        for _ in range(60):
            optimizer.zero_grad()
            head.loss(head(features), y).mean().backward()
            assert all(p.grad is not None for p in head.parameters()), "its own loss does not reach all of it"
            optimizer.step()
    assert (head.predict(head(features), None) == y).all()


@every_head
def test_growing_keeps_the_old_answers(kit: Kit, backbone, name: str) -> None:
    if type(made(kit, backbone, name)).grow is Head.grow:
        return  # it says that it cannot
    features, y = rows(backbone)
    old = features._replace(pooled=features.pooled[y < 2])
    head = fitted(made(kit, backbone, name, LABELS[:2]), old, y[y < 2])
    before = head(old).detach()
    head.grow(Task("toy", "classification", LABELS))
    after = head(old)
    assert after.shape == (6, 4)
    torch.testing.assert_close(after[:, :2], before, rtol=1e-6, atol=1e-6)
    fresh = made(kit, backbone, name, LABELS)
    assert {n: p.shape for n, p in head.state_dict().items()} == {n: p.shape for n, p in fresh.state_dict().items()}


@every_head
def test_closed_forms_keep_earlier_classes(kit: Kit, backbone, name: str) -> None:
    head = made(kit, backbone, name)
    if not head.closed_form:
        with pytest.raises(NotImplementedError):
            head.fit([])
        return
    features, y = rows(backbone, 40)
    for chosen in (y < 2, y >= 2):
        head.fit([(features._replace(pooled=features.pooled[chosen]), y[chosen])])
    assert (head.predict(head(features), None) == y).all()


@every_head
def test_its_state_brings_it_back_under_another_seed(kit: Kit, backbone, name: str) -> None:
    features, y = rows(backbone)
    first, second = fitted(made(kit, backbone, name), features, y), made(kit, backbone, name, seed=1)
    assert not torch.equal(first(features), second(features))
    second.load_state_dict(first.state_dict())
    same(first.state_dict(), second.state_dict())
    assert torch.equal(first(features), second(features))


@every_head
def test_it_trains_in_a_run_over_growing_stages(kit: Kit, name: str) -> None:
    from tlresearch.config.registry import common, find

    options = {o.name: o.default for o in (*common("head")[0], *find("head", name).options)}
    head = {"name": name, **options, **kit.options("head", name)}
    method = "probe" if load("head", name).closed_form else "finetune"
    run = kit.run(kit.config("cnn", {method: {}}, head=head))
    assert run.results["metrics"]["test"]["rows"] == 48
    assert 0 <= run.results["metrics"]["test"]["accuracy"] <= 1
