"""Conditions on runs."""

import pytest

from tlresearch.config.errors import ConfigError
from tlresearch.results.keys import Keys
from tlresearch.results.report import rows
from tlresearch.results.where import where


@pytest.fixture
def chosen(tmp_path, write):
    """chosen("seed=0", …) → the values of the runs that are left, of five that are known."""
    write(0.1, seed=0, method=["lora"], labels=5, weights="none")
    write(0.2, seed=1, method=["lora", "ewc"], labels=50)
    write(0.3, seed=2, method=["probe"], clip=0.5, deterministic=True)
    write(0.4, seed=3, method={"lora": {"rank": 8}}, options={"target": [45, 60]})
    write(0.5, seed=4, weights="none")

    def call(*given):
        found = rows([tmp_path / "runs"])
        return [r["value"] for r in where(found, given, Keys(found))]

    return call


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ([], [0.1, 0.2, 0.3, 0.4, 0.5]),
        (["seed=2"], [0.3]),
        (["seed==2"], [0.3]),
        (["seed=2.0"], [0.3]),
        (["seed!=2"], [0.1, 0.2, 0.4, 0.5]),
        (["seed<2"], [0.1, 0.2]),
        (["seed<=2"], [0.1, 0.2, 0.3]),
        (["seed > 2"], [0.4, 0.5]),
        (["seed>=2"], [0.3, 0.4, 0.5]),
        (["seed>=1,seed<4"], [0.2, 0.3, 0.4]),
        (["seed>=1", "seed<4"], [0.2, 0.3, 0.4]),
        (["method=lora,probe"], [0.3, 0.4]),
        (["method!=lora,probe"], [0.1, 0.2, 0.5]),
        (["method=scratch"], [0.5]),
        (["method=scratch+lora"], [0.1]),
        (["method=[lora,ewc]"], [0.2]),
        (["method=lora+ewc,seed<9"], [0.2]),
        (["method.lora.rank=8"], [0.4]),
        (["method.lora.rank!=8"], [0.1, 0.2, 0.3, 0.5]),
        (["dataset.labels_per_class=5"], [0.1]),
        (["labels_per_class<=50"], [0.1, 0.2]),
        (["labels_per_class=all"], [0.3, 0.4, 0.5]),
        (["dataset.labels_per_class=null"], [0.3, 0.4, 0.5]),
        (["clip=0.5"], [0.3]),
        (["deterministic=true"], [0.3]),
        (["dataset.target=[45,60]"], [0.4]),
        (["metrics.test.accuracy>0.35"], [0.4, 0.5]),
        (["cost.seconds_train<3,seed=0"], [0.1]),
        (["weights=none"], [0.1, 0.5]),
        (["status=done,seed=1"], [0.2]),
        (["optimizer=adamw,seed=1"], [0.2]),
    ],
)
def test_conditions(chosen, given, left):
    assert chosen(*given) == left


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("seed=7", r"--where: 'seed=7': no run; values there: 0, 1, 2, 3, 4"),
        ("seed<2,method=probe", r"'method=probe': no run of those that the conditions before it leave; values there: "),
        ("labels_per_class=7", "values there: 5, 50, all"),
        ("sed=7", "--where: 'sed': no run has it; did you mean 'seed'"),
        ("seed", "--where: 'seed': no comparison; KEY=VALUE"),
        ("seed<two", "'seed<two': < compares with a number"),
        ("=3", "no comparison"),
    ],
)
def test_mistakes_are_one_message(chosen, given, message):
    with pytest.raises(ConfigError) as error:
        chosen(given)
    assert message in str(error.value) and "\n" not in str(error.value)
