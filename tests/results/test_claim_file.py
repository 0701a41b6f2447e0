"""Claims as files: what is read out of them, and every mistake under its key."""

from pathlib import Path

import pytest
import yaml

from tlresearch.config.errors import ConfigError
from tlresearch.results.claim_file import names, parse, read
from tlresearch.results.claims import Rule

GOOD = {
    "title": "A title",
    "paper": "Somebody, 2020",
    "table": "table 1",
    "unit": "percent",
    "source": "from\n  memory",
    "protocol": "As there.",
    "sweep": "continual",
    "cells": {
        "a": {"value": 50, "where": {"method": []}},
        "b": {"value": 75.5, "where": {"method": ["ewc"]}},
        "c": {"value": 75.5, "where": {"method": ["replay"]}},
    },
    "holds": [{"gap": ["b", "a"], "tolerance": 10}, {"order": ["a", "b"]}, {"value": "a", "tolerance": 0.5}],
}
FILE = Path("claims") / "mine.yaml"


def test_what_a_file_says():
    claim = parse(FILE, GOOD)
    assert (claim.name, claim.source, claim.scale, claim.metric) == ("mine", "from memory", 100.0, "test.accuracy")
    assert claim.folder == (Path.cwd() / "claims") and claim.data == () and claim.comparable
    assert claim.cells["b"] == (75.5, {"method": ["ewc"]})
    assert claim.rules == (Rule("gap", ("b", "a"), 10.0), Rule("order", ("a", "b"), 0.0), Rule("value", ("a",), 0.5))
    assert parse(FILE, {**GOOD, "unit": "rmse"}).scale == 1.0


@pytest.mark.parametrize(
    ("change", "key", "told"),
    [
        ({"titel": "x"}, "titel", "did you mean 'title'?"),
        ({"title": None}, "title", "missing or empty"),
        ({"sweep": 3}, "sweep", "must be a text"),
        ({"metric": 3}, "metric", "must be a text"),
        ({"data": "mnist"}, "data", "a list of paths"),
        ({"comparable": "no"}, "comparable", "true or false"),
        ({"cells": []}, "cells", "missing or empty"),
        ({"cells": ["a"]}, "cells", "a mapping NAME"),
        ({"cells": {"a": {"value": 1}}}, "cells.a", "{value: NUMBER, where: {KEY: VALUE}}"),
        ({"cells": {"a": {"value": "1", "where": {}}}}, "cells.a.value", "the published number"),
        ({"cells": {"a": {"value": True, "where": {}}}}, "cells.a.value", "the published number"),
        ({"cells": {"a": {"value": 1, "where": []}}}, "cells.a.where", "a mapping from dotted keys"),
        ({"holds": {"gap": ["a", "b"]}}, "holds", "a list of rules"),
        ({"holds": [{"gasp": ["a", "b"]}]}, "holds.0", "must say one of value, order, gap, equal"),
        ({"holds": [{"gap": ["a", "b"], "equal": ["a", "b"]}]}, "holds.0", "must say one of"),
        ({"holds": [{"gap": ["a", "d"], "tolerance": 1}]}, "holds.0.gap", "unknown; "),
        ({"holds": [{"gap": ["a"], "tolerance": 1}]}, "holds.0.gap", "a list of 2 cells"),
        ({"holds": [{"order": ["a", "a"]}]}, "holds.0.order", "each once"),
        ({"holds": [{"order": ["b", "c"]}]}, "holds.0.order", "whose published values differ"),
        ({"holds": [{"gap": ["a", "b"]}]}, "holds.0", "made of gap and tolerance"),
        ({"holds": [{"order": ["a", "b"], "tolerance": 1}]}, "holds.0", "made of order"),
        ({"holds": [{"gap": ["a", "b"], "tolerance": -1}]}, "holds.0.tolerance", "at least 0"),
    ],
)
def test_mistakes_are_told_under_their_keys(change, key, told):
    with pytest.raises(ConfigError) as error:
        parse(FILE, {**GOOD, **change})
    assert any(problem.key == key and told in problem.message for problem in error.value.problems), error.value


def test_all_mistakes_are_told_at_once():
    with pytest.raises(ConfigError) as error:
        parse(FILE, {"titel": "x", "cells": {"a": {"value": "1", "where": {}}}})
    assert {"titel", "title", "paper", "cells.a.value"} <= {problem.key for problem in error.value.problems}


@pytest.mark.parametrize("content", ["[1, 2]", "", "a: [", "a: b: c"])
def test_files_of_another_form_are_named(tmp_path, content):
    file = tmp_path / "mine.yaml"
    file.write_text(content)
    with pytest.raises(ConfigError, match=r"mine\.yaml: "):
        read(str(file))


def test_claims_are_found_by_name_or_by_file(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(GOOD))
    assert read(str(file)).name == "mine"
    assert "dann_mnist_m" in names() and read("dann_mnist_m").folder is None
    with pytest.raises(ConfigError, match="unknown claim 'dann_mnist'; did you mean 'dann_mnist_m'"):
        read("dann_mnist")
    with pytest.raises(ConfigError, match="an existing file"):
        read("gone.yaml")
