"""Ranking metrics of all classes at once, against scikit-learn's class by class."""

import pytest
import torch
from sklearn import metrics

from tlresearch.core.ranking import one_against_rest


@pytest.mark.parametrize("digits", [0, 1, 8])
@pytest.mark.parametrize("classes", [2, 7])
def test_as_class_by_class(digits, classes):
    """digits: 0 makes nearly all scores equal, 8 hardly any."""
    generator = torch.Generator().manual_seed(classes)
    ids = torch.cat([torch.arange(classes), torch.randint(classes, (150,), generator=generator)])
    scores = torch.randn(len(ids), classes, generator=generator).double().round(decimals=digits)
    areas, precisions = one_against_rest(scores, ids)
    for c in range(classes):
        assert float(areas[c]) == pytest.approx(metrics.roc_auc_score(ids == c, scores[:, c]))
        assert float(precisions[c]) == pytest.approx(metrics.average_precision_score(ids == c, scores[:, c]))


def test_equal_scores_say_nothing():
    areas, precisions = one_against_rest(torch.zeros(4, 2), torch.tensor([0, 1, 1, 1]))
    assert areas.tolist() == [0.5, 0.5] and precisions.tolist() == [0.25, 0.75]
