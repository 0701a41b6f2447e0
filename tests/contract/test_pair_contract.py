"""Every pair of methods stacks and trains, or is refused with both names."""

import pytest

from . import registered
from .declared import check_declared, check_training
from .harness import NETS, Kit
from .pairs import DOCUMENT, Pair, attempt, documented, outcome, pairs, render

METHODS = registered.methods()
PAIRS = pairs()


def params(chosen):
    return [pytest.param(p, marks=registered.about(*(("method", name) for name in p)), id="-".join(p)) for p in chosen]


def check_pair(kit: Kit, net: str, pair: Pair, steps: int) -> str:
    """The refusal, "" where the pair stacks."""
    refusal, run = attempt(kit, net, pair, steps)
    if run is None:
        alone = [name for name in pair if kit.refusal(net, name)]
        named = [(name in alone and f"method.{name}" in refusal) or f"'{name}'" in refusal for name in alone or pair]
        assert all(named), f"refused, and not by name: {refusal}"
        return refusal
    assert list(run.session.methods) == list(pair)
    check_training(run, terms=("task/shape",))
    check_declared(run)
    return ""


@pytest.mark.parametrize("pair", params(PAIRS))
def test_pair_stacks_or_is_refused(kit: Kit, pair: Pair) -> None:
    net = kit.fitting(pair, list(NETS))
    answer = outcome(kit, net, pair, check_pair(kit, net, pair, 9))
    assert documented().get(pair, answer) == answer, "docs/results/pairs.md: python -m tests.contract.pairs"


@pytest.mark.matrix
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("pair", params([*(pair[::-1] for pair in PAIRS), *PAIRS]))
def test_pair_in_any_order_on_any_net(kit: Kit, pair: Pair, net: str) -> None:
    check_pair(kit, net, pair, 9 if net == "cnn" else 30)  # as many steps as each alone needs there


def test_there_are_pairs() -> None:
    assert len(PAIRS) == len(METHODS) * (len(METHODS) - 1) / 2 > 0


@pytest.mark.skipif(not DOCUMENT.is_file(), reason="the kit of a wheel has no documents")
def test_the_document_has_every_pair_and_is_what_its_command_writes() -> None:
    known = documented()
    assert {name for pair in known for name in pair} == set(METHODS)
    assert render(known) == DOCUMENT.read_text(encoding="utf-8")
