"""What people call their files and columns reaches Hydra as it is."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from tlresearch import compose
from tlresearch.config.quoting import quote


@pytest.mark.parametrize(
    "name", ["a (1).csv", "it's.csv", "50% off;.csv", "Mäils & mehr.csv", "写真", "a\\'b.csv", "x\ny"]
)
def test_a_file_that_exists_may_have_any_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).touch()
    override = OverridesParser.create().parse_override(quote(f"dataset.path={name}"))
    assert override.value() == name
    assert not override.is_sweep_override()


@pytest.mark.parametrize("word", ["Überschrift", "日本/写真", "Größe_2"])
def test_letters_of_any_language_are_letters(word):
    assert OverridesParser.create().parse_override(quote(f"dataset.text_column={word}")).value() == word
    assert compose(["dataset=text_file", f"dataset.path={word}"]).dataset.path == word


@pytest.mark.parametrize(
    "override",
    [
        "seed=1,2",
        "method=[lora],[ewc]",
        "lr=choice(1,2)",
        "x='Ü'",
        "+x={a:1}",
        "~method",
        "x=b (1).csv",
        "x=",
        "-m",
        "x=$(y)",
    ],
)
def test_everything_else_is_left_to_hydra(override):
    assert quote(override) == override
