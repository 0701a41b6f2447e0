"""Terms, shares of micro-batches, and gradients of a combining method, against plain autograd."""

import pytest
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric

from tlresearch.core.method import Method
from tlresearch.core.types import IGNORE, Clock
from tlresearch.training.gradients import Gradients, micro_batches, total

CLOCK = Clock(0, 0, 0, 10, {})


@pytest.fixture(scope="module")
def fabric():
    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.launch()
    return fabric


class Norm(Method):
    def loss(self, model, batch, out, clock):
        return {"square": out.features.pooled.square().sum(1).mean(), "constant": next(model.parameters()).sum()}


class Halve(Method):
    def reweight(self, terms, model, batch, out, clock):
        return {**terms, "task/label": 0.5 * terms["task/label"] + 1.0}


class Sum(Method):
    def combine(self, gradients):
        self.names = sorted(gradients)
        return torch.stack([gradients[name] for name in sorted(gradients)]).sum(0)


def grads(model):
    found = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    return found


def run(fabric, model, batch, methods, accumulate):
    wrapped = fabric.setup_module(model)
    terms = Gradients(fabric, model, methods, accumulate)(wrapped, batch, CLOCK)
    return grads(model), terms


def test_task_term_is_the_weighted_mean_over_labelled_rows(fabric, small_model, small_batch):
    model, batch = small_model(), small_batch(rows=5)
    batch = batch._replace(weight=torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]))
    batch.y["label"][3] = IGNORE
    found, terms = run(fabric, model, batch, {}, 1)
    keep = torch.tensor([0, 1, 2, 4])
    losses = F.cross_entropy(model(batch.x).logits["label"][keep], batch.y["label"][keep], reduction="none")
    expected = (losses * batch.weight[keep]).sum() / 11.0
    assert torch.allclose(terms["task/label"], expected)
    expected.backward()
    for name, gradient in grads(model).items():
        assert torch.allclose(found[name], gradient, atol=1e-7), name


@pytest.mark.parametrize(
    "methods", [{}, {"norm": Norm()}, {"norm": Norm(), "halve": Halve()}], ids=["task", "terms", "reweighted"]
)
@pytest.mark.parametrize("accumulate", [2, 3])
def test_micro_batches_add_up_to_the_one_batch(fabric, small_model, small_batch, methods, accumulate):
    model, batch = small_model(), small_batch(rows=7)  # 7 rows: unequal parts
    batch.y["label"][:2] = IGNORE  # and unequally labelled ones
    whole, one = run(fabric, model, batch, methods, 1)
    parts, several = run(fabric, model, batch, methods, accumulate)
    for name in whole:
        assert torch.allclose(whole[name], parts[name], atol=1e-6), name
    for name in one:
        assert torch.allclose(one[name], several[name], atol=1e-6), name


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_combiner_that_sums_gives_the_plain_gradient(fabric, small_model, small_batch, accumulate):
    model, batch, combiner = small_model(), small_batch(rows=6), Sum()
    plain, _ = run(fabric, model, batch, {"norm": Norm()}, 1)
    combined, _ = run(fabric, model, batch, {"norm": Norm(), "sum": combiner}, accumulate)
    assert combiner.names == ["norm/constant", "norm/square", "task/label"]
    for name in plain:
        assert torch.allclose(plain[name], combined[name], atol=1e-6), name


def test_terms_are_summed_in_sorted_order():
    values = {"b": torch.tensor(1e8), "a": torch.tensor(1.0), "c": torch.tensor(-1e8)}
    assert total(values) == total(dict(reversed(values.items()))) == (torch.tensor(1.0) + 1e8) - 1e8


def test_micro_batches_hold_every_row_once(small_batch):
    parts = micro_batches(small_batch(rows=7), 3)
    assert sorted(i for part in parts for i in part.index.tolist()) == list(range(7))
    assert [part.rows for part in parts] == [3, 2, 2]


def test_a_head_that_one_stage_does_not_reach_learns_again_in_the_next(tmp_path, monkeypatch):
    """Task-incremental and cumulative: the first head is reached in every stage, without that in the first one only."""
    import tlresearch
    from tlresearch.training import trainer

    frozen = []
    real = trainer.freeze_unreached
    monkeypatch.setattr(trainer, "freeze_unreached", lambda *a: frozen.append(real(*a)) or frozen[-1])
    split = ["dataset=split", "dataset.scenario=task_incremental", "dataset.stages=3", "steps=2", "backbone=mlp"]
    common = [*split, f"store={tmp_path}", "tracker=[]"]
    tlresearch.run(common)
    assert [sorted({name.split(".")[1] for name in names}) for names, _ in frozen] == [
        [], ["head_digit_0"], ["head_digit_0", "head_digit_1"],
    ]  # fmt: skip
    frozen.clear()
    tlresearch.run([*common, "dataset.accumulate_stages=cumulative"])
    assert [names for names, _ in frozen] == [[], [], []]
