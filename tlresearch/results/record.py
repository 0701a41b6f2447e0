"""What is known of a run before it starts, as its record holds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tlresearch.results import store
from tlresearch.results.description import describe
from tlresearch.results.identity import source_hashes

if TYPE_CHECKING:
    from tlresearch.runner import Prepared


def first_record(prepared: Prepared, config: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The record of a run that is about to start; its status is running."""
    from tlresearch.results.environment import commit, hardware, versions

    selection, spec = config["selection"], prepared.stream.spec
    data = {
        "fingerprint": prepared.fingerprint,
        "spec": {**spec._asdict(), "tasks": [task._asdict() for task in spec.tasks]},
        "stages": [
            {
                "name": s.name,
                "train": len(s.train),
                "validation": len(s.validation),
                "test": len(s.test),
                "unlabelled": 0 if s.unlabelled is None else len(s.unlabelled),
            }
            for s in prepared.stream.stages
        ],
    }
    return {
        "schema": store.SCHEMA,
        "identity": prepared.identity,
        "status": "running",
        "overrides": list(overrides),
        "config": dict(config),
        "weights": prepared.weights,
        "start": None if prepared.start is None else prepared.start.record(),
        "data": data,
        "metric": f"test.{spec.tasks[0].metric}",
        "learning_rates": prepared.rates._asdict(),
        "selection": {
            "rule": selection["name"],
            **{k: v for k, v in selection.items() if k != "name"},
            "oracle": _is_oracle(selection["name"]),
        },
        "sources": source_hashes(config),
        "versions": versions(),
        "hardware": hardware(),
        "git": commit(),
        "started": now(),
    }


def description(prepared: Prepared) -> dict[str, Any]:
    """What is told of the data; of data that an earlier run in this process had, as it was found then."""
    from tlresearch.training.memory import memory

    key = ("description", prepared.fingerprint, [stage.drawn for stage in prepared.stream.stages].__repr__())
    found: dict[str, Any] | None = memory.get(key)
    if found is None:
        found = describe(prepared.stream)
        memory.keep(key, found)
    return found


def _is_oracle(name: str) -> bool:
    from tlresearch.config.registry import load

    return bool(load("selection", name).oracle)


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
