"""The examples of README.md and CONTRIBUTING.md are what they claim to be."""

import math
import re
import shlex
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(document, language):
    return [text for kind, text in BLOCK.findall((ROOT / document).read_text(encoding="utf-8")) if kind == language]


def commands():
    text = "\n".join(text for document in ("README.md", "CONTRIBUTING.md") for text in blocks(document, ""))
    makefile = (ROOT / "Makefile").read_text().replace("$(BIN)/", "").replace("\t", "")
    lines = (text + "\n" + makefile).replace("\\\n", " ").split("\n")
    return [shlex.split(line)[2:] for line in lines if line.removeprefix(".venv/bin/").startswith("tlresearch train")]


def write_examples(folder):
    (folder / "plugins").mkdir()
    for number, document in enumerate(("README.md", "CONTRIBUTING.md")):
        (plugin,) = (text for text in blocks(document, "python") if "@register" in text)
        (folder / "plugins" / f"example_{number}.py").write_text(plugin, encoding="utf-8")


@pytest.mark.parametrize("arguments", commands(), ids=" ".join)
def test_every_training_command_composes(arguments, tmp_path, monkeypatch):
    from tlresearch import compose

    write_examples(tmp_path)
    monkeypatch.chdir(tmp_path)
    sweep = arguments[:1] == ["-m"]
    arguments = arguments[1:] if sweep else arguments
    name, arguments = (arguments[1], arguments[2:]) if arguments[:1] == ["-cn"] else ("config", arguments)
    assert compose([first_value(argument) for argument in arguments] if sweep else arguments, name)


def first_value(override):
    """Of an axis of a sweep, `key=[a],[b]` or `key=a,b`, the first point."""
    key, values = override.split("=", 1)
    first = values.partition("]")[0] + "]" if values.startswith("[") else values.partition(",")[0]
    return f"{key}={first}"


def test_there_are_commands_to_test():
    assert len(commands()) >= 6


def test_the_plugins_of_both_documents_compute_what_they_say(tmp_path, monkeypatch):
    from tlresearch import Features, Output
    from tlresearch.config.registry import load

    write_examples(tmp_path)
    monkeypatch.chdir(tmp_path)
    penalty, norm = load("method", "confidence_penalty")(strength=0.5), load("method", "feature_norm")(strength=0.1)
    pooled = torch.tensor([[3.0, 4.0], [0.0, 1.0]])
    out = Output(Features(None, pooled, None), {"digit": torch.zeros(2, 4)})
    assert penalty.loss(None, None, out, None)["digit"].item() == pytest.approx(-0.5 * math.log(4))
    assert norm.loss(None, None, out, None)["norm"].item() == pytest.approx(0.1 * 13)
