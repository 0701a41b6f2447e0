"""How long `tlresearch report` takes over a store of 10,000 runs.

Copies of one real record (of two steps on the digits) with other methods, labels, rates and seeds, and a number drawn
for each, are written as a store; the command reads it as a process of its own, several times, and the store is removed:

    OMP_NUM_THREADS=1 python bench/report.py
"""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import tlresearch

RUNS = 10_000
METHODS = ("probe", "finetune", "lora", "ewc", "replay")
LABELS, RATES = (5, 10, 20, 50, 100), (0.0001, 0.001, 0.01, 0.1)
COMMANDS = {
    "--by method,dataset.labels_per_class": ("--by", "method,dataset.labels_per_class"),
    "the same, pivoted, of 5 and 10 labels": (
        "--by", "method", "--pivot", "dataset.labels_per_class", "--where", "dataset.labels_per_class<=10",
    ),
    "--select validation.accuracy": (
        "--by", "method,dataset.labels_per_class", "--select", "validation.accuracy", "--over", "optimizer.lr",
    ),
    "all settings but the seeds": (),
    "--format json": ("--format", "json"),
}  # fmt: skip


def write_store(store: Path, record: dict[str, Any]) -> None:
    """RUNS folders; as many seeds as it takes."""
    generator = random.Random(0)
    settings = itertools.product(range(RUNS), METHODS, LABELS, RATES)
    for i, (seed, method, labels, rate) in enumerate(itertools.islice(settings, RUNS)):
        folder = store / f"{i:016x}"
        folder.mkdir()
        config = record["config"]
        config["seed"], config["dataset"]["sample_seed"] = seed, seed
        config["dataset"]["labels_per_class"], config["optimizer"]["lr"] = labels, rate
        config["method"] = {} if method == "finetune" else {method: {}}
        value = generator.gauss(0.6 + METHODS.index(method) / 50 + labels / 1000, 0.02)
        record["metrics"]["test"]["accuracy"] = record["metrics"]["validation"]["accuracy"] = value
        (folder / "run.json").write_text(json.dumps({**record, "identity": folder.name}, indent=1))


def main() -> None:
    """Prints a line a command: the quickest of three, and the slowest."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        run = tlresearch.run(["backbone=mlp", "steps=2", "progress=false", f"store={home / 'one'}"])
        store = home / "runs"
        store.mkdir()
        write_store(store, run.record)
        size = sum(file.stat().st_size for file in store.rglob("run.json"))
        print(f"{RUNS:,} runs, {size / 1e6:.0f} MB of records")
        for said, arguments in COMMANDS.items():
            seconds = []
            for _ in range(3):
                begin = time.perf_counter()
                command = [sys.executable, "-m", "tlresearch", "report", str(store), *arguments]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                seconds.append(time.perf_counter() - begin)
            print(f"{said}: {min(seconds):.2f} to {max(seconds):.2f} s")


if __name__ == "__main__":
    main()
