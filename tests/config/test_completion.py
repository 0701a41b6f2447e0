"""Candidates for what is being typed."""

import pytest

from tlresearch.config.completion import complete

COMMANDS = ("train", "list", "show", "report", "completion")


@pytest.mark.parametrize(
    ("words", "candidates"),
    [
        (["tr"], ["train"]),
        (["completion", ""], ["bash", "fish", "zsh"]),
        (["list", "me"], ["method"]),
        (["show", "method", "toy_l"], ["toy_low"]),
        (["show", "sett"], ["settings"]),
        (["train", "method=[toy_l"], ["method=[toy_low"]),
        (["train", "method=[toy_low,toy_"], ["method=[toy_low,toy_penalty", "method=[toy_low,toy_rival"]),
        (["train", "-m", "method=[],[toy_low],[toy_low,toy_p"], ["method=[],[toy_low],[toy_low,toy_penalty"]),
        (["train", "-m", "preset=probe,sc"], ["preset=probe,scratch"]),
        (["train", "preset=pr"], ["preset=probe"]),
        (["train", "bat"], ["batch_size="]),
        (["train", "method=[toy_low]", "method.toy_low.ra"], ["method.toy_low.rank="]),
        (["train", "method=[toy_low]", "method.toy_low.t"], ["method.toy_low.targets="]),
        (["train", "method=[toy_low]", "method.toy_low.init=r"], ["method.toy_low.init=random"]),
        (["train", "method=[toy_penalty]", "method.toy_penalty.verbose=t"], ["method.toy_penalty.verbose=true"]),
        (["train", "--cf"], ["--cfg"]),
        (["train", "method=[no_such]", "bat"], []),
        (["report", ""], []),
        (["reproduce", "dann"], ["dann_mnist_m"]),
        (["reproduce", "dann_mnist_m", "dann"], []),
        (["nonsense", ""], []),
    ],
)
def test_candidates(toys, words, candidates):
    assert complete(words, COMMANDS) == candidates


def test_a_list_opens_with_its_bracket(toys):
    found = complete(["train", "method="], COMMANDS)
    assert "method=[toy_low" in found
    assert all(candidate.startswith("method=[") for candidate in found)


def test_plugins_and_variants_are_offered_but_not_hydra():
    found = complete(["train", "backbone="], COMMANDS)
    assert {"backbone=convnet", "backbone=minilm"} <= set(found)
    assert not any(candidate.startswith("hydra") for candidate in complete(["train", ""], COMMANDS))


def test_files_after_a_path(elsewhere):
    (elsewhere / "work/data.csv").write_text("")
    assert complete(["train", "dataset=text_file", "dataset.path=./da"], COMMANDS) == ["dataset.path=./data.csv"]
