"""Every pair of methods stacks and trains, or is refused with both names."""

from itertools import combinations

import pytest

from tlresearch.config.errors import ConfigError

from . import registered
from .declared import check_declared, check_training
from .harness import NETS, STAGED, Kit

METHODS = registered.methods()
PAIRS = list(combinations(METHODS, 2))


def params(pairs):
    return [pytest.param(p, marks=registered.about(*(("method", name) for name in p)), id="-".join(p)) for p in pairs]


def serves(kit: Kit, net: str, pair: tuple[str, ...]) -> bool:
    """Whether neither method alone refuses the network."""
    return not any(kit.refusal(net, name) for name in pair)


def check_pair(kit: Kit, net: str, pair: tuple[str, ...]) -> None:
    from tlresearch.config.compose import check, compose

    steps = 9 if net == "cnn" else 18  # a transformer takes longer to thaw
    try:
        check(compose([*kit.overrides(net), f"method=[{','.join(pair)}]"]))
        run = kit.run(kit.config(net, {name: {} for name in pair}, STAGED, steps=steps, evaluate_every=steps))
    except ConfigError as error:
        refusal = str(error)
    else:
        refusal = ""
    if refusal:
        assert all(f"'{name}'" in refusal for name in pair), f"refused, and not by name: {refusal}"
        return
    assert list(run.session.methods) == list(pair)
    check_training(run, terms=("task/shape",))
    check_declared(run)


@pytest.mark.parametrize("pair", params(PAIRS))
def test_pair_stacks_or_is_refused(kit: Kit, pair: tuple[str, ...]) -> None:
    nets = [net for net in NETS if serves(kit, net, pair)]
    if not nets:
        pytest.skip(f"no network of the kit serves both of {pair}")
    check_pair(kit, nets[0], pair)


@pytest.mark.matrix
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("pair", params([*(pair[::-1] for pair in PAIRS), *PAIRS]))
def test_pair_in_any_order_on_any_net(kit: Kit, pair: tuple[str, ...], net: str) -> None:
    if not serves(kit, net, pair):
        pytest.skip(f"{net} serves not both of {pair}")
    check_pair(kit, net, pair)


def test_there_are_pairs() -> None:
    assert len(PAIRS) == len(METHODS) * (len(METHODS) - 1) / 2 > 0
