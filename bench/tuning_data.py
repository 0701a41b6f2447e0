"""What sweeps/tuning_*.yaml read and the public data have in another form or place.

    python bench/tuning_data.py --data ../shared/data --to tuning_data

clinc150: the in-scope rows as CSV; of validation the first five an intent and of test the first ten, for a pass over
all of them costs as much as two epochs. cifar10: the JPEG subset, unpacked. mnist: MNIST's files with every sixth
training and every tenth test digit, of which `mnist_m` makes 11,000 coloured ones. The weights: a copy.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import shutil
import zipfile
from collections import Counter
from pathlib import Path

INTENTS = {"train": 100, "val": 5, "test": 10}
"""Rows kept of each intent, of 100, 20 and 30."""
EVERY = {"train": 6, "t10k": 10}
"""Of the digits, every so many-th is kept."""


def clinc150(data: Path, folder: Path) -> None:
    """train.csv, validation.csv and test.csv with the columns text and label."""
    with gzip.open(data / "clinc150/data_full.json.gz", "rt", encoding="utf-8") as file:
        splits = json.load(file)
    folder.mkdir(parents=True)
    for split, name in (("train", "train"), ("val", "validation"), ("test", "test")):
        seen: Counter[str] = Counter()
        with open(folder / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["text", "label"])
            for text, intent in splits[split]:
                seen[intent] += 1
                if seen[intent] <= INTENTS[split]:
                    table.writerow([text, intent])


def mnist(data: Path, folder: Path) -> None:
    """The four files in their own format, of fewer digits."""
    folder.mkdir(parents=True)
    for prefix, step in EVERY.items():
        for name, dimensions in (("images-idx3", 3), ("labels-idx1", 1)):
            whole = gzip.decompress((data / f"mnist/MNIST/raw/{prefix}-{name}-ubyte.gz").read_bytes())
            start = 4 + 4 * dimensions
            count = int.from_bytes(whole[4:8], "big")
            size = (len(whole) - start) // count
            kept = b"".join(whole[start + i * size : start + (i + 1) * size] for i in range(0, count, step))
            head = whole[:4] + (len(kept) // size).to_bytes(4, "big") + whole[8:start]
            (folder / f"{prefix}-{name}-ubyte.gz").write_bytes(gzip.compress(head + kept, mtime=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--to", type=Path, default=Path("tuning_data"))
    given = parser.parse_args()
    clinc150(given.data, given.to / "clinc150")
    mnist(given.data, given.to / "mnist")
    with zipfile.ZipFile(given.data / "cifar10/cifar10_jpeg_subset.zip") as archive:
        archive.extractall(given.to / "cifar10")
    shutil.copy(given.data / "weights/resnet20_cifar10.safetensors", given.to)


if __name__ == "__main__":
    main()
