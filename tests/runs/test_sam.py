"""SAM through the command: what is refused, and that ρ = 0 is the base alone."""

import pytest
import torch


def test_rho_zero_is_the_base_at_twice_the_operations(train, tensors):
    common = ("epochs=2", "clip=0.5", "dataset.labels_per_class=20")
    plain = train(*common, "optimizer=sgd").run
    sharp = train(*common, "optimizer=sam", "optimizer.base=sgd", "optimizer.rho=0").run
    ours, theirs = tensors(sharp), tensors(plain)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert sharp.cost["flops"] == pytest.approx(2 * plain.cost["flops"])


def test_it_runs_in_bfloat16(train):
    assert train("optimizer=sam", "precision=bf16-mixed").run.value > 0.2  # ten classes


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (("optimizer.base=sdg",), ("optimizer.base", "'sdg'", "did you mean 'sgd'?")),
        (("optimizer.base=sam",), ("optimizer.base", "adamw or sgd")),
        (("optimizer.base_arguments={lr: 1}",), ("optimizer.base_arguments.lr", "give optimizer.lr instead")),
        (("optimizer.rho=-1",), ("optimizer.rho", "-1.0", "at least 0")),
    ],
)
def test_refused(refused, overrides, parts):
    message = refused("optimizer=sam", *overrides)
    assert all(part in message for part in parts), message
