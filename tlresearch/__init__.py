"""tlresearch: transfer-learning research, one framework for every way to adapt a pretrained network.

Everything is resolved on first use, so that `import tlresearch` (and the command line) stays free of torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "tlresearch.config.registry": ("register",),
    "tlresearch.config.errors": ("ConfigError", "require", "choose"),
    "tlresearch.config.compose": ("compose",),
    "tlresearch.core.types": (
        "IGNORE",
        "TRAIN",
        "UNLABELLED",
        "REPLAYED",
        "Batch",
        "Clock",
        "Features",
        "Inputs",
        "Output",
        "Spec",
        "Stage",
        "Stream",
        "Task",
    ),
    "tlresearch.core.rows": ("Row", "Rows"),
    "tlresearch.core.sampling": ("Sampling",),
    "tlresearch.core.weights": ("Weights",),
    "tlresearch.core.backbone": ("Backbone",),
    "tlresearch.core.head": ("Head",),
    "tlresearch.core.method": ("Method", "Batches"),
    "tlresearch.core.model": ("Model",),
    "tlresearch.core.dataset": ("Dataset",),
    "tlresearch.core.predictor": ("Predictor",),
    "tlresearch.core.distributed": ("mean_over_ranks", "sum_over_ranks"),
    "tlresearch.runner": ("run",),
    "tlresearch.results.runs": ("Run",),
}
_NAMES = {name: home for home, names in _HOMES.items() for name in names}
__all__ = sorted([*_NAMES, "__version__"])

if TYPE_CHECKING:
    from tlresearch.config.compose import compose as compose
    from tlresearch.config.errors import ConfigError as ConfigError, choose as choose, require as require
    from tlresearch.config.registry import register as register
    from tlresearch.core.backbone import Backbone as Backbone
    from tlresearch.core.dataset import Dataset as Dataset
    from tlresearch.core.distributed import mean_over_ranks as mean_over_ranks, sum_over_ranks as sum_over_ranks
    from tlresearch.core.head import Head as Head
    from tlresearch.core.method import Batches as Batches, Method as Method
    from tlresearch.core.model import Model as Model
    from tlresearch.core.predictor import Predictor as Predictor
    from tlresearch.core.rows import Row as Row, Rows as Rows
    from tlresearch.core.sampling import Sampling as Sampling
    from tlresearch.core.types import (
        IGNORE as IGNORE,
        REPLAYED as REPLAYED,
        TRAIN as TRAIN,
        UNLABELLED as UNLABELLED,
        Batch as Batch,
        Clock as Clock,
        Features as Features,
        Inputs as Inputs,
        Output as Output,
        Spec as Spec,
        Stage as Stage,
        Stream as Stream,
        Task as Task,
    )
    from tlresearch.core.weights import Weights as Weights
    from tlresearch.results.runs import Run as Run
    from tlresearch.runner import run as run


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'tlresearch' has no attribute {name!r}")
    value = getattr(importlib.import_module(_NAMES[name]), name)
    globals()[name] = value  # the next look-up is a plain one
    return value


def __dir__() -> list[str]:
    return list(__all__)
