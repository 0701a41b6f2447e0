"""The search for garbage can wait for the start, and is on again where a run trains."""

import gc

import pytest

from tlresearch import run
from tlresearch.config import garbage
from tlresearch.training.trainer import Trainer

SMALL = ["dataset=digits", "backbone=mlp", "steps=2", "progress=false", "accelerator=cpu", "tracker=[]"]


@pytest.fixture
def switched_off():
    """By the caller, who wants it so."""
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def collecting(monkeypatch):
    """At each step, whether the search is on."""
    seen, step = [], Trainer.step
    monkeypatch.setattr(Trainer, "step", lambda self, *given: seen.append(gc.isenabled()) or step(self, *given))
    return seen


def test_postponed_until_resumed():
    garbage.postpone()
    garbage.postpone()
    assert not gc.isenabled()
    garbage.resume()
    assert gc.isenabled()


def test_what_a_caller_has_switched_off_stays_so(switched_off, collecting):
    garbage.postpone()
    garbage.resume()
    assert not gc.isenabled()
    run(SMALL)
    assert collecting == [False, False]


def test_a_run_trains_with_it(collecting):
    """A long training finds what its steps leave behind."""
    garbage.postpone()
    run(SMALL)
    assert collecting == [True, True]
