"""Annotations read from text against what OmegaConf does with the type."""

from dataclasses import field, make_dataclass
from typing import Any

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tlresearch.config.option_types import parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("int", int),
        ("str | None", str | None),
        ("Optional[float]", float | None),
        ("typing.Optional[bool]", bool | None),
        ("Union[int, str]", int | str),
        ("'int | None'", int | None),
        ("list[float]", list[float]),
        ("list[list[int]]", list[list[int]]),
        ("tuple[int, ...]", list[int]),
        ("tuple[float, float]", list[float]),
        ("tuple[int, str]", list[Any]),
        ("dict[str, Any]", dict[str, Any]),
        ("dict[str, list[int]]", dict[str, list[int]]),
        ("Any", Any),
    ],
)
def test_types(text, expected):
    assert parse(text) == (expected, ())


@pytest.mark.parametrize(
    ("text", "type_", "choices"),
    [
        ("Literal['a', 'b']", str, ("a", "b")),
        ("Literal['a'] | None", str | None, ("a",)),
        ("list[Literal['a', 'b']]", list[str], ("a", "b")),
    ],
)
def test_literals_are_strings_with_choices(text, type_, choices):
    assert parse(text) == (type_, choices)


@pytest.mark.parametrize(
    "text",
    ["Path", "set[int]", "Literal[1, 2]", "dict[int, str]", "str | list[str]", "Callable[[], int]", "a b", "f()"],
)
def test_what_is_not_supported_is_named(text):
    with pytest.raises(ValueError, match="annotation"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "good", "bad"),
    [
        ("int", 3, "x"),
        ("int | None", None, "x"),
        ("bool", True, "maybe"),
        ("list[int]", [1, 2], ["x"]),
        ("list[int] | None", [1], ["x"]),
        ("tuple[float, ...]", [0.9, 0.99], ["x"]),
    ],
)
def test_omegaconf_validates_by_the_type(text, good, bad):
    config = OmegaConf.structured(make_dataclass("C", [("x", parse(text).type, field(default="???"))]))
    OmegaConf.update(config, "x", good)
    assert config.x == good
    with pytest.raises(OmegaConfBaseException):
        OmegaConf.update(config, "x", bad)


def test_an_optional_table_can_be_given_over_null():
    table = make_dataclass("C", [("x", parse("dict[str, Any] | None").type, field(default=None))])
    config = OmegaConf.structured(table)
    OmegaConf.update(config, "x", {"a": 1})
    assert config.x.a == 1
