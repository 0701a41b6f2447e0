"""A plan by validation, and SAM, resume to the last bit; runs that train together do not forget to thaw."""

import os
import signal
import subprocess
import sys

import pytest
import torch

from tlresearch import Run
from tlresearch.commands.main import main

PLAN = ("method=[gradual_unfreezing,brake]", "method.gradual_unfreezing.patience=1", "evaluate_every=5")
SAM = ("method=[brake]", "optimizer=sam", "clip=1.0", "accumulate=2", "backbone.dropout=0.2")
COMMON = ("backbone=mlp", "accelerator=cpu", "progress=false", "log_every=1", "checkpoint_seconds=0", "epochs=3")

BRAKE = """
    import os
    import signal

    from tlresearch import Method, register

    @register("method", "brake")
    class Brake(Method):
        def after_step(self, model, clock):
            if os.environ.get("KILL") == str(clock.step):
                os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    ("what", "step"),
    [pytest.param(PLAN, "12", id="unfreezing by validation"), pytest.param(SAM, "3", id="sam", marks=pytest.mark.slow)],
)
def test_killed_and_resumed_is_straight(train, plugin, tensors, history, what, step):
    """Killed once: where a plan by validation has gone on; where a step of two passes is accumulated."""
    plugin("brake.py", BRAKE)
    overrides = [*COMMON, "dataset.labels_per_class=20", *what]
    straight = train(*overrides, "store=straight").run
    command = [sys.executable, "-m", "tlresearch", "train", *overrides, "store=killed"]
    done = subprocess.run(command, env={**os.environ, "KILL": step}, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    killed = train(*overrides, "store=killed").run
    assert killed.metrics == straight.metrics and killed.cost["flops"] == straight.cost["flops"]
    assert history(killed.folder) == history(straight.folder)
    found, expected = tensors(killed), tensors(straight)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("plan", [(), ("method.gradual_unfreezing.patience=1",)], ids=["by epochs", "by validation"])
@pytest.mark.usefixtures("forgotten")
def test_runs_that_train_together_thaw_as_they_do_alone(folder, plan):
    common = ["backbone=mlp", "epochs=3", "method=[gradual_unfreezing]", "optimizer.lr=1e-2,3e-2", *plan]
    common += ["progress=false", "accelerator=cpu", "cache.features=always"]
    values = []
    for launcher in ("basic", "fused"):
        assert main(["train", "-m", *common, f"hydra/launcher={launcher}", f"store={launcher}"]) == 0
        values.append({f.parent.name: Run.load(f.parent).value for f in (folder / launcher).glob("*/run.json")})
    assert len(values[0]) == 2 and values[0] == values[1]
