"""Exports as peft adapters: peft must find the head again, unmerged and merged."""

from __future__ import annotations

import json

import pytest
import torch


@pytest.mark.parametrize(("pooling", "where"), [("cls", "elsewhere"), ("mean", "here"), ("max", "here")])
def test_a_text_adapter_survives_another_process_and_seed(pooling, where, text_run, exported, text_logits, request):
    run = text_run(f"head.pooling={pooling}", "method=[lora]", "method.lora.rank=3", "method.lora.alpha=5")
    folder = exported(run, "peft")
    answer = request.getfixturevalue(where)(folder, "answer = {'logits': logits.tolist(), 'labels': labels}")
    expected = text_logits(run)
    torch.testing.assert_close(torch.tensor(answer["logits"]), expected, rtol=0, atol=1e-4)
    assert answer["labels"] == [run.spec.tasks[0].labels[i] for i in expected.argmax(-1)]
    saved = json.loads((folder / "adapter_config.json").read_text())
    assert (saved["r"], saved["lora_alpha"], saved["base_model_name_or_path"]) == (3, 5, "./base")


def test_a_stock_classifier_gives_the_same_merged(text_run, exported, here, text_logits):
    run = text_run("method=[lora]")
    then = "answer = model.merge_and_unload()(**batch).logits.tolist()"
    found = here(exported(run, "peft"), then)
    torch.testing.assert_close(torch.tensor(found), text_logits(run), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("model", "where"), [("test_resnet", "here"), ("test_vit", "elsewhere")])
def test_a_timm_adapter_survives_another_process_and_seed(model, where, image_run, exported, request):
    from PIL import Image

    run = image_run(f"backbone.model={model}", "method=[lora]")
    folder = exported(run, "peft")
    Image.effect_noise((50, 60), 80).convert("RGB").save(folder / "photo.jpg", quality=100)
    merged = "model.merge_and_unload()(transform(image).unsqueeze(0))"
    then = f"answer = [logits.tolist(), {merged}.tolist(), label]"
    separate, merged, label = request.getfixturevalue(where)(folder, then)
    backbone = run.model.backbone
    row = {"input": folder / "photo.jpg", "labels": {}, "domain": 0, "index": 0, "weight": 1.0}
    with torch.no_grad():
        (expected,) = run.model(backbone.collate([backbone.preprocess("test")(row)]).x).logits.values()
    torch.testing.assert_close(torch.tensor(separate), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(torch.tensor(merged), expected, rtol=1e-4, atol=1e-4)
    assert label == run.spec.tasks[0].labels[int(expected.argmax())]


def test_a_run_without_lora_is_refused(image_run, command, tmp_path):
    run = image_run("method=[probe]")
    code, _, err = command("export", str(run.folder), str(tmp_path / "out"), "--format", "peft")
    assert code == 2 and "holds adapters of peft and this run's methods are ['probe']" in err
    assert "timm, safetensors, onnx" in err and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("ia3", "{feedforward_modules: [value]}"),
        ("vera", "{r: 4}"),
        ("adalora", "{init_r: 4, target_r: 2}"),
        ("lora", "{r: 4, init_lora_weights: pissa, use_dora: true}"),
        ("lokr", "{r: 4}"),
        ("boft", "{}"),
    ],
)
def test_other_tuners_are_read_back_by_peft(kind, options, text_run, exported, here, text_logits):
    run = text_run("method=[peft]", f"method.peft.type={kind}", f"method.peft.options={options}")
    folder = exported(run, "peft")
    answer = here(folder, "answer = logits.tolist()")
    torch.testing.assert_close(torch.tensor(answer), text_logits(run), rtol=0, atol=1e-4)
    assert json.loads((folder / "adapter_config.json").read_text())["peft_type"] == kind.upper()


def test_a_tuner_that_cannot_be_merged_is_refused_by_name(text_run, command, tmp_path):
    run = text_run("method=[peft]", "method.peft.type=lily", "method.peft.options={r: 4}")
    code, _, err = command("export", str(run.folder), str(tmp_path / "out"), "--format", "safetensors")
    assert code == 2 and "peft's lily cannot be merged" in err and not (tmp_path / "out").exists()
