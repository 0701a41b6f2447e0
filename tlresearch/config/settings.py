"""Every top-level key of a configuration: its type, its default and what it means. The groups fill in the rest."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tlresearch.config.budget import hour_prices
from tlresearch.config.errors import Problems, nearest
from tlresearch.config.registry import KINDS

ACCELERATORS = ("auto", "cpu", "cuda", "gpu", "mps", "tpu")
STRATEGIES = ("auto", "ddp", "fsdp")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
BATCH_NORM = ("eval", "train", "recalibrate")


@dataclass
class Cache:
    """cache.*"""

    memory_gb: float = 4.0  # prepared rows are kept in memory up to this size (GB)
    features: str = "auto"  # keeps activations of a frozen front in the store: auto (where it pays), always, never
    max_gb: float = 10.0  # largest size of all kept activations (GB); those unused for longest make room
    dtype: str = "float32"  # in which activations are kept: float32, float16


@dataclass
class Budget:
    """budget.*"""

    seconds: float | None = None  # since the command began; then what runs is saved and no other begins; null = ever
    usd: float | None = None  # the same as money, at the hour price of the device used


@dataclass
class Prices:
    """prices.*"""

    usd_per_gpu_hour: float | None = None  # of one GPU with its share of the machine; gives cost.usd of runs on GPUs
    usd_per_cpu_hour: float | None = None  # of a machine that computes on its CPU; gives cost.usd of runs on CPUs
    usd_per_label: float | None = None  # of one labelled training row; for report --roi
    usd_per_engineer_day: float | None = None  # for report --roi, with its --engineer-days


@dataclass
class Settings:
    """The top-level keys. OmegaConf reads the annotations, `tlresearch show settings` the comments."""

    seed: int = 0  # draws initial weights, orders and everything else that no other seed draws
    store: str = "runs"  # folder of all runs and their records
    data_dir: str | None = None  # folder that relative paths of datasets start from; null = the one we are in
    epochs: int = 20  # passes over the training rows, per stage
    steps: int | None = None  # optimizer steps per stage; wins over epochs; null = by epochs
    batch_size: int = 32  # rows per optimizer step, over all devices and accumulated micro-batches
    accumulate: int = 1  # micro-batches that one step's rows are split into
    clip: float | None = None  # largest norm of the gradient; null = no clipping
    patience: int | None = None  # evaluations without a better one before training stops early; null = never
    evaluate_every: int | None = None  # steps between validations; null = after each epoch
    log_every: int = 50  # steps between two readings of the training loss
    checkpoint_seconds: float = 30.0  # least time between two resumable checkpoints (s)
    bn: str = "eval"  # BatchNorm of frozen parts: eval, train, recalibrate
    gradient_checkpointing: bool = False  # computes activations of blocks twice to save memory
    devices: Any = 1  # how many devices train together: a number, or auto
    num_nodes: int = 1  # how many machines train together
    accelerator: str = "auto"  # auto, cpu, cuda, gpu, mps, tpu
    strategy: str = "auto"  # how devices train together: auto, ddp, fsdp
    precision: str = "32-true"  # 32-true, bf16-mixed, 16-mixed (not on a CPU)
    compile: bool = False  # torch.compile of the model
    deterministic: bool = False  # only deterministic operations; an operation without such a form is an error
    debug: bool = False  # full traceback of every error
    progress: bool = True  # tells device, data and what came out, with a bar in a terminal; false = warnings only
    dry_run: bool = False  # lists the runs, which of them are done and how long the rest may take; trains nothing
    retry_failed: bool = False  # runs a configuration again whose record says failed
    rerun_stale: bool = False  # runs a configuration again whose record was made by other code
    objective: str | None = None  # what a sweeper optimises, e.g. validation.loss; null = the headline's on validation
    init_from: Any = None  # starts from a run's weights: RUN, RUN:best, RUN:last (folder, identity); a list averages
    init_heads: list[str] | None = None  # tasks whose heads are carried on from there; null = all that fit
    init_methods: list[str] = field(default_factory=list)  # methods whose state is carried on (the run kept methods)
    keep: list[str] = field(default_factory=list)  # saved beside the reported weights: last (weights), methods (states)
    pipeline: Any = None  # NAME: [KEY=VALUE, …] of runs in order, joined by init_from=NAME; other overrides: the last
    pipeline_shared: list[str] = field(default_factory=list)  # keys whose other overrides are for all its runs
    cache: Cache = field(default_factory=Cache)
    budget: Budget = field(default_factory=Budget)
    prices: Prices = field(default_factory=Prices)
    heads: dict[str, Any] = field(default_factory=dict)  # TASK: a head of its own, a name or {name: …, options}
    backbone: Any = None
    head: Any = None
    method: dict[str, Any] = field(default_factory=dict)  # NAME: options of each method of the list
    dataset: Any = None
    optimizer: Any = None
    schedule: Any = None
    tracker: dict[str, Any] = field(default_factory=dict)  # NAME: options of each tracker of the list
    selection: Any = None
    predictor: Any = None  # answers without training; the Trainer is passed by


def documented() -> list[tuple[str, str, str, str]]:
    """(key, type, default, what it means) of every key above that is no group, as this file's lines say it."""
    rows, prefix = [], ""
    for line in Path(__file__).read_text(encoding="utf-8").splitlines():
        if line.startswith("class "):
            name = line.removeprefix("class ").partition(":")[0]
            prefix = "" if name == "Settings" else f"{name.lower()}."
        found = re.fullmatch(r"    (\w+): (.+?) = (.+?)  # (.+)", line)
        if found and found[1] not in KINDS:
            rows.append((prefix + found[1], found[2], _shown(found[3]), found[4]))
    return sorted(rows, key=lambda row: "." in row[0])


def _shown(default: str) -> str:
    return default.replace("field(default_factory=dict)", "{}").replace("field(default_factory=list)", "[]")


_AT_LEAST = {
    "epochs": 1,
    "steps": 1,
    "batch_size": 1,
    "accumulate": 1,
    "patience": 1,
    "evaluate_every": 1,
    "num_nodes": 1,
    "log_every": 1,
    "seed": 0,
    "checkpoint_seconds": 0,
}


def check_ranges(values: dict[str, Any], problems: Problems) -> None:
    """Adds what is out of range among the plain top-level values."""
    for key, least in _AT_LEAST.items():
        if values[key] is not None and values[key] < least:
            problems.add(key, f"{values[key]!r}: must be at least {least}")
    if values["clip"] is not None and values["clip"] <= 0:
        problems.add("clip", f"{values['clip']!r}: must be above 0, or null for no clipping")
    if values["cache"]["memory_gb"] < 0:
        problems.add("cache.memory_gb", f"{values['cache']['memory_gb']!r}: must be at least 0")
    for group in ("budget", "prices"):
        for name, value in values[group].items():
            if value is not None and not 0 < value < math.inf:
                problems.add(f"{group}.{name}", f"{value!r}: must be above 0, or null for none")
    wanted = hour_prices(values["accelerator"])
    if values["budget"]["usd"] is not None and all(values["prices"][name] is None for name in wanted):
        told = " or ".join(f"prices.{name}" for name in wanted)
        problems.add("budget.usd", f"{values['budget']['usd']!r}: needs a price; give {told} as well")
    if values["objective"] is not None and not values["objective"].startswith("validation."):
        reason = "must be a metric of the validation rows (validation.accuracy); test rows choose nothing"
        problems.add("objective", f"{values['objective']!r}: {reason}")
    if values["accumulate"] > values["batch_size"] >= 1:
        problems.add("accumulate", f"{values['accumulate']!r}: must be at most batch_size ({values['batch_size']})")
    devices = values["devices"]
    if devices != "auto" and (not isinstance(devices, int) or isinstance(devices, bool) or devices < 1):
        problems.add("devices", f"{devices!r}: must be an integer of at least 1, or auto")
    if values["cache"]["max_gb"] <= 0:
        problems.add("cache.max_gb", f"{values['cache']['max_gb']!r}: must be above 0; cache.features=never keeps none")
    for key, allowed in {"features": ("auto", "always", "never"), "dtype": ("float32", "float16")}.items():
        if values["cache"][key] not in allowed:
            problems.add(f"cache.{key}", f"{values['cache'][key]!r}: unknown; {nearest(values['cache'][key], allowed)}")
    choices = {"accelerator": ACCELERATORS, "strategy": STRATEGIES, "precision": PRECISIONS, "bn": BATCH_NORM}
    for key, allowed in choices.items():
        if values[key] not in allowed:
            problems.add(key, f"{values[key]!r}: unknown; {nearest(values[key], allowed)}")
