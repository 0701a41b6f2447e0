"""Best weights, also of what was frozen when they were taken."""

import torch

from tlresearch.core.model import pristine
from tlresearch.core.tracker import Selection
from tlresearch.training.cost import Cost
from tlresearch.training.keeper import RunKeeper
from tlresearch.training.trainer import Position

CONFIG = {
    "patience": 2, "checkpoint_seconds": 0.0, "budget": {"seconds": None, "usd": None}, "prices": {}
}  # fmt: skip


class Highest(Selection):
    def best(self, history):
        return max(range(len(history)), key=lambda i: history[i]["accuracy"])


def keeper(model):
    model.backbone.fresh = frozenset()  # as if a weights file had given everything
    original = pristine(model.backbone)
    return RunKeeper(CONFIG, model, {}, original, Highest(), dict, lambda clock: None, Cost())


def evaluated(*values):
    return Position(0, 1, 9, [{"accuracy": value} for value in values])


def test_back_to_the_selected_weights(small_model):
    model = small_model()
    keep = keeper(model)
    assert not keep.after_evaluation(evaluated(0.5))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with torch.no_grad():
        for p in model.parameters():
            p += 1
    assert not keep.after_evaluation(evaluated(0.5, 0.4))
    keep.back_to_best()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_patience_counts_evaluations_without_a_better_one(small_model):
    keep = keeper(small_model())
    stops = [keep.after_evaluation(evaluated(*values)) for values in ([0.5], [0.5, 0.4], [0.5, 0.4, 0.3])]
    assert stops == [False, False, True]


def test_what_thaws_after_the_best_evaluation_goes_back_too(small_model):
    model = small_model(layers=2)
    first = model.backbone.blocks()[0]
    for p in first.parameters():
        p.requires_grad_(False)
    keep = keeper(model)
    keep.after_evaluation(evaluated(0.9))
    assert not any(name.startswith("backbone.layers.0") for name in keep.best[1])  # frozen and pristine: not copied
    before = {k: v.clone() for k, v in model.state_dict().items()}
    names = [name for name, p in model.named_parameters() if not p.requires_grad]
    for p in first.parameters():
        p.requires_grad_(True)
    keep.thaw(names)
    with torch.no_grad():
        for p in model.parameters():
            p -= 0.1
    keep.back_to_best()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_only_what_the_weights_file_cannot_give_back_is_saved(small_model):
    model = small_model()
    for p in model.backbone.parameters():
        p.requires_grad_(False)
    keep = keeper(model)
    assert all(name.startswith("heads") for name in keep.tensors())
    with torch.no_grad():
        next(model.backbone.parameters()).mul_(1.0)  # touched in place, even without a change of value
    assert "backbone.layers.0.0.weight" in keep.tensors()
