"""What a training step of each way to tune costs beside one of full fine-tuning: time, peak memory, operations.

MiniLM at 16 × 32 tokens. Times: the cases take turns, step by step, in one process; a ratio is the median over rounds,
with the 95 % interval of the median over resampled rounds. Memory: a process for each case; `training` is the most that
steps add (activations, gradients, moments) to what it held before training began (libraries, network, rows). Operations
are those of `cost.flops`. Making activations that are kept is in none of the three: it is done once. Run:

    OMP_NUM_THREADS=1 python bench/steps.py
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from side_by_side import Silent, interval, session

from tlresearch.training.cost import peak_memory_bytes, reset_peak_memory

NEVER, ALWAYS = "cache.features=never", "cache.features=always"
FULL = "full fine-tuning"
CASES = {
    FULL: ["method=[finetune]", NEVER],
    "probe": ["method=[probe]", NEVER],
    "probe, kept activations": ["method=[probe]", ALWAYS],
    "top 2 blocks": ["method=[partial]", NEVER],
    "top 2 blocks, kept activations": ["method=[partial]", ALWAYS],
    "LoRA, rank 8": ["method=[lora]", NEVER],
    "adapter, reduction 16": ["method=[adapter]", NEVER],
    "BitFit": ["method=[bitfit]", NEVER],
}
BATCH = 16
WARM_UP = 3
STEPS_FOR_MEMORY = 6


class Loop:
    """One case, ready for its next step."""

    def __init__(self, overrides: list[str], store: Path) -> None:
        network = ["backbone=minilm", "dataset=bench_tokens", f"batch_size={BATCH}", "steps=100000", f"store={store}"]
        made = session(*network, *overrides)
        keeper: Any = Silent()
        if ALWAYS in overrides:
            keeper.cut = made._cut
        self.trainer, self.position, rows = made.trainer, made.position, made.prepared["train"]
        self.resident = resident()
        meter = self.trainer.begin(rows, None, self.position, keeper)
        assert meter is not None and made.features.report["used"] == (ALWAYS in overrides), made.features.report
        self.meter, self.per_epoch = meter, self.trainer.steps_per_epoch(len(rows))
        self.batches = self.trainer._batches(rows, None, 0, self.position.total)
        self.moving = sum(p.numel() for p in made.model.parameters() if p.requires_grad)
        self.flops = self.trainer.flops_per_row * BATCH

    def step(self) -> float:
        """Seconds of one step, the making of its batch included."""
        start = time.perf_counter()
        clock = self.trainer.clock(self.position, self.per_epoch)
        self.trainer.step(next(self.batches), clock, self.meter)
        self.position.step += 1
        return time.perf_counter() - start


def times(rounds: int, store: Path) -> tuple[dict[str, list[float]], dict[str, Loop]]:
    """Case → seconds of its step in each round, and the case itself."""
    loops = {name: Loop(overrides, store) for name, overrides in CASES.items()}
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(WARM_UP + rounds):
        for name, loop in loops.items():
            seconds[name].append(loop.step())
    return {name: found[WARM_UP:] for name, found in seconds.items()}, loops


def resident() -> int:
    """Bytes that this process holds now, what it has freed given back; the peak counts from here on. Linux only."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    reset_peak_memory()
    return peak_memory_bytes()


def memory(name: str, store: Path) -> dict[str, int]:
    """Bytes that this process holds before the first step, and the most that it holds during some."""
    loop = Loop(CASES[name], store)
    resident()
    for _ in range(STEPS_FOR_MEMORY):
        loop.step()
    return {"resident": loop.resident, "peak": peak_memory_bytes()}


def memory_of_its_own(name: str) -> dict[str, int]:
    """The same in a process that has done nothing else."""
    command = [sys.executable, __file__, "--case", name]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40, help="so many steps of each case")
    parser.add_argument("--case", choices=CASES, help="measures the memory of this case alone, as JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tlresearch_bench_") as folder:
        if arguments.case:
            print(json.dumps(memory(arguments.case, Path(folder))))
            return
        found = {name: memory_of_its_own(name) for name in CASES}
        seconds, loops = times(arguments.rounds, Path(folder))
    added = {name: found[name]["peak"] - found[name]["resident"] for name in CASES}
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {arguments.rounds} rounds; ratios to {FULL}")
    titles = ("moving", "ms", "time", "95 %", "operations", "peak MB", "peak", "training MB", "training")
    print(f"{'':<32}" + "".join(f"{title:>16}" for title in titles))
    for name in CASES:
        ratios = [a / b for a, b in zip(seconds[name], seconds[FULL], strict=True)]
        low, high = interval(ratios)
        cells = (
            f"{loops[name].moving:,}",
            f"{statistics.median(seconds[name]) * 1e3:.1f}",
            f"{statistics.median(ratios):.3f}",
            f"{low:.3f} to {high:.3f}",
            f"{loops[name].flops / loops[FULL].flops:.3f}",
            f"{found[name]['peak'] / 1e6:.0f}",
            f"{found[name]['peak'] / found[FULL]['peak']:.2f}",
            f"{added[name] / 1e6:.0f}",
            f"{added[name] / added[FULL]:.2f}",
        )
        print(f"{name:<32}" + "".join(f"{cell:>16}" for cell in cells))


if __name__ == "__main__":
    main()
