"""Run folders that stand alone: loaded without data and base weights, and by safetensors alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from tlresearch import Run


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_a_text_run_loads_without_data_and_base_weights(
    pooling, text_run, exported, text_logits, tiny_bert_folder, folder, tmp_path, monkeypatch
):
    model = shutil.copytree(tiny_bert_folder, tmp_path / "base")
    (model / "modules.json").write_text("[]")
    (model / "1_Pooling").mkdir()
    (model / "1_Pooling" / "config.json").write_text(
        json.dumps({f"pooling_mode_{pooling}_token{'s' * (pooling == 'mean')}": True})
    )
    run = text_run("method=[lora,ewc]", model=model)
    expected = text_logits(run)
    written = exported(run, "safetensors")
    shutil.rmtree(model)
    shutil.rmtree(run.folder)
    (folder / "texts.jsonl").unlink()
    moved = shutil.move(written, tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    again = Run.load("moved")
    assert Run.load(moved).model.backbone.pooling == pooling
    torch.testing.assert_close(text_logits(again), expected, rtol=0, atol=1e-4)
    assert list(again.config["method"]) == ["ewc"] and again.metrics == run.metrics and not again.stale


def test_an_image_run_keeps_the_normalisation_of_its_weights_folder(image_run, exported, tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    save_file(timm.create_model("test_resnet", num_classes=0).state_dict(), base / "model.safetensors")
    cfg = {"mean": [0.1, 0.2, 0.3], "interpolation": "nearest", "crop_pct": 0.5, "input_size": [3, 40, 40]}
    (base / "config.json").write_text(json.dumps({"architecture": "test_resnet", "pretrained_cfg": cfg}))
    run = image_run(f"backbone.weights=path:{base}", "backbone.image_size=null", "method=[lora]")
    expected = run.model.backbone
    written = exported(run, "safetensors")
    shutil.rmtree(base)
    found = Run.load(written).model.backbone
    assert json.dumps(found.data) == json.dumps(expected.data) and found.data["crop_pct"] == 0.5
    torch.testing.assert_close(found.mean.flatten(), 255 * torch.tensor(cfg["mean"]))
    image = torch.randint(256, (3, 90, 70), dtype=torch.uint8)
    row = {"input": image, "labels": {}, "domain": 0, "index": 0, "weight": 1.0}
    assert torch.equal(found.preprocess("test")(row)["input"], expected.preprocess("test")(row)["input"])


@pytest.mark.parametrize("options", [["method=[co_tuning]"], ["method=[self_distillation,delta]", "TO"]])
def test_what_only_training_needed_is_left_out(options, image_run, exported, tmp_path):
    """The classifier of the base weights has learnt along; the model answers without it and them."""
    base = tmp_path / "base.safetensors"
    save_file(timm.create_model("test_resnet", num_classes=7).state_dict(), base)
    options = [option.replace("TO", "method.self_distillation.to=source") for option in options]
    run = image_run(f"backbone.weights=path:{base}", *options)
    x, names = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8), set(run.model.state_dict())
    expected = run.model(x).logits["digit"]
    assert any(name.startswith("aux.") for name in names)
    written = exported(run, "safetensors")
    base.unlink()
    again = Run.load(written)
    assert list(again.config["method"]) == [] and set(load_file(written / "model.safetensors")) == {
        name for name in names if not name.startswith("aux.")
    }
    torch.testing.assert_close(again.model(x).logits["digit"], expected, rtol=0, atol=1e-4)


def test_all_tensors_are_there_merged_under_plain_names(image_run, exported, elsewhere):
    """W + α/r · B A by hand from the run's own file."""
    run = image_run("backbone.model=test_vit", "method=[lora]", "method.lora.rank=2", "method.lora.alpha=6")
    folder = exported(run, "safetensors")
    found, own = load_file(folder / "model.safetensors"), load_file(run.folder / "model.safetensors")
    layer = "backbone.network.blocks.0.attn.qkv"
    update = own[f"{layer}.lora_B.default.weight"] @ own[f"{layer}.lora_A.default.weight"]
    merged = own[f"{layer}.base_layer.weight"] + 6 / 2 * update
    torch.testing.assert_close(found[f"{layer}.weight"], merged, rtol=0, atol=1e-6)
    assert update.abs().max() > 1e-3 and not any("lora" in name for name in found)
    torch.testing.assert_close(found["heads.head_digit.output.weight"], own["heads.head_digit.output.weight"])
    names, labels = elsewhere(folder, "answer = [sorted(tensors), labels]", block=1)
    assert names == sorted(found) and labels == {"digit": list(run.spec.tasks[0].labels)}


HEADS = ["bn_linear", "cosine", "knn", "lda", "linear", "logistic", "mlp", "prototype", "ridge"]


@pytest.mark.parametrize("head", HEADS)
def test_every_head_fits(head, image_run, exported):
    run = image_run("backbone=convnet", f"head={head}", "method=[probe]")
    x = torch.randint(256, (5, 1, 8, 8), dtype=torch.uint8)
    with torch.no_grad():
        expected = run.model(x).logits["digit"]
        found = Run.load(exported(run, "safetensors")).model(x).logits["digit"]
    assert torch.equal(found, expected)


def test_modules_of_other_methods_stay_with_them(train, exported, monkeypatch):
    """DANN's domain classifier, which no logit depends on; two tasks, each with its labels."""
    monkeypatch.setenv("TLRESEARCH_PLUGINS", str(Path(__file__).parents[1] / "contract" / "fixtures" / "toys.py"))
    data = ("dataset=contract_vectors", "dataset.tasks=2", "dataset.target=true")
    run = train(*data, "backbone=mlp", "method=[lora,dann]")
    again = Run.load(exported(run, "safetensors"))
    assert torch.equal(again.model.aux["dann"][0].weight, run.model.aux["dann"][0].weight)
    assert again.model.labels == {"shape": ("circle", "square", "star"), "shade": ("dark", "light")}
    x = torch.randn(5, 8)
    with torch.no_grad():
        expected, found = run.model(x).logits, again.model(x).logits
    for task in expected:
        torch.testing.assert_close(found[task], expected[task], rtol=0, atol=1e-5)


def test_the_written_folder_predicts(text_run, exported, command, folder):
    """Through the command, the run and what was written of it say the same."""
    run = text_run("method=[lora]")
    (folder / "new.txt").write_text("good film\nvery dull\n")
    answers = [command("predict", str(f), "new.txt") for f in (run.folder, exported(run, "safetensors"))]
    assert answers[0][0] == 0 and answers[0][1] == answers[1][1]
