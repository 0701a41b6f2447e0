"""From plain configuration to objects: wiring, common options, and mistakes below the right key."""

import functools

import pytest

from tlresearch.config.build import build
from tlresearch.config.errors import ConfigError


def refused(*arguments, **wiring):
    with pytest.raises(ConfigError) as error:
        build(*arguments, **wiring)
    return str(error.value)


def test_options_reach_the_class_and_tuples_are_tuples(toys):
    made = build("method", {"name": "toy_low", "rank": 2, "targets": ["a", "b"], "extra": {"k": 1}})
    assert (made.rank, made.alpha, made.targets, made.extra) == (2, None, ("a", "b"), {"k": 1})


def test_what_common_makes_is_wired_by_name(toys):
    made = build("dataset", {"name": "toy_rows", "path": "x", "test": 0.5}, unused=1)
    assert made.sampling.test == 0.5
    assert made.path == "x"


def test_given_wiring_wins_over_what_common_makes(toys):
    assert build("dataset", {"name": "toy_rows", "path": "x"}, sampling="mine").sampling == "mine"


def test_a_function_becomes_a_partial(toys):
    made = build("schedule", {"name": "toy_flat", "factor": 0.5})
    assert isinstance(made, functools.partial)
    assert made("any clock") == 0.5


def test_mistakes_lie_below_the_key_of_the_plugin(toys):
    assert refused("method", {"name": "toy_low", "rnk": 1}).startswith("method.toy_low.rnk: unknown key; did you")
    assert refused("method", {"name": "toy_low", "init": "x"}).startswith("method.toy_low.init: 'x': unknown")
    assert refused("dataset", {"name": "toy_rows"}).startswith("dataset.path: required")
    assert refused("dataset", {"name": "toy_rows", "path": "???"}).startswith("dataset.path: required")
    assert refused("dataset", {"name": "toy_rows", "path": "x", "test": 2.0}).startswith("dataset.test: 2.0")
    assert refused("optimizer", {"name": "adamw", "lr": -1.0}).startswith("optimizer.lr: -1.0")
    assert refused("method", {"name": "toy_lo"}).startswith("method.toy_lo: unknown method 'toy_lo'; did you mean")


def test_a_value_error_of_the_plugin_is_the_users_mistake(toys):
    assert refused("method", {"name": "toy_low", "rank": 13}) == "method.toy_low: unlucky"


def test_the_key_can_be_another_one(toys):
    with pytest.raises(ConfigError, match=r"^dataset\.base_arguments\.path: required"):
        build("dataset", {"name": "toy_rows"}, at="dataset.base_arguments")
    with pytest.raises(ConfigError, match=r"^path: required"):
        build("dataset", {"name": "toy_rows"}, at="")


def test_wiring_that_nobody_provides_names_what_there_is(plugin):
    plugin(
        "odd.py",
        """
        from tlresearch import Method, register

        @register("method", "toy_odd")
        class Odd(Method):
            def __init__(self, spec, clock, *, n: int = 1): ...
        """,
    )
    message = refused("method", {"name": "toy_odd"}, spec=1, other=2)
    assert message.startswith("method.toy_odd: asks for 'clock', and a method is given: other, spec")


def test_other_exceptions_pass(plugin):
    plugin(
        "odd.py",
        """
        from tlresearch import Method, register

        @register("method", "toy_odd")
        class Odd(Method):
            def __init__(self, *, n: int = 1):
                raise ZeroDivisionError
        """,
    )
    with pytest.raises(ZeroDivisionError):
        build("method", {"name": "toy_odd"})
