"""Label smoothing through the command: runs that train together, class weights, and what is refused before training."""

import pytest
import torch

from tlresearch import Run
from tlresearch.commands.main import main


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_runs_that_train_together_smooth_as_they_do_alone(folder, tensors, weights):
    common = ["backbone=mlp", "epochs=2", "method=[probe]", "optimizer.lr=1e-2,3e-2", "cache.features=always"]
    common += ["head.label_smoothing=0.2", f"dataset.class_weights={weights}", "progress=false", "accelerator=cpu"]
    found = []
    for launcher in ("basic", "fused"):
        assert main(["train", "-m", *common, f"hydra/launcher={launcher}", f"store={launcher}"]) == 0
        found.append({f.parent.name: Run.load(f.parent) for f in (folder / launcher).glob("*/run.json")})
    alone, together = found
    assert len(alone) == 2 and alone.keys() == together.keys()
    for name, run in alone.items():
        for key, tensor in tensors(run).items():
            torch.testing.assert_close(tensors(together[name])[key], tensor, rtol=1e-4, atol=1e-5)
        ours, theirs = (r.record["stages"][0]["validation"]["loss"] for r in (together[name], run))
        assert ours == pytest.approx(theirs, rel=1e-4)


def test_it_changes_what_is_learned_and_zero_does_not(train, tensors):
    given = ((), ("head.label_smoothing=0",), ("head.label_smoothing=0.3",))
    plain, none, smooth = (train(*overrides).run for overrides in given)
    assert plain.identity == none.identity != smooth.identity
    ours, theirs = tensors(smooth), tensors(plain)
    assert any(not torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("head.label_smoothing=1",), "head.label_smoothing: 1.0: must be a number in [0, 1)"),
        (("head=prototype", "method=[probe]", "head.label_smoothing=0.1"), "head.label_smoothing: 0.1: a closed form"),
        (("method=[gradual_unfreezing]", "method.gradual_unfreezing.blocks=9"), "method.gradual_unfreezing.blocks: 9"),
        (("method=[partial]", "method.partial.include=nothing"), "method.partial.include: 'nothing': matches no"),
        (("method=[surgical]", "method.surgical.blocks=[7]"), "method.surgical.blocks: '7'"),
    ],
)
def test_refused_before_training(refused, overrides, said):
    assert said in refused(*overrides)
