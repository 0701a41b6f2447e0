"""What may move, asked of the methods themselves, against what has moved."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import nn

from .harness import Finished, equal

if TYPE_CHECKING:
    from tlresearch.training.session import Session

EPOCH = 3
"""Steps: 24 rows by 8. The same rows are compared, so that the order of the batches does not matter."""


def declared_names(session: Session, steps: int | None = None) -> set[str]:
    """Parameters of the backbone that some method declares at some time, all of them where none has an opinion.

    steps: looks at each stage's first ones alone.
    """
    from tlresearch.core.types import Clock

    opinions = []
    for number, stage in enumerate(session.stream.stages):
        rows, trainer = len(stage.train), session.trainer
        total, per_epoch = trainer.total_steps(rows), trainer.steps_per_epoch(rows)
        for step in range(total if steps is None else steps):
            clock = Clock(number, step // per_epoch, step, total, {})
            said = [method.trainable(session.model, clock) for method in session.methods.values()]
            opinions += [None if opinion is None else {id(p) for p in opinion} for opinion in said]
    stated = [opinion for opinion in opinions if opinion is not None]
    chosen = set().union(*stated)
    named = session.model.named_parameters(remove_duplicate=False)
    return {n for n, p in named if n.startswith("backbone.") and (not stated or id(p) in chosen)}


def check_declared(run: Finished) -> None:
    """The backbone's changed tensors are declared, the rest is bit-equal; heads and something declared have moved."""
    model, declared = run.session.model, declared_names(run.session)
    resting = {name for name in run.start if name.startswith("backbone.")} - declared - _statistics(model, declared)
    moved = sorted(name for name in resting if not equal(run.start[name], run.state[name]))
    assert not moved, f"not declared, and moved: {', '.join(moved[:8])}"
    learning = declared - set(run.session.trainer.unreached)
    changed = {name for name in declared if not equal(run.start[name], run.state[name])}
    assert changed <= learning, f"said to be unreached, and moved: {sorted(changed - learning)}"
    early = learning & declared_names(run.session, 1)  # what thaws at the end may move after the selected evaluation
    assert len(changed & early) >= len(early) / 2, f"declared and reached, and at rest: {sorted(early - changed)[:8]}"
    assert any(not equal(tensor, run.state[name]) for name, tensor in run.start.items() if name.startswith("heads."))


def check_training(run: Finished, *, terms: tuple[str, ...], margin: float = 1.0) -> None:
    """Every logged loss is finite, and each of `terms` falls from epoch to epoch of the first stage."""
    for values in run.log:
        bad = [name for name, value in values.items() if name.startswith("train/") and not math.isfinite(value)]
        assert not bad, bad
    for term in terms:
        first = run.losses(term)[: run.session.trainer.total_steps(len(run.session.stream.stages[0].train))]
        assert sum(first[-EPOCH:]) < margin * sum(first[:EPOCH]), f"{term} does not fall: {first}"


def _statistics(model: nn.Module, declared: set[str]) -> set[str]:
    """Running statistics of BatchNorm layers with a parameter that is declared: they follow the layer."""
    found = set()
    for prefix, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            own = {f"{prefix}.{name}" for name, _ in module.named_parameters()}
            if own & declared or (not module.affine and declared):
                found |= {f"{prefix}.{name}" for name, _ in module.named_buffers()}
    return found
