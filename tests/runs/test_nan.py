"""A loss that is not finite ends the run, says which term it was, and leaves a good checkpoint."""

import json

import pytest
import torch

POISON = """
    from pathlib import Path

    from tlresearch import Method, register

    @register("method", "poison")
    class Poison(Method):
        '''NaN or infinity from one step on, unless a file called cure is there.'''

        def __init__(self, *, step: int = 25, value: float = 0.0) -> None:
            self.step, self.value = step, value

        def loss(self, model, batch, out, clock):
            ill = clock.step >= self.step and not Path("cure").exists()
            return {"venom": out.features.pooled.mean() * (self.value if ill else 1e-3)}
"""


@pytest.fixture(autouse=True)
def poison(plugin):
    plugin("poison.py", POISON)


OVERRIDES = (
    "method=[poison]",
    "method.poison.value=nan",
    "steps=40",
    "log_every=1",
    "evaluate_every=10",
    "checkpoint_seconds=0",
)


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_the_term_is_named_and_the_last_good_checkpoint_kept(train, tensors, folder, value):
    result = train(*OVERRIDES, f"method.poison.value={value}")
    assert result.code == 1
    assert "poison/venom became" in result.err
    assert "task/digit" not in result.err.splitlines()[-1], "the task's own loss was finite"
    (home,) = (folder / "runs").iterdir()
    record = json.loads((home / "run.json").read_text())
    assert record["status"] == "failed"
    assert record["error"].startswith("NonFiniteLoss: the loss term poison/venom became")
    assert "NonFiniteLoss" in record["traceback"]
    from safetensors import safe_open

    with safe_open(home / "state.safetensors", "pt") as file:
        position = json.loads(file.metadata()["json"])["position"]
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert position["step"] == 25, "the step before the poison"
    assert all(bool(tensor.isfinite().all()) for tensor in state.values())
    assert any(name.startswith("best_model/") for name in state)


def test_the_task_itself_is_named(train):
    result = train("optimizer=sgd", "optimizer.lr=1e30", "schedule=constant", "steps=10")
    assert result.code == 1
    assert "the loss term task/digit became" in result.err
    assert "between steps 0 and 10" in result.err


def test_a_failed_run_is_a_row_and_runs_again_only_when_asked(train, folder):
    from tlresearch.results import store

    assert train(*OVERRIDES).code == 1
    ((home, record),) = store.records(folder / "runs")
    assert (record["status"], record["overrides"][-6:]) == ("failed", list(OVERRIDES))
    before = (home / "run.json").read_bytes()

    again = train(*OVERRIDES)
    assert again.code == 1
    assert again.err.startswith(f"error: runs/{home.name} failed before: NonFiniteLoss: the loss term poison/venom")
    assert again.err.rstrip().endswith("retry_failed=true runs it again")
    assert "Traceback" not in again.err
    assert (home / "run.json").read_bytes() == before

    assert train(*OVERRIDES, "retry_failed=true").code == 1, "still poisoned"
    (folder / "cure").touch()
    cured = train(*OVERRIDES, "retry_failed=true").run
    assert cured.folder.name == home.name
    assert (cured.status, cured.record["error"], cured.record["stages"][0]["steps"]) == ("done", None, 40)
    assert "traceback" not in cured.record


def test_the_retry_gives_the_numbers_of_a_run_that_never_failed(train, folder, tensors, history):
    train(*OVERRIDES)
    (folder / "cure").touch()
    retried = train(*OVERRIDES, "retry_failed=true").run
    straight = train(*OVERRIDES, "store=other").run
    assert retried.metrics == straight.metrics
    assert history(retried.folder) == history(straight.folder)
    assert all(torch.equal(t, tensors(straight)[name]) for name, t in tensors(retried).items())
