"""Weights from folders and files: all forms give the same answers, what is left over is told, what lacks is refused."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification, DistilBertConfig, DistilBertModel

from tlresearch.backbones.timm import Timm
from tlresearch.backbones.transformers import Transformers
from tlresearch.config.errors import ConfigError
from tlresearch.core.rows import Rows
from tlresearch.core.types import Spec
from tlresearch.core.weights import Weights

PHOTO, TEXT = Spec("image", None, ()), Spec("text", None, ())


def vision(place: Path, model: str = "test_resnet") -> Timm:
    return Timm(PHOTO, Weights("path", str(place)), model=model, image_size=32).eval()


def text(place: Path, model: Path) -> Transformers:
    return Transformers(TEXT, Weights("path", str(place)), model=f"path:{model}").eval()


def answers(backbone: Any) -> torch.Tensor:
    inputs: Any = (
        ["a good film", "bad"] if isinstance(backbone, Transformers) else list(torch.eye(32).expand(2, 3, -1, -1))
    )
    rows, preprocess = Rows(inputs, {}), backbone.preprocess("test")
    x = backbone.collate([preprocess(rows[i]) for i in range(2)]).x
    with torch.no_grad():
        pooled: torch.Tensor = backbone(backbone.transform(x, "test")).pooled
    return pooled


State = dict[str, torch.Tensor]
FORMS: dict[str, Callable[[State, Path], Path]] = {
    "safetensors": lambda state, folder: _write(folder / "net.safetensors", save_file, state),
    "state dict": lambda state, folder: _write(folder / "net.pth", torch.save, state),
    "inside a checkpoint": lambda state, folder: _write(
        folder / "net.pt", torch.save, {"epoch": 3, "state_dict": state}
    ),
    "of DataParallel": lambda state, folder: _write(
        folder / "net.bin", torch.save, {f"module.{name}": tensor for name, tensor in state.items()}
    ),
}


def _write(file: Path, save: Callable[..., Any], content: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    save(content, file)
    return file


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_timm_weights_is_the_network_itself(form: str, tmp_path: Path) -> None:
    torch.manual_seed(5)
    network: Any = timm.create_model("test_resnet", num_classes=4).eval()
    file = FORMS[form](network.state_dict(), tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "test_resnet"}))
    for place in (file, tmp_path):
        backbone = vision(place)
        assert backbone.fresh == frozenset() and backbone.pretrained_head is not None
        assert torch.equal(backbone.pretrained_head.weight, network.get_classifier().weight)
        for name, tensor in backbone.network.state_dict().items():
            assert torch.equal(tensor, network.state_dict()[name]), name


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_transformers_weights_is_the_same(form: str, tiny_bert_folder: Path, tmp_path: Path) -> None:
    expected = answers(text(tiny_bert_folder, tiny_bert_folder))
    file = FORMS[form](load_file(tiny_bert_folder / "model.safetensors"), tmp_path / "weights")
    found = text(file, tiny_bert_folder)
    assert torch.equal(answers(found), expected) and found.fresh == frozenset()


def test_the_head_of_a_task_is_left_over_and_told(
    tiny_bert_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = BertForSequenceClassification(BertConfig.from_pretrained(tiny_bert_folder))
    whole.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_bert_folder).save_pretrained(tmp_path)
    with caplog.at_level(logging.INFO, "tlresearch"):
        backbone = text(tmp_path, tmp_path)
    (told,) = [r.getMessage() for r in caplog.records if "have no place" in r.getMessage()]
    assert "classifier.weight" in told and "pooler.dense.weight" in told
    for name, tensor in backbone.network.state_dict().items():
        assert torch.equal(tensor, whole.bert.state_dict()[name]), name


def test_what_has_no_place_in_a_timm_network_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = timm.create_model("test_resnet").state_dict() | {"momentum.weight": torch.zeros(1)}
    with caplog.at_level(logging.INFO, "tlresearch"):
        vision(_write(tmp_path / "net.pth", torch.save, state))
    assert any("1 tensors have no place in ResNet: momentum.weight" in r.getMessage() for r in caplog.records)


def test_more_than_the_head_may_not_be_missing(tiny_bert_folder: Path, tmp_path: Path) -> None:
    state = timm.create_model("test_resnet", num_classes=0).state_dict()
    first = next(name for name in state if name.startswith("layer2"))
    file = _write(tmp_path / "net.pth", torch.save, {n: t for n, t in state.items() if n != first})
    with pytest.raises(ConfigError, match=rf"weights: .*1 of \d+ tensors are missing: {first}"):
        vision(file)
    words = load_file(tiny_bert_folder / "model.safetensors")
    name = "encoder.layer.1.output.dense.weight"
    file = _write(tmp_path / "bert.pth", torch.save, {n: t for n, t in words.items() if n != name})
    with pytest.raises(ConfigError, match=rf"weights: .*1 of \d+ tensors are missing: {name}"):
        text(file, tiny_bert_folder)


def test_weights_of_another_architecture_are_called_that_in_one_message(tiny_bert_folder: Path, tmp_path: Path) -> None:
    names = {"cls_token", "patch_embed.proj.weight"}
    state = {n: t for n, t in timm.create_model("test_vit").state_dict().items() if not n.startswith("head")}
    assert names <= state.keys()
    with pytest.raises(ConfigError, match=r"another architecture than ResNet: .*they hold .*blocks") as caught:
        vision(_write(tmp_path / "vit.pth", torch.save, state))
    assert len(caught.value.problems) == 1
    config = DistilBertConfig(vocab_size=50, dim=32, n_layers=2, n_heads=2, hidden_dim=64)
    other = _write(tmp_path / "distil.pth", torch.save, DistilBertModel(config).state_dict())
    with pytest.raises(ConfigError, match=r"another architecture than BertModel|shapes differ") as caught:
        text(other, tiny_bert_folder)
    assert len(caught.value.problems) == 1
