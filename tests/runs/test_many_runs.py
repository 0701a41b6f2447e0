"""A sweep in one process: nothing piles up, weights start as they came, data are read once."""

import gc
import os
import threading
from pathlib import Path

import psutil
import pytest
import torch

from tlresearch.config.compose import compose
from tlresearch.core.model import state_tensors
from tlresearch.datasets.digits import Digits
from tlresearch.runner import resolve
from tlresearch.training.assemble import assemble, build_stream
from tlresearch.training.memory import fresh_backbone

pytestmark = pytest.mark.usefixtures("forgotten")


def _held() -> tuple[int, int, int]:
    gc.collect()
    process = psutil.Process()
    return process.memory_info().rss, threading.active_count(), len(os.listdir("/proc/self/fd"))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts handles in /proc")
def test_200_runs_leave_nothing_behind(train):
    seeds = [",".join(map(str, range(start, stop))) for start, stop in ((0, 10), (10, 210))]
    axes = ("-m", "backbone=mlp", "steps=3", "method=[],[probe]")
    assert train(*axes, f"seed={seeds[0]}").code == 0
    before = _held()
    assert train(*axes[:-1], "method=[probe]", f"seed={seeds[1]}").code == 0
    after = _held()
    assert after[0] - before[0] < 100e6, f"{(after[0] - before[0]) / 1e6:.0f} MB more"
    assert after[1:] <= before[1:], "threads, handles"


def test_the_next_run_starts_from_the_same_weights(tiny_bert_folder, folder):
    config = resolve(compose(["backbone=transformers", f"backbone.weights=path:{tiny_bert_folder}", "dataset=support"]))
    spec = build_stream(config).spec
    first = {name: t.clone() for name, t in state_tensors(fresh_backbone(config, spec)).items()}
    used = assemble({**config, "method": {"lora": {"rank": 2}}}, spec, spec.tasks).model
    with torch.no_grad():
        for parameter in used.backbone.parameters():
            parameter.mul_(3)
    again = state_tensors(fresh_backbone(config, spec))
    assert again.keys() == first.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in first.items())


def test_random_weights_are_those_of_the_seed():
    def draw(seed):
        config = resolve(compose(["backbone=mlp", f"seed={seed}"]))
        backbone = fresh_backbone(config, build_stream(config).spec)
        return torch.cat([p.flatten() for p in backbone.parameters()])

    one, two, again = draw(1), draw(2), draw(1)
    assert torch.equal(one, again) and not torch.equal(one, two)


def test_data_are_read_once_and_again_when_they_change(train, monkeypatch, folder):
    calls = []
    real = Digits.stream
    monkeypatch.setattr(Digits, "stream", lambda self: calls.append(1) or real(self))
    for rate in ("1e-3", "1e-2"):
        train("steps=2", f"optimizer.lr={rate}")
    assert len(calls) == 1
    file = folder / "mails.csv"
    data = ("dataset=text_file", "dataset.path=mails.csv", "dataset.test=0.4")
    text = (*data, "predictor=majority", "backbone=transformers")
    file.write_text("text,label\n" + "".join(f"t{i},{'ab'[i % 2]}\n" for i in range(40)))
    first = train(*text).run
    file.write_text("text,label\n" + "".join(f"u{i},{'ab'[i % 2]}\n" for i in range(40)))
    second = train(*text).run
    assert second.identity != first.identity
