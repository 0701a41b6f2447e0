"""Label names beside formats that have no place of their own for them."""

from __future__ import annotations

import json
from pathlib import Path

from tlresearch.export.source import Source

FILE = "labels.json"


def write(source: Source, folder: Path) -> None:
    """labels.json: task → label names in the order of its logits, none of a regression."""
    (folder / FILE).write_text(as_json(source) + "\n", encoding="utf-8")


def decoding(source: Source, *lines: str) -> tuple[str, ...]:
    """`lines` of Python that make labels of `logits`; of a regression, whose logits are the numbers, another one."""
    return lines if source.task.labels else ("values = logits[:, 0].tolist()",)


def as_json(source: Source) -> str:
    """Task → label names, as JSON."""
    return json.dumps({task.name: list(task.labels) for task in source.run.spec.tasks}, indent=1, ensure_ascii=False)
