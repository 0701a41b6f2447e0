"""Methods that put modules into a network, through the real command."""

import pytest
import torch

from tlresearch.commands.main import main

IMAGES = ("backbone=convnet", "dataset=digits", "dataset.labels_per_class=4", "steps=2", "batch_size=8")
ADAPTER = ("method=[adapter]", "method.adapter.reduction=4")


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        ([*IMAGES, "method=[visual_prompt]"], ["method.visual_prompt: ", "it takes vision transformers"]),
        ([*IMAGES, "method=[prefix]"], ["method.prefix: ", "it takes those whose attention"]),
        ([*IMAGES, "method=[adapter]", "method.adapter.form=houlsby"], ["method.adapter.form: 'houlsby'", "pfeiffer"]),
        ([*IMAGES, "method=[adapter]", "method.adapter.reduction=999"], ["method.adapter.reduction: 999", "at most"]),
        ([*IMAGES, *ADAPTER, "method.adapter.blocks=nowhere"], ["method.adapter.blocks: 'nowhere'", "layers.0"]),
        ([*IMAGES, "method=[scale_shift]", "method.scale_shift.blocks=layers"], ["method.scale_shift.blocks", "all"]),
        ([*IMAGES, "method=[finetune,adapter]"], ["finetune", "adapter"]),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else None,
)
def test_mistakes_end_the_command_before_anything_is_written(train, folder, overrides, parts):
    result = train(*overrides)
    assert result.code == 2, result.err
    assert all(part in result.err for part in parts), result.err
    assert "Traceback" not in result.err
    assert not (folder / "runs").exists()


def test_adapters_and_blocks_move_together_and_nothing_else(train, tensors):
    chosen = (*IMAGES, *ADAPTER[1:], "cache.features=never", "optimizer.lr=0.05")
    still = tensors(train(*chosen, "method=[adapter]", "optimizer=sgd", "optimizer.lr=1e-30").run)
    run = train(*chosen, "method=[adapter,partial]", "method.partial.blocks=1").run
    found = tensors(run)
    assert found.keys() == still.keys()
    last = max(name.split(".")[2] for name in found if name.startswith("backbone.layers."))
    ours = {n for n in found if ".adapter." in n or n.startswith((f"backbone.layers.{last}.", "heads."))}
    buffers = {n for n in found if n.endswith(("running_mean", "running_var", "num_batches_tracked"))}
    moved = {n for n in found if not torch.equal(found[n], still[n])}
    assert moved - buffers <= ours and {n for n in ours if n.endswith("up.weight")} <= moved
    assert run.record["cost"]["parameters_trainable"] == sum(found[n].numel() for n in ours - buffers)


def test_the_order_beside_lora_decides_whether_it_can_be_merged(train, capfd):
    for methods, code in (("[lora,adapter]", 0), ("[adapter,lora]", 2)):
        run = train(*IMAGES, f"method={methods}", "method.adapter.reduction=4", "optimizer.lr=0.05").run
        target = run.folder.parent.parent / methods.strip("[]")
        capfd.readouterr()
        assert main(["export", str(run.folder), str(target), "--format", "safetensors"]) == code
        error = capfd.readouterr().err
        assert code == 0 or "method 'adapter' stands between layer 'backbone.layers.0.0' and its LoRA" in error
