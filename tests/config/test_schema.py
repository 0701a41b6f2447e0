"""The schema that is read from text against the signature of the imported plugin, for everything registered."""

import inspect
import os

import pytest

from tlresearch.config import registry, schema
from tlresearch.config.errors import ConfigError

HERE = os.getcwd()
ENTRIES = sorted((entry.kind, entry.name) for entry in registry.index().values())


def same(option, parameter):
    default = None if parameter.default is parameter.empty else parameter.default
    assert option.name == parameter.name
    assert option.required == (parameter.default is parameter.empty)
    assert option.default == (list(default) if isinstance(default, tuple) else default)
    assert option.annotation.replace('"', "'") == str(parameter.annotation).replace('"', "'")


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_text_and_signature_agree(kind, name, monkeypatch):
    monkeypatch.chdir(HERE)  # where the list of plugins was made, at collection
    entry = registry.find(kind, name)
    parameters = list(inspect.signature(registry.load(kind, name)).parameters.values())
    keyword_only = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    assert list(entry.wiring) == [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
    assert len(entry.options) == len(keyword_only)
    for option, parameter in zip(entry.options, keyword_only, strict=True):
        same(option, parameter)


@pytest.mark.parametrize("kind", [kind.name for kind in registry.KINDS.values() if kind.base])
def test_common_options_agree_with_the_static_method(kind):
    options, explanation = registry.common(kind)
    parameters = list(inspect.signature(registry.base(kind).common).parameters.values())
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters)
    for option, parameter in zip(options, parameters, strict=True):
        same(option, parameter)
    assert all(option.name in explanation for option in options)


def test_all_mistakes_in_values_are_told_at_once(toys):
    entry = registry.find("method", "toy_low")
    with pytest.raises(ConfigError) as error:
        schema.check_values(entry.options, {"rnk": 1, "init": "zero", "alpha": None})
    first, second = error.value.problems
    assert first.key == "rnk"
    assert "did you mean 'rank'" in first.message
    assert second.key == "init"
    assert "did you mean 'zeros'? Allowed: random, zeros" in second.message


def test_a_required_value_is_asked_for(toys):
    entry = registry.find("dataset", "toy_rows")
    with pytest.raises(ConfigError, match="path: required"):
        schema.check_values(entry.options, {"path": "???"})


def test_defaults_are_not_shared(toys):
    made = schema.structured(registry.find("method", "toy_low"))
    made().extra["a"] = 1
    assert made().extra == {}
