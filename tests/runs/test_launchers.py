"""Every launcher: rows, exit code, the sum and what went wrong come back from other processes, and none is left."""

import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from sharing import WITNESS, Terminal, axis, family, nobody_left, rows, total

BOOM = """
    from tlresearch import Method, register

    class Odd(Exception):
        '''Cannot be sent to another process.'''

        def __init__(self, one, two):
            super().__init__(f"{one} and {two}")

    @register("method", "boom")
    class Boom(Method):
        def __init__(self, *, when: str = "training") -> None:
            if when == "building":
                raise Odd(1, 2)
            self.when = when

        def after_step(self, model, clock):
            raise Odd(3, 4)
"""

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None or importlib.util.find_spec("hydra_plugins.hydra_ray_launcher") is None,
    reason="ray and hydra-ray-launcher are not installed",
)


@pytest.fixture
def witness(plugin, tmp_path):
    """Marks every process of the sweep; whoever is left at the end is ended."""
    plugin("witness.py", WITNESS)
    plugin("boom.py", BOOM)
    yield tmp_path / "witness"
    for process in family(tmp_path / "witness"):
        process.kill()


@pytest.mark.parametrize(
    "launcher",
    [
        "basic",
        pytest.param("joblib", marks=pytest.mark.slow),
        pytest.param("submitit_local", marks=pytest.mark.slow),
        pytest.param("ray", marks=[pytest.mark.slow, needs_ray]),
    ],
)
def test_what_comes_back(witness, launcher):
    grids = [
        {"method": "'[witness]'", "method.witness.tag": "'1,2'", "optimizer.lr": "'0.01,-1'"},
        {"method": "'[boom]'", "method.boom.when": "'training,building'"},
    ]
    text = "defaults: [config, _self_]\nhydra:\n  sweeper:\n    grids:\n"
    text += "".join(f"      - {{{', '.join(f'{key}: {value}' for key, value in grid.items())}}}\n" for grid in grids)
    Path("several.yaml").write_text(text)
    overrides = ["-cd", ".", "-cn", "several", "steps=5", f"hydra/launcher={launcher}"]
    code, err = Terminal(*overrides, witness=witness).end()
    assert code == 1, err
    assert total(err) == (
        "6 runs: 2 done, 2 failed (5: method=[boom] method.boom.when=training, 6: method=[boom] "
        "method.boom.when=building), 2 refused (2: method=[witness] method.witness.tag=1 optimizer.lr=-1, "
        "4: method=[witness] method.witness.tag=2 optimizer.lr=-1)"
    )
    told = "error: optimizer.lr: -1.0: must be a number above 0, or null for the recommended rate"
    assert [line for line in err if line.startswith("error: optimizer")] == [told] * 2
    assert any("Odd: 3 and 4" in line for line in err)
    assert any("Odd: 1 and 2" in line for line in err)
    states = sorted(status for status, *_ in every_row())
    assert states == ["done", "done", "failed"], "one that cannot be built leaves nothing"
    assert nobody_left(witness)


def every_row():
    return [(json.loads(file.read_text())["status"],) for file in Path("runs").glob("*/run.json")]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "joblib", "submitit_local", pytest.param("ray", marks=needs_ray)])
def test_two_ranks_within_a_sweep(witness, launcher):
    two = ["devices=2", "strategy=ddp", f"hydra/launcher={launcher}"]
    code, err = Terminal(*axis(3), *two, witness=witness).end()
    assert code == 0, err
    assert total(err) == "3 runs: 3 done"
    found = rows("runs")
    assert sorted((status, tag) for status, tag, *_ in found.values()) == [("done", 0), ("done", 1), ("done", 2)]
    assert sorted(path.name for path in Path("runs").iterdir() if path.name != ".sweeps") == sorted(found)
    assert nobody_left(witness)


def test_a_sweep_of_a_worker_that_is_killed_says_so(witness, plugin):
    plugin(
        "suicide.py",
        """
        import os, signal
        from tlresearch import Method, register

        @register("method", "suicide")
        class Suicide(Method):
            def after_step(self, model, clock):
                os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    overrides = ["method=[suicide],[witness]", "steps=5", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    code, err = Terminal(*overrides, witness=witness).end()
    assert code == 1, err
    assert "Traceback" not in "".join(err)
    assert "the same command" in err[-1]


def test_the_slurm_configuration_of_the_documentation(train, folder):
    text = (Path(__file__).parents[2] / "docs" / "sweeps.md").read_text(encoding="utf-8")
    (block,) = (b for b in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "submitit_slurm" in b)
    (folder / "slurm.yaml").write_text(block.replace("/shared/me/runs", "runs"))
    result = train("-m", "-cd", ".", "-cn", "slurm", "dry_run=true")
    assert result.code == 0, result.err
    assert "12 runs: 12 to do" in result.out
    if shutil.which("srun") is not None:
        return
    refused = train("-m", "-cd", ".", "-cn", "slurm")
    assert refused.code == 1, "no Slurm here"
    assert "the launcher lost its runs" in refused.err
    assert "Traceback" not in refused.err
