"""Weighing tasks by their learned uncertainty."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tlresearch import Batch, Clock, Method, Model, Output, Spec, register


@register("method", "uncertainty")
class Uncertainty(Method):
    """Learns the weights of the tasks' losses (Kendall, Gal and Cipolla, 2018, arXiv:1705.07115, equation 10).

    L ← Σ_t exp(−s_t) · L_t + s_t / 2, with one learned log variance s_t = log σ_t² per task, 0 at the start; that of a
    regression (equation 7, exp(−s_t) / 2) is the same with s_t shifted by log 2. Terms of other methods keep their
    weights.
    """

    def setup(self, model: Model, spec: Spec) -> None:
        self.tasks = [task.name for task in spec.tasks]
        model.aux["uncertainty"] = nn.ParameterDict({"log_variance": torch.zeros(len(self.tasks))})

    def reweight(
        self, terms: dict[str, Tensor], model: Model, batch: Batch, out: Output, clock: Clock
    ) -> dict[str, Tensor]:
        log_variance = model.aux["uncertainty"].get_parameter("log_variance")
        weighed = dict(terms)
        for task, s in zip(self.tasks, log_variance, strict=True):
            if (name := f"task/{task}") in terms:
                weighed[name] = torch.exp(-s) * terms[name] + s / 2
        return weighed
