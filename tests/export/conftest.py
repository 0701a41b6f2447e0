"""Small finished runs through the real command, exports of them, and the model card's lines in another process."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tlresearch import Run
from tlresearch.commands.main import main

TEXTS = ["good film", "bad plot", "very dull", "the film was fine", "not good at all", "a fine plot"] * 4
FAST = ("progress=false", "accelerator=cpu", "steps=3", "batch_size=4", "optimizer.lr=0.05", "schedule=constant")


@pytest.fixture(autouse=True)
def folder(own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder; nothing of the user's is seen or written."""
    monkeypatch.delenv("TLRESEARCH_PLUGINS", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """command("export", …) → exit code, stdout, stderr, in this process."""

    def call(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main(list(arguments))
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def train(command: Callable[..., tuple[int, str, str]]) -> Callable[..., Run]:
    """train("backbone=mlp") → a finished run of a few large steps, so that nothing is as it was initialised."""

    def call(*overrides: str) -> Run:
        given = {override.partition("=")[0] for override in overrides}
        defaults = [override for override in FAST if override.partition("=")[0] not in given]
        code, out, err = command("train", *defaults, *overrides)
        assert code == 0, err
        return Run.load(out.splitlines()[-1].split("  ")[0])

    return call


@pytest.fixture
def text_run(train: Callable[..., Run], tiny_bert_folder: Path, folder: Path) -> Callable[..., Run]:
    """text_run("head.pooling=mean") → a run of the tiny BERT, or of the folder `model`, on two classes of texts."""
    rows = [{"text": text, "label": "up: yes" if i % 2 else "down"} for i, text in enumerate(TEXTS)]
    (folder / "texts.jsonl").write_text("\n".join(map(json.dumps, rows)))

    def call(*overrides: str, model: Path = tiny_bert_folder) -> Run:
        data = (
            "dataset=text_file",
            "dataset.path=texts.jsonl",
            "dataset.text_column=text",
            "dataset.label_column=label",
        )
        network = ("backbone=transformers", f"backbone.weights=path:{model}", "backbone.max_length=16")
        return train(*data, *network, *overrides)

    return call


@pytest.fixture
def image_run(train: Callable[..., Run]) -> Callable[..., Run]:
    """image_run("backbone.model=test_vit") → a run of a tiny network of timm, or another backbone, on the digits."""

    def call(*overrides: str) -> Run:
        given = {override.partition("=")[0] for override in overrides}
        defaults = {"backbone": "timm", "backbone.model": "test_resnet", "backbone.image_size": "32"}
        if "backbone" in given:
            defaults = {}
        small = ("dataset=digits", "dataset.labels_per_class=2")
        return train(*small, *(f"{k}={v}" for k, v in defaults.items() if k not in given), *overrides)

    return call


@pytest.fixture
def exported(command: Callable[..., tuple[int, str, str]], tmp_path: Path) -> Callable[[Run, str], Path]:
    """exported(run, "timm") → the folder that the command wrote."""

    def call(run: Run, name: str) -> Path:
        target = tmp_path / "exported" / name
        code, _, err = command("export", str(run.folder), str(target), "--format", name)
        assert code == 0, err
        return target

    return call


ALONE = """
import json, sys
import torch
torch.manual_seed(12345)
namespace = {"__name__": "card"}
with torch.no_grad():
    exec(compile(sys.argv[1], "README.md", "exec"), namespace)
    exec(sys.argv[2], namespace)
assert "tlresearch" not in sys.modules
print(json.dumps(namespace["answer"]))
"""


def card(folder: Path, block: int) -> str:
    """The lines of one block of Python of a model card."""
    return re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)[block]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """here(folder, then) → `answer` after a model card's lines and the lines `then`, in this process (quicker)."""

    def call(folder: Path, then: str, block: int = 0) -> Any:
        namespace: dict[str, Any] = {}
        with monkeypatch.context() as patch, torch.random.fork_rng(), torch.no_grad():
            patch.chdir(folder)
            torch.manual_seed(12345)
            exec(compile(card(folder, block) + then, "README.md", "exec"), namespace)
        return namespace["answer"]

    return call


@pytest.fixture
def elsewhere() -> Callable[..., Any]:
    """elsewhere(folder, then): as `here`, in another process under another torch seed that never imports tlresearch."""

    def call(folder: Path, then: str, block: int = 0) -> Any:
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
        found = subprocess.run(
            [sys.executable, "-c", ALONE, card(folder, block), then],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert found.returncode == 0, found.stderr
        return json.loads(found.stdout.splitlines()[-1])

    return call


@pytest.fixture
def text_logits() -> Callable[[Run], Tensor]:
    """text_logits(run) → what the run's model says of the two texts of every model card."""

    def call(run: Run) -> Tensor:
        texts = ["The parcel has not arrived.", "Thank you, all is well now."]
        backbone = run.model.backbone
        preprocess = backbone.preprocess("test")
        rows = [preprocess({"input": t, "labels": {}, "domain": 0, "index": 0, "weight": 1.0}) for t in texts]
        with torch.no_grad():
            (logits,) = run.model(backbone.collate(rows).x).logits.values()
        return logits

    return call
