"""The feature cache: what the frozen front of a backbone makes of the rows, computed once for all epochs and runs."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tlresearch.config.errors import ConfigError
from tlresearch.core.batching import move
from tlresearch.core.distributed import broadcast, ranks
from tlresearch.core.method import Method, uses
from tlresearch.core.model import Model
from tlresearch.core.prefix import CannotCut, Cut, front_tensors, frozen_depth
from tlresearch.core.seeding import seeded
from tlresearch.core.types import Batch
from tlresearch.nn.flops import FlopCounter
from tlresearch.training.data import Prepared
from tlresearch.training.feature_key import describe_front
from tlresearch.training.feature_rows import FeatureRows
from tlresearch.training.memory import memory
from tlresearch.training.table import Entry

logger = logging.getLogger("tlresearch")
PROBED = 8
"""Rows of the equality probe."""

FLOPS_PER_SECOND = {"cpu": 5e10, "cuda": 1e13, "mps": 1e12}
READ, WRITE = 2e9, 5e8
"""Rough rates for the estimate, in operations and bytes a second. Fixed, so that equal runs decide equally."""

TOLERANCE = {"float32": 1e-5, "float16": 1e-2}
_LEAN = ("trainable", "groups", "setup")

Passes = Mapping[str, float]
"""Set of rows → how often this stage's training reads it."""


class Proof(NamedTuple):
    """That a cut gives the same on a batch. flops, size: operations and bytes of a row's activations."""

    forms: list[Callable[[Tensor], Any]]
    flops: float
    size: float


class FeatureCache:
    """Of one run: decides by an estimate, proves equality on one batch, fills the entries and hands out activations.

    Args:
        config: resolved; cache.* and what the key is made of. original: `pristine(backbone)`.
        precision: the run's autocast. answers: outputs and loss terms of a batch as a step has them, traces undone.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        model: Model,
        methods: Mapping[str, Method],
        original: Mapping[int, int],
        precision: Callable[[], AbstractContextManager[Any]],
        answers: Callable[[Batch], Mapping[str, Tensor]],
    ) -> None:
        self.config, self.model, self.methods, self.original = config, model, methods, original
        self.precision, self.answers, self.options = precision, answers, config["cache"]
        self.report: dict[str, Any] = {"used": False, "why": "no training yet"}
        self.flops = 0.0
        """Operations of all activations that were computed to be kept."""
        self.rows = FeatureRows(Path(config["store"]) / "features", self.options, self._compute_on_device)
        self._versions: list[tuple[float, ...]] = []
        self._buffers: dict[str, Tensor] = {}

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
        if self.model.cut is None:
            return True
        front = front_tensors(self.model.backbone, self.model.cut.depth)
        same = self._versions == _versions(front)
        return same and all(torch.equal(front[name], buffer) for name, buffer in self._buffers.items())

    def attach(self, name: str, rows: Prepared) -> None:
        """Gives rows (those of a test set) their activations, where the model is cut; missing ones are computed."""
        cut = self.model.cut
        if cut is None:
            rows.attach({})
            return
        tables = self.rows.tables(cut, rows, name)
        rows.attach(tables, lean=cut.depth is None and not any(_reads_inputs(m) for m in self.methods.values()))

    def _plan(self, prepared: Mapping[str, Prepared], passes: Passes) -> None:
        refusal = self._refusal()
        depth = frozen_depth(self.model.backbone)
        if refusal or depth == 0:
            raise CannotCut(refusal or "its first weights learn")
        train = prepared["train"]
        device = next(self.model.backbone.parameters()).device

        def batch() -> Batch:
            return move(train.batch(torch.arange(min(PROBED, len(train)))), device)

        candidates: list[int | None] = [depth] if depth is not None else [None, len(self.model.backbone.blocks())]
        cut, proof = self._first_equal(candidates, batch)
        pays, why = broadcast(self._estimate(cut, prepared, passes, proof))
        if not pays and self.options["features"] != "always":
            raise CannotCut(why)
        self.model.cut = cut
        front = front_tensors(self.model.backbone, cut.depth)
        self._versions = _versions(front)
        self._buffers = {name: t.clone() for name, t in front.items() if not isinstance(t, nn.Parameter)}
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
        one = {"": train} if isinstance(train, Tensor) else train
        other = {"": test} if isinstance(test, Tensor) else test
        if not all(torch.equal(one[name], other[name]) for name in one):
            raise CannotCut("training rows are augmented")

    def _first_equal(self, depths: list[int | None], batch: Callable[[], Batch]) -> tuple[Cut, Proof]:
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

    def _equal_cut(self, depth: int | None, batch: Callable[[], Batch]) -> tuple[Cut, Proof]:
        """The cut, proven on the batch; not again where an earlier run of this process has proven it."""
        key = describe_front(self.config, self.model, depth, self.original)
        cut = Cut(self.model.backbone, depth, self.model.pooling.values(), Entry(Path(), key).folder.name)
        self.rows.keys[cut.key] = key
        behind = json.dumps([self.config[name] for name in ("method", "head", "heads")], sort_keys=True)
        proof: Proof | None = memory.get(("equal", cut.key, behind))
        if proof is None:
            proof = self._prove(cut, batch())
            memory.keep(("equal", cut.key, behind), proof)
        cut.forms = proof.forms
        return cut, proof

    def _prove(self, cut: Cut, batch: Batch) -> Proof:
        self._check_transform(batch)
        if any(a.requires_grad for a in self._compute(cut, batch, learning=True).values()):
            raise CannotCut("weights that learn act in front of the cut too")
        tolerance = TOLERANCE[self.options["dtype"]] if self.config["precision"] == "32-true" else 2e-2
        expected = self._answers(batch)
        with FlopCounter() as counter:
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
        size = sum(a.numel() * a.element_size() for a in given.activations.values())
        return Proof(cut.forms, counter.get_total_flops() / batch.rows, size / batch.rows)

    def _answers(self, batch: Batch) -> dict[str, Tensor]:
        """Outputs and loss terms, with the same random numbers each time."""
        with seeded("probe"):
            return {name: value.detach().float() for name, value in self.answers(batch).items()}

    def _compute_on_device(self, cut: Cut, batch: Batch) -> dict[str, Tensor]:
        with FlopCounter() as counter:
            found = self._compute(cut, move(batch, next(self.model.backbone.parameters()).device))
        self.flops += counter.get_total_flops()
        return found

    def _compute(self, cut: Cut, batch: Batch, learning: bool = False) -> dict[str, Tensor]:
        """Activations as they are kept: on the CPU they may be half as wide."""
        dtype = torch.float16 if self.options["dtype"] == "float16" else torch.float32
        modes = {module: module.training for module in self.model.backbone.modules()}
        self.model.backbone.eval()
        with torch.set_grad_enabled(learning), self.precision():
            found = cut.compute(self.model.backbone, batch.x)
        for module, mode in modes.items():
            module.training = mode
        return {name: activation.to(dtype) for name, activation in found.items()}

    def _estimate(self, cut: Cut, prepared: Mapping[str, Prepared], passes: Passes, proof: Proof) -> tuple[bool, str]:
        """Whether reading is cheaper than computing; one pass more is counted for the next run of the store."""
        total, missing, flops, size = 0.0, 0.0, proof.flops, proof.size
        for name, rows in prepared.items():
            total += (passes.get(name, 1.0) + 1) * len(rows)
            missing += self.rows.missing(cut, rows)
        device = next(self.model.backbone.parameters()).device.type
        saved = (total - missing) * flops / FLOPS_PER_SECOND.get(device, FLOPS_PER_SECOND["cpu"])
        cost = missing * size / WRITE + total * size / READ
        row = f"a row is {flops / 1e6:.3g} MFLOP or {size / 1e3:.3g} kB, read {total / max(missing, 1):.3g} times"
        return saved > cost, f"reading {'pays' if saved > cost else 'does not pay'}: {row}"


def _reads_inputs(method: Method) -> bool:
    """Whether a method has a hook in which it could look at a batch's inputs."""
    hooks = (hook for hook in vars(Method) if not hook.startswith("_") and callable(getattr(Method, hook)))
    return any(uses(method, hook) for hook in hooks if hook not in (*_LEAN, "state_dict", "load_state_dict"))


def _versions(front: Mapping[str, Tensor]) -> list[tuple[float, ...]]:
    """Of the parameters: buffers are small enough to be compared. Several ranks copy weights onto themselves: sums."""
    parameters = [tensor.detach() for tensor in front.values() if isinstance(tensor, nn.Parameter)]
    if ranks() > 1:
        return [(float(p.double().sum()), float(p.double().abs().sum())) for p in parameters]
    return [(p.data_ptr(), p._version) for p in parameters]
