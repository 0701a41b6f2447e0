"""The tables of docs/results/tuning.md and recipes.md, out of the store of the sweeps/tuning_*.yaml.

    python bench/tuning_table.py runs/tuning

A row an arm. Of an arm's learning rates the one is shown that is best on validation at seed 0, by accuracy and then
loss; test rows play no part. Intervals are Student's t at 95 %. Seconds, the median over seeds, are of training: steps,
waiting for data, computing features (by the first run alone that needs them), and the run that it starts from. Arms
that were run on another data set of the same kind but not here are *not run*.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tlresearch.results.report import training_seconds
from tlresearch.results.statistics import half_width, mean

REFERENCE = "finetune"
HEADER = (
    "arm", "rate (tried)", "validation", "test accuracy", "n", "points to finetune", "trainable", "seconds", "peak MB"
)  # fmt: skip
SETS = {
    ("text_file", "tuning_data/clinc150"): "CLINC150, 10 labels an intent, MiniLM",
    ("text_file", "sst2"): "SST-2, 250 labels a class, MiniLM",
    ("image_folder", "office_caltech10/amazon"): "Office-Caltech-10 amazon, 20 labels a class, EfficientNet-Lite0",
    ("image_folder", "office_caltech10/webcam"): "Office-Caltech-10 webcam, 8 labels a class, EfficientNet-Lite0",
    ("image_folder", "tuning_data/cifar10"): "CIFAR-10 (JPEG subset), 25 labels a class, EfficientNet-Lite0",
    ("mnist_m", "tuning_data/mnist"): "MNIST-M, 25 labels a class, ResNet-20 of CIFAR-10",
    ("usps", "usps/usps.npz"): "USPS, 5 labels a class, a small ViT of MNIST",
}
"""Name and path of a data set → the title of its table."""
Row = Mapping[str, Any]


def report(stores: Sequence[Path]) -> list[dict[str, Any]]:
    """The runs that are done, as `tlresearch report --format json` gives them."""
    command = [sys.executable, "-m", "tlresearch", "report", *map(str, stores), "--format", "json"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return [row for row in found if row["status"] == "done"]


def begins(row: Row, by_identity: Mapping[str, Row]) -> list[Row]:
    """The runs on the same rows that a run started from; where the network itself comes from is no way to tune it."""
    given = row["config"]["init_from"] or []
    names = [given] if isinstance(given, str) else given
    found = [by_identity[Path(name.partition(":")[0]).name] for name in names]
    return [start for start in found if start["dataset"] == row["dataset"]]


def arm(row: Row, by_identity: Mapping[str, Row]) -> str:
    """What a run is called: method, tuner, what it started from, and what else its sweep varies."""
    if row["weights"] == "none" and row["config"]["init_from"] is None:
        return "scratch"
    name = " + ".join([method(row, chosen) for chosen in row["method"] or ["finetune"]])
    if begins(row, by_identity):
        name = "LP-FT" if name == "finetune" else f"{name} after probe"
    if name == "probe":
        return f"probe ({'SGD' if row['head'] == 'linear' else row['head']})"
    config, head = row["config"], row["config"]["head"]
    changed = {
        "optimizer": (config["optimizer"]["name"], "adamw"),
        "schedule": (config["schedule"]["name"], "cosine"),
        "head": (head["name"], "linear"),
        "pooling": (head["pooling"], "auto"),
        "label smoothing": (head["label_smoothing"], 0),
    }
    return ", ".join([name, *(f"{key} {given}" for key, (given, usual) in changed.items() if given != usual)])


def method(row: Row, name: str) -> str:
    """A method with the options that its sweep varies."""
    options = row["config"]["method"].get(name) or {}
    if name == "peft":
        return f"peft {options['type']}"
    if name == "partial" and options.get("include"):
        return "partial (convolutions)"
    if name == "visual_prompt":
        return f"visual_prompt ({'deep' if options['deep'] else 'shallow'})"
    if name == "lora":
        varied = [key for key in ("dora", "rslora") if options[key]]
        varied += [options["initialisation"]] if options["initialisation"] != "default" else []
        varied += ["LoRA+"] if options["ratio"] != 1 else []
        return f"lora ({', '.join(varied)})" if varied else "lora"
    return name


def seconds(row: Row, by_identity: Mapping[str, Row]) -> float:
    """Of training, and of that of the runs it started from."""
    own = training_seconds(row["cost"]) or 0.0
    return own + sum(seconds(start, by_identity) for start in begins(row, by_identity))


def rate(row: Row) -> str:
    """optimizer.lr, or that there is none to choose."""
    if row["cost"]["parameters_trainable"] == 0:
        return "–"
    lr = row["config"]["optimizer"]["lr"]
    return "recommended" if lr is None else f"{lr:g}"


def score(row: Row) -> tuple[float, float]:
    """What rates are chosen by: accuracy on validation, among equals the lower loss."""
    validation = row["metrics"]["validation"]
    return validation["accuracy"], -validation["loss"]


def chosen(runs: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """The runs of the rate that is best at seed 0, in the order of their seeds, and seed 0's runs of all rates."""
    first = [row for row in runs if row["seed"] == 0]
    best = rate(max(first, key=score))
    return sorted((row for row in runs if rate(row) == best), key=lambda row: row["seed"]), first


def table(of: Mapping[str, Sequence[Row]], by_identity: Mapping[str, Row]) -> list[str]:
    """Markdown: the arms of a data set, best first, then those that were not run."""
    found = {name: chosen(runs) for name, runs in of.items() if runs}
    reference = {row["seed"]: row["value"] for row in found[REFERENCE][0]} if REFERENCE in found else {}
    lines = {}
    for name, (best, tried) in found.items():
        values = [row["value"] for row in best]
        apart = [row["value"] - reference[row["seed"]] for row in best if row["seed"] in reference]
        rates = ", ".join(rate(row) for row in tried if rate(row) != rate(best[0]))
        points = interval(apart, 100, "+") if apart and name != REFERENCE else ""
        lines[name] = (
            f"{name} | {rate(best[0])}{f' ({rates})' if rates else ''} | {max(map(score, tried))[0]:.3f} | "
            f"{interval(values)} | {len(values)} | {points} | "
            f"{mean([row['cost']['parameters_trainable'] for row in best]):,.0f} | "
            f"{statistics.median(seconds(row, by_identity) for row in best):.1f} | "
            f"{mean([row['cost']['peak_memory_bytes'] for row in best]) / 1e6:,.0f}"
        )
    order = sorted(found, key=lambda name: -mean([row["value"] for row in found[name][0]]))
    missing = ", ".join(name for name in of if name not in found)
    head = [" | ".join(HEADER), " | ".join("---" for _ in HEADER)]
    rows = [f"| {line} |" for line in [*head, *(lines[name] for name in order)]]
    return [*rows, *(["", f"*not run*: {missing}"] if missing else [])]


def interval(values: Sequence[float], scale: float = 1, sign: str = "") -> str:
    """The mean, ± half the 95 % interval where there are several."""
    half, digits = half_width(values), 1 if scale > 1 else 3
    width = "" if half is None else f" ± {scale * half:.{digits}f}"
    return f"{scale * mean(values):{sign}.{digits}f}{width}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stores", type=Path, nargs="+")
    rows = report(parser.parse_args().stores)
    by_identity = {row["identity"]: row for row in rows}
    found: dict[tuple[str, str], dict[str, list[Row]]] = {key: {} for key in SETS}
    kinds: dict[str, dict[str, None]] = {}  # backbone → its arms
    for row in rows:
        key = row["dataset"], row["config"]["dataset"]["path"]
        if key in SETS:
            name = arm(row, by_identity)
            found[key].setdefault(name, []).append(row)
            kinds.setdefault(row["backbone"], {})[name] = None
    for key, title in SETS.items():
        for backbone in {row["backbone"] for runs in found[key].values() for row in runs}:
            of = {name: found[key].get(name, []) for name in kinds[backbone]}
            print(f"\n### {title}\n")
            print("\n".join(table(of, by_identity)))


if __name__ == "__main__":
    main()
