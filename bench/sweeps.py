"""What sharing saves: sweeps of tlresearch beside the same work done run by run, whole processes on the clock.

    OMP_NUM_THREADS=2 python bench/sweeps.py probes --data ../shared/data    # 64 probes on CLINC150, about 15 minutes
    OMP_NUM_THREADS=2 python bench/sweeps.py blocks                          # top blocks, gradual unfreezing
    OMP_NUM_THREADS=2 python bench/sweeps.py pipeline starts                 # pipelines; time between two runs

Every figure is a ratio of wall times measured one after the other on the same machine.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RATES = "1e-4,3e-4,1e-3,2e-3,3e-3,5e-3,1e-2,3e-2"
DECAYS = "0,0.001,0.01,0.1"
TURNS = 3
FROZEN_RUNS = 2
"""So many of the 64 runs of transformers.Trainer are measured; the rest is multiplied. The same of single commands."""


def train(*overrides: str, store: Path, multirun: bool = False) -> float:
    """Seconds of one `tlresearch train`, from its start to its end."""
    return run(_command(overrides, store, multirun))


def _command(overrides: Sequence[str], store: Path, multirun: bool) -> list[str]:
    command = [sys.executable, "-m", "tlresearch", "train", *(["-m"] if multirun else []), *overrides]
    return [*command, f"store={store}", "progress=false", "accelerator=cpu"]


def run(command: Sequence[str]) -> float:
    """Seconds of one command."""
    start = time.perf_counter()
    _moments(command)
    return time.perf_counter() - start


def _moments(command: Sequence[str]) -> list[float]:
    """Runs a command; returns when it began each run of its sweep, in seconds of this process's clock."""
    environment = {**os.environ, "TLRESEARCH_PLUGINS": str(HERE / "plugins")}
    said, moments = [], []
    running = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert running.stdout is not None
    for line in running.stdout:
        said.append(line)
        if line.startswith("["):  # "[3/10, about 5 s left] …", written as the run begins
            moments.append(time.perf_counter())
    if running.wait():
        raise SystemExit(f"{' '.join(command)}\n{''.join(said)[-4000:]}")
    return moments


def records(store: Path) -> list[dict[str, Any]]:
    """The records of all runs of a store, in the order they were started."""
    found = [json.loads(file.read_text()) for file in store.glob("*/run.json")]
    return sorted(found, key=lambda record: str(record["started"]))


def tell(name: str, value: float, target: str) -> None:
    print(f"{name:<72}{value:>8.2f}   target {target}", flush=True)


def clinc150(data: Path, folder: Path) -> Path:
    """The in-scope rows as CSV files; their texts and labels are the published ones."""
    with gzip.open(data / "clinc150/data_full.json.gz", "rt", encoding="utf-8") as file:
        splits = json.load(file)
    folder.mkdir(parents=True)
    for split, name in (("train", "train"), ("val", "validation"), ("test", "test")):
        with open(folder / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["text", "label"])
            table.writerows(splits[split])
    return folder


def probes(data: Path, scratch: Path, turns: int) -> None:
    """8 rates × 4 weight decays × 2 seeds, 5 epochs of a linear probe on CLINC150 with MiniLM."""
    path = clinc150(data, scratch / "clinc150")
    base = ["backbone=minilm", "dataset=text_file", f"dataset.path={path}", "method=[probe]", "epochs=5"]
    grid = [f"optimizer.lr={RATES}", f"optimizer.weight_decay={DECAYS}", "seed=0,1", "batch_size=32"]
    cold = train(*base, *grid, "hydra/launcher=fused", store=scratch / "cold", multirun=True)
    made = records(scratch / "cold")
    assert len(made) == 64 and all(record["status"] == "done" for record in made), len(made)
    best = max(record["metrics"]["test"]["accuracy"] for record in made)
    print(f"64 probes from cold: {cold:.1f} s, test accuracy up to {best:.4f}")
    shutil.copytree(scratch / "cold/features", scratch / "single/features")
    seconds, work = _warm(scratch, [*base, *grid], turns)
    worst, metric = _difference(scratch / "together0", scratch / "alone0")
    print(f"largest difference of a metric between together and alone: {worst:.2g} ({metric})")
    single = [*base, "optimizer.weight_decay=0", "batch_size=32", "seed=0"]
    commands = [train(*single, f"optimizer.lr={lr}", store=scratch / "single") for lr in ("1e-3", "3e-3")]
    print(f"a command of its own: {', '.join(f'{s:.1f}' for s in commands)} s")
    peer = [run([sys.executable, str(HERE / "frozen_trainer.py"), str(path), str(seed)]) for seed in range(FROZEN_RUNS)]
    print(f"frozen encoder with transformers.Trainer, one run: {', '.join(f'{s:.1f}' for s in peer)} s")
    tell("64 runs of transformers.Trainer (multiplied) / 64 probes from cold", 64 * statistics.mean(peer) / cold, "150")
    tell("64 probes one by one / together, both on kept features", seconds["alone"] / seconds["together"], "3")
    tell("their training alone, by the records", work["alone"] / work["together"], "2.5")
    each = 64 * statistics.mean(commands)
    tell("64 commands (2 measured, multiplied) / 64 probes together", each / seconds["together"], "–")


def _warm(scratch: Path, overrides: Sequence[str], turns: int) -> tuple[dict[str, float], dict[str, float]]:
    """Both ways in turn, each on kept features: means of the wall times and of what the records say of training."""
    seconds: dict[str, list[float]] = {"together": [], "alone": []}
    work: dict[str, list[float]] = {"together": [], "alone": []}
    for turn in range(turns):
        for way, launcher in (("together", "fused"), ("alone", "basic")):
            store = scratch / f"{way}{turn}"
            shutil.copytree(scratch / "cold/features", store / "features")
            seconds[way].append(train(*overrides, f"hydra/launcher={launcher}", store=store, multirun=True))
            work[way].append(sum(record["cost"]["seconds_train"] for record in records(store)))
            print(f"64 probes on kept features, {way}: {seconds[way][-1]:.1f} s", flush=True)
    return _means(seconds), _means(work)


def _means(values: dict[str, list[float]]) -> dict[str, float]:
    return {name: statistics.mean(of) for name, of in values.items()}


def _difference(first: Path, second: Path) -> tuple[float, str]:
    """The largest difference of a number on the test rows between records of one identity, and its name."""
    found = [(0.0, "none")]
    for record in records(first):
        other = json.loads((second / record["identity"] / "run.json").read_text())["metrics"]["test"]
        numbers = {name: value for name, value in record["metrics"]["test"].items() if isinstance(value, int | float)}
        found += [(abs(value - other[name]), name) for name, value in numbers.items()]
    return max(found)


def blocks(scratch: Path, turns: int) -> None:
    """MiniLM at 16 × 32 tokens, 5 epochs: the top two blocks and gradual unfreezing, with and without the cache.

    The cases take turns; what counts is each one's median.
    """
    base = ["backbone=minilm", "dataset=bench_tokens", "batch_size=16", "epochs=5"]
    cases = {
        "top 2 blocks, cached": ["method=[partial]"],
        "top 2 blocks, not cached": ["method=[partial]", "cache.features=never"],
        "full fine-tuning": ["method=[finetune]"],
        "gradual unfreezing, cached": ["method=[gradual_unfreezing]"],
        "gradual unfreezing, not cached": ["method=[gradual_unfreezing]", "cache.features=never"],
    }
    found: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(turns):
        for i, (name, overrides) in enumerate(cases.items()):
            store = scratch / f"blocks{turn}.{i}"
            train(*base, *overrides, store=store)
            cost = records(store)[0]["cost"]
            found[name].append(sum(cost[f"seconds_{phase}"] for phase in ("train", "evaluate", "features")))
            print(f"{name:<32}{found[name][-1]:>8.1f} s of computing", flush=True)
    seconds = {name: statistics.median(of) for name, of in found.items()}
    top = seconds["top 2 blocks, cached"]
    tell("top 2 blocks: not cached / cached", seconds["top 2 blocks, not cached"] / top, "1.4")
    tell("full fine-tuning / top 2 blocks, cached", seconds["full fine-tuning"] / top, "2.2")
    gradual = seconds["gradual unfreezing, not cached"] / seconds["gradual unfreezing, cached"]
    tell("gradual unfreezing: not cached / cached", gradual, "–")


def pipeline(scratch: Path) -> None:
    """One pre-training (sentiment) and 6 settings of the target (intent), against one of each."""
    base = ["backbone=minilm", "dataset=support", "batch_size=16"]
    before, after = ["dataset.task=sentiment", "steps=120"], ["dataset.labels_per_class=10", "steps=40"]
    first = train(*base, *before, store=scratch / "one")
    (source,) = records(scratch / "one")
    second = train(*base, *after, f"init_from={scratch / 'one' / source['identity']}", store=scratch / "two")
    listed = ", ".join(f'"{override}"' for override in [*base, *before])
    stages = f'pipeline={{before: [{listed}], after: ["init_from=before"]}}'
    whole = train(*base, *after, stages, f"seed={','.join(map(str, range(6)))}", store=scratch / "all", multirun=True)
    made = records(scratch / "all")
    assert len(made) == 7 and all(record["status"] == "done" for record in made), len(made)
    print(f"pre-training {first:.1f} s, target {second:.1f} s, the sweep {whole:.1f} s")
    tell("6-run pipeline sweep / (prefix + 6 × target)", whole / (first + 6 * second), "1.2 at most")


def starts(scratch: Path) -> None:
    """What lies between the work of two runs of a sweep in one process: from one's first line to the next one's.

    Work are steps and evaluations. The first run also imports and reads, and after the last no line comes.
    """
    rates = ",".join(f"{i}e-3" for i in range(1, 11))
    base = ["backbone=minilm", "dataset=support", "method=[probe]", "steps=100", f"optimizer.lr={rates}"]
    train(*base, store=scratch / "first", multirun=True)
    shutil.copytree(scratch / "first/features", scratch / "starts/features")
    moments = _moments(_command(base, scratch / "starts", multirun=True))
    made = records(scratch / "starts")
    work = [sum(r["cost"][f"seconds_{phase}"] for phase in ("train", "evaluate")) for r in made]
    between = [end - begin - own for begin, end, own in zip(moments[1:], moments[2:], work[1:], strict=False)]
    print(f"between two runs: {', '.join(f'{seconds:.2f}' for seconds in between)} s")
    tell("seconds between two runs beyond their own work", statistics.mean(between), "0.3 (s)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="+", choices=("probes", "blocks", "pipeline", "starts"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the public data sets")
    parser.add_argument("--turns", type=int, default=TURNS, help="how often warm sweeps and blocks are measured")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tlresearch_bench_") as folder:
        for case in arguments.case:
            scratch = Path(folder) / case
            scratch.mkdir()
            if case == "probes":
                probes(arguments.data, scratch, arguments.turns)
            elif case == "blocks":
                blocks(scratch, arguments.turns)
            else:
                globals()[case](scratch)


if __name__ == "__main__":
    main()
