"""Runs of a predictor: answers without training, recorded like any other run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tlresearch.config.build import build
from tlresearch.core.distributed import rank
from tlresearch.core.kinds import kind_of
from tlresearch.core.rows import Rows
from tlresearch.core.types import Stage, Stream
from tlresearch.training.cost import Cost, peak_memory_bytes
from tlresearch.training.evaluate import Predictions, metrics
from tlresearch.training.logits import write_logits
from tlresearch.training.scores import stage_row, summarise
from tlresearch.training.trainer import Position


class Prediction:
    """The Trainer is passed by: each stage is shown to the predictor, then its answers are scored."""

    def __init__(self, config: Mapping[str, Any], stream: Stream, fabric: Any, rates: Any, log: Any) -> None:
        self.stream, self.cost = stream, Cost()
        self.predictors = {task.name: build("predictor", config["predictor"], task=task) for task in stream.spec.tasks}

    def run(self, folder: Path) -> dict[str, Any]:
        """Fits and scores the predictor on every stage; returns the parts of the record that it knows."""
        finished: list[dict[str, Any]] = []
        predictions: dict[int, dict[str, Predictions]] = {}
        for number, stage in enumerate(self.stream.stages):
            with self.cost.phase("train"):
                for task in stage.tasks:
                    self.predictors[task.name].fit(stage.without_test_labels())
            validation = self._predict(stage, stage.validation)
            with self.cost.phase("evaluate"):
                for i, earlier in enumerate(self.stream.stages[: number + 1]):
                    predictions[i] = self._predict(earlier, earlier.test)
            position = Position(number, 0, 0, [metrics(validation[stage.tasks[0].name], kind_of(stage.tasks[0]))])
            finished.append(stage_row(stage, position, 0, predictions))
        if not rank():
            write_logits(folder, self.stream, predictions)
        cost = {f"seconds_{phase}": value for phase, value in self.cost.seconds.items()}
        empty = {"parameters_total": 0, "parameters_trainable": 0, "parameters_changed": 0, "flops": 0.0}
        return {
            **summarise(self.stream, finished, predictions),
            "unreached": [],
            "cost": {**empty, **cost, "peak_memory_bytes": peak_memory_bytes()},
        }

    def _predict(self, stage: Stage, rows: Rows) -> dict[str, Predictions]:
        found = {}
        for task in stage.tasks:
            y = torch.as_tensor(rows.labels[task.name])
            logits = self.predictors[task.name].predict(rows.masked()).float()
            kind = kind_of(task)()
            kind.prepare(stage.train.labels[task.name])
            answers = kind.predict(logits), kind.loss(logits, y)
            found[task.name] = Predictions(logits, y, *answers, rows.domain, rows.index)
        return found
