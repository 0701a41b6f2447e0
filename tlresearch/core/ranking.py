"""What needs the order of scores: ranking metrics of all classes by one sort, rank correlation, calibration."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def one_against_rest(scores: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Area under the ROC curve and average precision of each class against all others.

    The area is the share of pairs (row of the class, other row) in the right order, ties counting half; average
    precision is Σ over the class's rows of the precision among the rows scored at least as high, divided by their
    number. Both as scikit-learn has them, which goes class by class.

    Args:
        scores: (N, C).
        ids: (N,) in [0, C); each class occurs and none is alone, or else its values are NaN.

    Returns:
        Two tensors (C,) float64.
    """
    n, classes = scores.shape
    counts = ids.bincount(minlength=classes)
    order = ids.argsort(stable=True)
    within = torch.arange(n, device=ids.device) - (counts.cumsum(0) - counts)[ids[order]]
    own = scores.new_full((classes, int(counts.max())), -torch.inf)  # each class's own rows, filled up
    own[ids[order], within] = scores[order, ids[order]]
    above, at_least = _higher(scores.T, own)
    own_above, own_at_least = _higher(own, own)
    others_above, others_equal = above - own_above, at_least - above - (own_at_least - own_above)
    counted = torch.arange(own.shape[1], device=ids.device) < counts.unsqueeze(1)
    lost = ((others_above + others_equal / 2) * counted).sum(1) / (n - counts)
    return 1 - lost / counts, (own_at_least / at_least * counted).sum(1) / counts


def _higher(scores: Tensor, of: Tensor) -> tuple[Tensor, Tensor]:
    """For every value of `of` (C, K) how many scores (C, N) of its row lie above it, and how many are no lower."""
    by_numpy = np.sort(scores.contiguous().cpu().numpy(), axis=1)  # several times as quick as torch
    sorted_scores = torch.from_numpy(by_numpy).to(of.device)
    right = torch.searchsorted(sorted_scores, of, right=True)
    return (scores.shape[1] - right).double(), (scores.shape[1] - torch.searchsorted(sorted_scores, of)).double()


def spearman(a: Tensor, b: Tensor) -> float:
    """Pearson's correlation of the ranks of two vectors (N,) that both vary; equal values share a mean rank."""
    ranks = torch.stack([_ranks(a), _ranks(b)])
    return float(torch.corrcoef(ranks)[0, 1])


def _ranks(values: Tensor) -> Tensor:
    _, which, counts = values.unique(return_inverse=True, return_counts=True)
    ranks: Tensor = counts.cumsum(0).double() - (counts - 1).double() / 2
    return ranks[which]


def calibration_error(probabilities: Tensor, y: Tensor, bins: int = 15) -> float:
    """Expected calibration error (Guo et al., 2017, arXiv:1706.04599, eq. 3), in [0, 1].

    Σ over M bins of |B_m| / N · |acc(B_m) − conf(B_m)|, B_m the rows whose highest probability lies in
    ((m − 1) / M, m / M].

    Args:
        probabilities: (N, C), N > 0; y: ids (N,).
    """
    confidence, answers = probabilities.max(1)
    bin_of = ((confidence * bins).ceil() - 1).clamp(0, bins - 1).long()
    gaps = (answers == y).to(confidence.dtype) - confidence
    return float(confidence.new_zeros(bins).index_add_(0, bin_of, gaps).abs().sum() / len(y))
