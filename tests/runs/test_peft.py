"""Runs with peft's tuners through the real command: reloaded under another seed, resumed, refused."""

import pytest
import torch

from tlresearch import Run
from tlresearch.training.logits import read_logits

RUN = ("steps=4", "optimizer.lr=0.05", "schedule=constant", "seed=3")
TYPES = {
    "vera": "{r: 4}",
    "fourierft": "{n_frequency: 20}",
    "adalora": "{init_r: 4, target_r: 2}",
    "lora": "{r: 4, init_lora_weights: pissa_niter_4}",
    "shira": "{r: 4}",
    "boft": "{boft_block_size: 2}",
    "ln_tuning": "{}",
}


@pytest.mark.parametrize("kind", TYPES)
def test_a_run_reloads_under_another_seed_to_its_own_answers(kind, train, tensors):
    targets = ("method.peft.targets='layers.1'",) if kind == "ln_tuning" else ()
    run = train(*RUN, "method=[peft]", f"method.peft.type={kind}", f"method.peft.options={TYPES[kind]}", *targets).run
    torch.manual_seed(99)
    loaded = Run.load(run.folder)
    rows, backbone = loaded.stream.stages[0].test, loaded.model.backbone
    preprocess = backbone.preprocess("test")
    batch = backbone.collate([preprocess(rows[i]) for i in range(len(rows))])
    with torch.no_grad():
        (found,) = loaded.model(batch.x).logits.values()
    (kept,) = read_logits(run.folder, [loaded.stream.stages[0].name], ["digit"])["digit"]
    torch.testing.assert_close(found, kept.logits, rtol=1e-4, atol=1e-5)
    assert 0 < run.cost["parameters_trainable"] < run.cost["parameters_total"]


BAD = [
    (["type=vera", "options={rank: 4}"], ["method.peft.options", "'rank'", "no option of vera", "projection_prng_key"]),
    (["type=prompt_tuning"], ["method.peft.type", "'prompt_tuning'", "needs a prompt"]),
    (["targets=nothing"], ["method.peft.targets", "'nothing'", "layers.0.0"]),
    (["targets=."], ["method.peft.targets", "'.'", "matches everything"]),
    (["options={r: 10000}"], ["method.peft.options", "rank 10000 is above its width"]),
    (["type=vera", "ratio=4"], ["method.peft.ratio", "4.0", "type vera"]),
]


@pytest.mark.parametrize(("given", "parts"), BAD, ids=[" ".join(case[0]) for case in BAD])
def test_refused(refused, given, parts):
    message = refused("method=[peft]", *(f"method.peft.{option}" for option in given))
    for part in parts:
        assert part in message


def test_a_prompt_on_a_convolutional_network_is_refused(refused):
    message = refused("backbone=convnet", "method=[peft]", "method.peft.type=prefix_tuning")
    assert message.startswith("method.peft.type: 'prefix_tuning': needs a prompt")


def test_lora_and_peft_do_not_stack(refused):
    assert "'lora'" in refused("method=[lora,peft]")
