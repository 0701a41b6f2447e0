"""`tlresearch list [KIND]`: every plugin and variant, where it comes from, and what is wrong with broken ones."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from tlresearch.commands.table import print_table
from tlresearch.config import registry
from tlresearch.config.errors import choose


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what `tlresearch list` takes."""
    parser.add_argument("kind", nargs="?", metavar="KIND", help=f"one of {', '.join(registry.KINDS)}; all if omitted")
    parser.add_argument("--json", action="store_true", help="one JSON array, an object per plugin")


def main(arguments: argparse.Namespace) -> int:
    """Prints the catalogue. A broken plugin is a row with its error and no reason to fail."""
    if arguments.kind is not None:
        choose("KIND", arguments.kind, registry.KINDS)
    found = rows(arguments.kind)
    if arguments.json:
        print(json.dumps(found, indent=1, ensure_ascii=False))
        return 0
    shown = [
        [row["kind"], row["name"], row["origin"], f"error: {row['error']}" if row["error"] else row["summary"]]
        for row in found
    ]
    print_table(["kind", "name", "origin", "summary"], shown)
    return 0


def rows(kind: str | None = None) -> list[dict[str, Any]]:
    """kind, name, origin, summary, file, line, error; in the order of the kinds, unknown ones last.

    A plugin whose kind cannot be read may be of any.
    """
    order = {name: i for i, name in enumerate(registry.KINDS)}
    found = [
        {key: getattr(entry, key) for key in ("kind", "name", "origin", "summary", "file", "line", "error")}
        for entry in registry.index().values()
        if kind in (None, entry.kind) or not entry.kind
    ]
    for name in order if kind is None else [kind]:
        found += [_variant(name, variant, file) for variant, file in registry.variants(name).items()]
    return sorted(found, key=lambda row: (order.get(str(row["kind"]), len(order)), str(row["name"])))


def _variant(kind: str, name: str, file: Path) -> dict[str, Any]:
    comments = [line[1:].strip() for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    summary = next((comment for comment in comments if not comment.startswith("@")), "")
    row = {"kind": kind, "name": name, "origin": "variant", "summary": summary}
    return {**row, "file": str(file), "line": 1, "error": ""}
