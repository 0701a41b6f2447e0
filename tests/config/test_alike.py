"""Configurations made from one another are those that Hydra composes."""

import pytest
from hydra.core.hydra_config import HydraConfig  # noqa: F401  # registers what hydra.* interpolates
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import OmegaConf

from tlresearch.config.alike import Alike
from tlresearch.config.compose import loader


@pytest.fixture
def composer():
    """(ours, Hydra's own, the texts that Hydra was asked for by ours)."""
    hydra, asked = loader(), []
    master = hydra.load_configuration("config", [], RunMode.MULTIRUN)

    def plain(_, overrides):
        asked.append(list(overrides))
        return hydra.load_sweep_config(master, list(overrides))

    ours = Alike(plain, hydra)
    return lambda job: ours(master, job), lambda job: hydra.load_sweep_config(master, job), asked


def text(config):
    found = OmegaConf.to_container(config, resolve=False)
    return OmegaConf.to_yaml(OmegaConf.create(found))


JOBS = [
    ["optimizer=sgd", "optimizer.lr=1e-3", "seed=0", "method=[probe]"],
    ["optimizer=sgd", "optimizer.lr=null", "seed=1", "method=[probe]"],
    ["optimizer=sgd", "optimizer.lr=3e-2", "seed=7", "method=[probe]"],
]


def test_values_alone_are_set_in_a_copy(composer):
    ours, hydra, asked = composer
    assert [text(ours(job)) for job in JOBS] == [text(hydra(job)) for job in JOBS]
    assert asked == JOBS[:1], "Hydra was asked for the first alone"
    assert text(ours(JOBS[0])) == text(hydra(JOBS[0])), "the copies have left it as it was"


@pytest.mark.parametrize(
    "jobs",
    [
        (["optimizer=sgd"], ["optimizer=adamw"]),
        (["method=[probe]"], ["method=[lora]"]),
        (["head.dropout=0.1", "head=mlp"], ["head.dropout=0.2", "head=mlp"]),
        (["seed=1", "seed=2"], ["seed=2", "seed=1"]),
        (["optimizer.lr=1", "optimizer={name:sgd,lr:2}"], ["optimizer.lr=3", "optimizer={name:sgd,lr:2}"]),
        (["preset=probe", "seed=0"], ["preset=finetune", "seed=0"]),
        (["seed=0", "hydra.job.name=a"], ["seed=1", "hydra.job.name=b"]),
    ],
)
def test_whatever_is_more_than_a_value(composer, jobs):
    ours, hydra, _ = composer
    for job in jobs:
        try:
            expected = text(hydra(job))
        except ConfigCompositionException as error:
            with pytest.raises(ConfigCompositionException, match=str(error).splitlines()[0][:40]):
                ours(job)
        else:
            assert text(ours(job)) == expected


def test_mistakes_are_told_by_hydra(composer):
    ours, hydra, _ = composer
    ours(["seed=0"])
    for job in (["seed=null"], ["seed=x"], ["sed=1"]):
        with pytest.raises(Exception) as expected:  # noqa: PT011  # whichever Hydra raises
            hydra(job)
        with pytest.raises(type(expected.value)) as found:
            ours(job)
        assert str(found.value) == str(expected.value)
