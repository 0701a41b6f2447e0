"""Smoothed labels, against torch's own cross entropy."""

import pytest
import torch
import torch.nn.functional as F

from tlresearch.core.labels import smoothed
from tlresearch.core.types import IGNORE


def logits_and_ids(rows=7, classes=5):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(rows, classes, generator=generator), torch.randint(classes, (rows,), generator=generator)


@pytest.mark.parametrize("amount", [0.0, 0.1, 0.5])
def test_cross_entropy_of_smoothed_ids_is_torchs(amount):
    logits, y = logits_and_ids()
    y[2] = IGNORE
    found = F.cross_entropy(logits, smoothed(y, 5, amount), reduction="none")
    expected = torch.nn.CrossEntropyLoss(reduction="none", label_smoothing=amount, ignore_index=IGNORE)(logits, y)
    torch.testing.assert_close(found, expected)
    assert found[2] == 0


def test_soft_labels_are_smoothed_as_torch_does_and_unlabelled_rows_stay_zero():
    logits, _ = logits_and_ids()
    soft = torch.randn(7, 5, generator=torch.Generator().manual_seed(1)).softmax(1)
    expected = torch.nn.CrossEntropyLoss(reduction="none", label_smoothing=0.2)(logits, soft)
    torch.testing.assert_close(F.cross_entropy(logits, smoothed(soft, 5, 0.2), reduction="none"), expected)
    assert torch.equal(smoothed(torch.zeros(2, 5), 5, 0.2), torch.zeros(2, 5))


def test_a_head_trains_on_smoothed_labels_and_is_judged_by_the_labels(small_model, small_batch):
    from tlresearch.training.gradients import task_terms

    model, batch = small_model(), small_batch()
    batch = batch._replace(weight=torch.tensor([0.5, 2.0, 1.0, 1.0, 3.0, 0.25]))
    head, y = model.head("label"), batch.y["label"]
    head.label_smoothing = 0.3
    out = model(batch.x)
    logits = out.logits["label"]
    torch.testing.assert_close(head.loss(logits, y), F.cross_entropy(logits, y, reduction="none"))
    rows = F.cross_entropy(logits, y, reduction="none", label_smoothing=0.3)
    expected = (rows * batch.weight).sum() / batch.weight.sum()
    torch.testing.assert_close(task_terms(model, batch, out)["task/label"], expected)
