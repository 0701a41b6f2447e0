"""The feature cache: what the frozen front of a backbone makes of the rows, computed once for all epochs and runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from tlresearch.config.errors import ConfigError
from tlresearch.core.batching import move
from tlresearch.core.distributed import broadcast, rank
from tlresearch.core.method import Method, uses
from tlresearch.core.model import Model
from tlresearch.core.prefix import CannotCut, Cut, front_tensors, frozen_depth
from tlresearch.core.seeding import seeded
from tlresearch.core.types import Batch
from tlresearch.training.data import Prepared
from tlresearch.training.feature_key import describe_front
from tlresearch.training.progress import track
from tlresearch.training.table import Entry

logger = logging.getLogger("tlresearch")
PROBED, CHUNK, ROWS = 8, 256e6, 128
"""Rows of the equality probe; bytes of activations a file; rows of one forward pass."""

FLOPS_PER_SECOND = {"cpu": 5e10, "cuda": 1e13, "mps": 1e12}
READ, WRITE = 2e9, 5e8
"""Rough rates for the estimate, in operations and bytes a second. Fixed, so that equal runs decide equally."""

TOLERANCE = {"float32": 1e-5, "float16": 1e-2}
_LEAN = ("trainable", "groups", "setup")

Passes = Mapping[str, float]
"""Set of rows → how often this stage's training reads it."""


class FeatureCache:
    """Of one run: decides by an estimate, proves equality on one batch, fills the entries and hands out activations.

    Args:
        config: resolved; cache.* and what the key is made of. original: `pristine(backbone)`.
        precision: the run's autocast. terms: the loss terms of a batch as a step computes them, traces undone.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        model: Model,
        methods: Mapping[str, Method],
        original: Mapping[int, int],
        precision: Callable[[], AbstractContextManager[Any]],
        terms: Callable[[Batch], Mapping[str, Tensor]],
    ) -> None:
        self.config, self.model, self.methods, self.original = config, model, methods, original
        self.precision, self.terms, self.options = precision, terms, config["cache"]
        self.report: dict[str, Any] = {"used": False, "why": "no training yet"}
        self.keys: dict[str, dict[str, Any]] = {}
        self.entries: dict[str, dict[str, Entry]] = {}
        self._versions: list[tuple[int, int]] = []
        self.rows_computed = 0

    def plan(self, prepared: Mapping[str, Prepared], passes: Passes) -> None:
        """Cuts the model at the end of its frozen front where that pays, and attaches activations to the rows."""
        self.drop(prepared, "")
        try:
            self._plan(prepared, passes)
        except (CannotCut, ConfigError) as error:
            self.drop(prepared, str(error))

    def drop(self, prepared: Mapping[str, Prepared], why: str) -> None:
        """Back to computing everything, for the reason given in the record."""
        self.model.cut = None
        for rows in prepared.values():
            rows.attach({})
        self.report = {"used": False, "why": why}

    @property
    def valid(self) -> bool:
        """Whether the weights in front of the cut are still those that the activations come from."""
        return self.model.cut is None or self._versions == _versions(self.model, self.model.cut.depth)

    def attach(self, name: str, rows: Prepared) -> None:
        """Gives rows (those of a test set) their activations, where the model is cut; missing ones are computed."""
        cut = self.model.cut
        if cut is None:
            rows.attach({})
            return
        entries = self._entries(cut, rows.split)
        digests = rows.digests
        if rank() == 0:
            self._fill(cut, entries, rows, digests, name)
        broadcast(None)  # the other ranks read what the first has written
        tables = {}
        for key, entry in entries.items():
            entry.refresh()
            tables[key] = entry.table(digests, self.options["memory_gb"] * 1e9)
        rows.attach(tables, lean=cut.depth is None and not any(_reads_inputs(m) for m in self.methods.values()))

    def _plan(self, prepared: Mapping[str, Prepared], passes: Passes) -> None:
        refusal = self._refusal()
        depth = frozen_depth(self.model.backbone)
        if refusal or depth == 0:
            raise CannotCut(refusal or "its first weights learn")
        train = prepared["train"]
        batch = move(train.batch(torch.arange(min(PROBED, len(train)))), next(self.model.backbone.parameters()).device)
        self._check_transform(batch)
        candidates = [depth] if depth is not None else [None, len(self.model.backbone.blocks())]
        cut = self._first_equal(candidates, batch)
        with FlopCounterMode(display=False) as counter:
            given = self._compute(cut, batch)
        flops = counter.get_total_flops() / batch.rows
        size = sum(a.numel() * (2 if self.options["dtype"] == "float16" else 4) for a in given.values()) / batch.rows
        pays, why = broadcast(self._estimate(cut, prepared, passes, flops, size))
        if not pays and self.options["features"] != "always":
            raise CannotCut(why)
        self.model.cut = cut
        self._versions = _versions(self.model, cut.depth)
        for name, rows in prepared.items():
            self.attach(name, rows)
        blocks = len(self.model.backbone.blocks())
        self.report = {"used": True, "why": why, "blocks": blocks if cut.depth is None else cut.depth}
        self.report["pooled"] = cut.depth is None

    def _refusal(self) -> str | None:
        """Why no cut is even tried."""
        config = self.config
        if self.options["features"] == "never":
            return "cache.features=never"
        if config["bn"] != "eval":
            return f"bn={config['bn']} normalises a frozen front by the batch"
        if config["strategy"] == "fsdp" or (config["compile"] and frozen_depth(self.model.backbone) is not None):
            return "a sharded or compiled backbone is not cut"
        return None

    def _check_transform(self, batch: Batch) -> None:
        """Training images that are augmented have no activations to keep."""
        backbone = self.model.backbone
        with seeded("transform"), torch.no_grad():
            train, test = backbone.transform(batch.x, "train"), backbone.transform(batch.x, "test")
        pairs = [(train, test)] if isinstance(train, Tensor) else [(train[k], test[k]) for k in train]  # type: ignore[index,call-overload]
        if not all(torch.equal(a, b) for a, b in pairs):  # type: ignore[arg-type]
            raise CannotCut("training rows are augmented")

    def _first_equal(self, depths: list[int | None], batch: Batch) -> Cut:
        """The first cut whose outputs and loss terms on a batch are those of the whole network."""
        reason: Exception = CannotCut("")
        for depth in depths:
            try:
                return self._equal_cut(depth, batch)
            except CannotCut as error:
                reason = error
            finally:
                self.model.cut = None
        raise reason

    def _equal_cut(self, depth: int | None, batch: Batch) -> Cut:
        backbone, poolings = self.model.backbone, self.model.pooling.values()
        key = describe_front(self.config, self.model, depth, self.original)
        cut = Cut(backbone, depth, poolings, Entry(Path(), key).folder.name)
        self.keys[cut.key] = key
        tolerance = TOLERANCE[self.options["dtype"]] if self.config["precision"] == "32-true" else 2e-2
        expected = self._answers(batch)
        given = batch._replace(activations=self._compute(cut, batch))
        self.model.cut = cut
        try:
            found = self._answers(given)
        except Exception as error:  # whatever a head or a method of somebody else does without tokens or inputs
            raise CannotCut(f"it does not run from activations: {type(error).__name__}: {error}") from error
        for name, value in expected.items():
            scale = max(1.0, float(value.abs().max()))
            difference = float((found[name] - value).abs().max()) if value.numel() else 0.0
            if not difference <= tolerance * scale:
                raise CannotCut(f"{name} differs by {difference:.2g} on a batch when it starts from activations")
        return cut

    def _answers(self, batch: Batch) -> dict[str, Tensor]:
        """Logits and loss terms, with the same random numbers each time."""
        with seeded("probe"), torch.no_grad(), self.precision():
            out = self.model(batch.x, batch.activations)
        with seeded("probe"):
            terms = self.terms(batch)
        logits = {f"the output for {task}": value.detach().float() for task, value in out.logits.items()}
        return {**logits, **{name: value.detach().float() for name, value in terms.items()}}

    def _compute(self, cut: Cut, batch: Batch) -> dict[str, Tensor]:
        """Activations as they are kept: on the CPU they may be half as wide."""
        dtype = torch.float16 if self.options["dtype"] == "float16" else torch.float32
        modes = {module: module.training for module in self.model.backbone.modules()}
        self.model.backbone.eval()
        with torch.no_grad(), self.precision():
            found = cut.compute(self.model.backbone, batch.x)
        for module, mode in modes.items():
            module.training = mode
        return {name: activation.to(dtype) for name, activation in found.items()}

    def _estimate(
        self, cut: Cut, prepared: Mapping[str, Prepared], passes: Passes, flops: float, size: float
    ) -> tuple[bool, str]:
        """Whether reading is cheaper than computing; one pass more is counted for the next run of the store."""
        total = missing = 0.0
        for name, rows in prepared.items():
            total += (passes.get(name, 1.0) + 1) * len(rows)
            entries = self._entries(cut, rows.split)
            missing += max(len(entry.missing(rows.digests)) for entry in entries.values())
        device = next(self.model.backbone.parameters()).device.type
        saved = (total - missing) * flops / FLOPS_PER_SECOND.get(device, FLOPS_PER_SECOND["cpu"])
        cost = missing * size / WRITE + total * size / READ
        row = f"a row is {flops / 1e6:.3g} MFLOP or {size / 1e3:.3g} kB, read {total / max(missing, 1):.3g} times"
        return saved > cost, f"reading {'pays' if saved > cost else 'does not pay'}: {row}"

    def _entries(self, cut: Cut, split: str) -> dict[str, Entry]:
        """Name of an activation → its folder, for rows preprocessed as in `split`."""
        found = self.entries.get(cut.key + split)
        if found is None:
            home = Path(self.config["store"]) / "features"
            key = self.keys[cut.key]
            found = {name: Entry(home, {**key, "split": split, "part": part}) for part, name in cut.names.items()}
            self.entries[cut.key + split] = found
        for entry in found.values():
            entry.refresh()
        return found

    def _fill(self, cut: Cut, entries: Mapping[str, Entry], rows: Prepared, digests: list[bytes], name: str) -> None:
        """Computes what is in no file yet, the shortest rows first, so that little of a batch is padding."""
        needed = sorted({i for entry in entries.values() for i in entry.missing(digests)}, key=rows.length)
        seen: set[bytes] = set()
        needed = [i for i in needed if not (digests[i] in seen or seen.add(digests[i]))]  # type: ignore[func-returns-value]
        device = next(self.model.backbone.parameters()).device
        waiting: dict[str, list[Tensor]] = {key: [] for key in entries}
        kept: list[bytes] = []

        def write() -> None:
            for key, entry in entries.items():
                ragged = cut.depth is not None and rows.ragged
                entry.add(kept, waiting[key], ragged=ragged, max_bytes=self.options["max_gb"] * 1e9)
                waiting[key] = []
            kept.clear()

        parts = [needed[i : i + ROWS] for i in range(0, len(needed), ROWS)]
        for part in track(parts, f"features of {name}", len(parts)):
            batch = move(rows.batch(torch.tensor(part)), device)
            for key, activation in self._compute(cut, batch).items():
                waiting[key] += _single(activation.cpu(), rows, part, cut)
            kept += [digests[i] for i in part]
            if sum(a.numel() * a.element_size() for found in waiting.values() for a in found) > CHUNK:
                write()
        if kept:
            write()
        self.rows_computed += len(needed)


def _single(activation: Tensor, rows: Prepared, part: list[int], cut: Cut) -> Iterator[Tensor]:
    """The rows of a batch one by one, without what the padding of their inputs has become."""
    if cut.depth is None or not rows.ragged:
        return iter(activation)
    longest = max(map(rows.length, part))
    if activation.ndim < 2 or activation.shape[1] != longest:
        raise CannotCut("its activations are not as long as its inputs, so padding cannot be told from rows")
    return (activation[k, : rows.length(i)] for k, i in enumerate(part))


def _reads_inputs(method: Method) -> bool:
    """Whether a method has a hook in which it could look at a batch's inputs."""
    hooks = (hook for hook in vars(Method) if not hook.startswith("_") and callable(getattr(Method, hook)))
    return any(uses(method, hook) for hook in hooks if hook not in (*_LEAN, "state_dict", "load_state_dict"))


def _versions(model: Model, depth: int | None) -> list[tuple[int, int]]:
    return [(id(tensor), tensor._version) for tensor in front_tensors(model.backbone, depth).values()]
