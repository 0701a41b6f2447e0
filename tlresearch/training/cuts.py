"""How many texts are longer than the backbone reads: told before training and kept with each stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tlresearch.core.distributed import rank
from tlresearch.results.announcement import announce
from tlresearch.results.description import row
from tlresearch.training.data import Prepared


def tell_cuts(prepared: Mapping[str, Prepared], config: Mapping[str, Any]) -> None:
    """Says on stderr, with `progress`, how many texts of these sets are cut; nothing where none is or nobody knows."""
    known = {name: rows for name, rows in prepared.items() if rows.cut is not None}
    cut, total = sum(rows.cut or 0 for rows in known.values()), sum(map(len, known.values()))
    if cut and config["progress"] and not rank():
        limit = f"max_length={config['backbone']['max_length']} tokens"
        announce([row("cut", f"{cut:,} of {total:,} texts ({', '.join(known)}) are longer than {limit} and are cut")])


def cuts(prepared: Mapping[str, Prepared]) -> dict[str, Any]:
    """The entry of a stage's row in the record: set → texts that are cut; none where nobody knows."""
    found = {name: rows.cut for name, rows in prepared.items() if rows.cut is not None}
    return {"cut": found} if found else {}
