"""A run as its record: metrics, cost, configuration, and the trained model on demand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlresearch.config.errors import ConfigError, Problem
from tlresearch.results import store
from tlresearch.results.identity import components, source_hashes

if TYPE_CHECKING:
    from tlresearch.core.model import Model
    from tlresearch.core.types import Spec, Stream
    from tlresearch.results.inference import Prediction

HEADLINE = "test.accuracy"


class Run:
    """One run of a store. `Run.load("runs/0a1b…").model` is the trained model, heads included, ready to evaluate."""

    reused: bool = False
    """Whether it was found done in the store instead of being run."""

    def __init__(self, folder: Path, record: Mapping[str, Any]) -> None:
        self.folder, self.record = folder, dict(record)

    @classmethod
    def load(cls, folder: str | Path) -> Run:
        """Reads a run folder; raises ConfigError where there is no record."""
        record = store.read_record(Path(folder))
        if record is None:
            raise ConfigError(
                f"{str(folder)!r}: no run here (no {store.RECORD}); `tlresearch report` lists the runs of a store"
            )
        return cls(Path(folder), record)

    @property
    def identity(self) -> str:
        """The 16 hexadecimal digits that stand for the run."""
        return str(self.record["identity"])

    @property
    def status(self) -> str:
        """done, failed, interrupted or running."""
        return str(self.record["status"])

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration."""
        return dict(self.record.get("config", {}))

    @property
    def metrics(self) -> dict[str, Any]:
        """Nested: metrics["test"]["accuracy"]. Empty where the run is not done."""
        return dict(self.record.get("metrics", {}))

    @property
    def cost(self) -> dict[str, Any]:
        """The cost block of the record; empty until the run is done."""
        return dict(self.record.get("cost", {}))

    @property
    def metric(self) -> str:
        """The name of the headline metric: that of the stream's first task, on the test rows."""
        return str(self.record.get("metric", HEADLINE))

    @property
    def value(self) -> float:
        """The headline metric; NaN where the run is not done."""
        found = look_up(self.metrics, self.metric)
        return float(found) if isinstance(found, int | float) else float("nan")

    @property
    def stale(self) -> bool:
        """Whether the code that made it has changed since (its components, or the training code)."""
        return Current().stale(self.record)

    @cached_property
    def spec(self) -> Spec:
        """What kind of data it was trained on: modality, shape, tasks with their labels, domains."""
        from tlresearch.core.types import Spec, Task

        saved = look_up(self.record, "data.spec")
        if saved is None:
            raise ConfigError(f"{str(self.folder)!r} was written by an older tlresearch; run it again in a new store")
        shape, tasks = saved["input_shape"], saved["tasks"]
        tasks = tuple(Task(**{**task, "labels": tuple(task["labels"])}) for task in tasks)
        return Spec(saved["modality"], None if shape is None else tuple(shape), tasks, tuple(saved["domains"]))

    @cached_property
    def stream(self) -> Stream:
        """The data it was trained on, read again; raises ConfigError where they are gone or have changed since."""
        from tlresearch.training.memory import read_data

        stream, fingerprint = read_data(self.config)
        if fingerprint != look_up(self.record, "data.fingerprint"):
            raise ConfigError(Problem("dataset", "the data have changed since the run; put those of the run back"))
        return stream

    @cached_property
    def model(self) -> Model:
        """The reported weights in the architecture of the configuration, on the CPU, in evaluation mode."""
        from tlresearch.training.loading import load_model

        if self.status != "done":
            raise ConfigError(f"{str(self.folder)!r} is {self.status}: only a run that is done has a model")
        name = look_up(self.config, "predictor.name")
        if name is not None:
            raise ConfigError(f"{str(self.folder)!r}: predictor {name!r} answers without a model; choose a trained run")
        return load_model(self.folder, self.config, self.spec)

    def predict(
        self, inputs: Iterable[Any], *, batch_size: int = 64, accelerator: str = "auto", on_error: str = "stop"
    ) -> Iterator[Prediction]:
        """The model's answers to new inputs, in their order; only some batches of them are in memory at a time.

        Args:
            inputs: texts; or images: paths, PIL images, arrays or tensors as `nn.images.to_pil` reads them.
            batch_size: inputs a batch, at least 1. accelerator: auto, cpu, cuda or mps; the model moves there.
            on_error: stop (ConfigError for an input that cannot be read) or skip (its answer holds the error).
        """
        from tlresearch.results.inference import choose_device, predict
        from tlresearch.results.inputs import named

        device = choose_device(accelerator)
        rows = named(inputs, self.spec)
        return predict(self.model, self.spec, rows, batch_size=batch_size, device=device, on_error=on_error)


class Current:
    """The hashes of today's code, each combination of components hashed once."""

    def __init__(self) -> None:
        self._known: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}

    def stale(self, record: Mapping[str, Any]) -> bool:
        """Whether the code that made a record has changed since (its components, or the training code)."""
        try:
            chosen = tuple(components(record.get("config", {})))
            if chosen not in self._known:
                self._known[chosen] = source_hashes(record["config"])
        except (KeyError, TypeError, AttributeError, ConfigError):
            return True  # a component that is gone, or was never written down, cannot be the same
        return bool(record.get("sources") != self._known[chosen])


def sound(folder: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """A record whose parts are of the kinds that readers count on; others are dropped, or the run named unreadable."""
    kinds: dict[str, type] = dict.fromkeys(["config", "metrics", "cost", "selection"], dict)
    kinds |= {"overrides": list, "metric": str}
    found: dict[str, Any] = {name: part for name, part in record.items() if isinstance(part, kinds.get(name, object))}
    damaged = [name for name in kinds if record.get(name) is not None and name not in found]
    config: dict[str, Any] = dict(found.get("config", {}))
    found["config"] = config
    if not isinstance(config.get("method", {}), Mapping):
        damaged.append("config.method")
        del config["method"]
    found |= {"identity": str(record.get("identity", folder.name)), "status": str(record.get("status", "unreadable"))}
    if damaged or (found["status"] == "done" and not config):
        said = f"unreadable record: {', '.join(damaged) or 'config'} is not as it was written"
        found |= {"status": "unreadable", "error": record.get("error") or said}
    return found


def look_up(values: Mapping[str, Any], key: str, default: Any = None) -> Any:
    """A value by its dotted name, `default` where any part is missing."""
    found: Any = values
    for part in key.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return default
        found = found[part]
    return found
