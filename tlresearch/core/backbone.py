"""The contract of a backbone: input → features, ordered blocks, and its own preprocessing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from tlresearch.core import batching
from tlresearch.core.rows import Row
from tlresearch.core.types import Batch, Features, Inputs
from tlresearch.core.weights import Weights


class Backbone(nn.Module):
    """A pretrained network. A plugin is written as `__init__(self, spec, weights, *, its own options)`.

    Attributes:
        modalities: what `Spec.modality` it can read.
        feature_dim: D of `Features`.
        learning_rate: recommended for AdamW; used where `optimizer.lr` is null.
        padding: input name → value that fills up short sequences ("" names a plain tensor).
        class_token: the first token stands for the whole input, so that `head.pooling=cls` has a meaning.
        pretrained_head: the checkpoint's own classifier, None where it has none.
        fresh: names of the parameters and buffers that the weights did not provide; None = all of them (no weights).
    """

    modalities: ClassVar[frozenset[str]] = frozenset()
    learning_rate: ClassVar[float] = 1e-3
    feature_dim: int
    class_token: bool = True
    pretrained_head: nn.Module | None = None
    fresh: frozenset[str] | None = None

    @staticmethod
    def common(*, weights: str = "none") -> dict[str, Any]:
        """Options of every backbone. weights: hub, none, package:NAME (installed, with weights inside) or path:FILE."""
        return {"weights": Weights.parse(weights)}

    @classmethod
    def recommended_rate(cls, options: Mapping[str, Any]) -> float:
        """The learning rate for AdamW, by the backbone's options where they matter (`model`)."""
        return cls.learning_rate

    @property
    def padding(self) -> dict[str, float]:
        """Input name → the value that fills up short sequences; here none needs any."""
        return {}

    def forward(self, x: Inputs) -> Features:
        """Transformed inputs → Features; `pooled` is the checkpoint's own pooling."""
        raise NotImplementedError

    def blocks(self) -> list[nn.Module]:
        """Shallow → deep: the one protocol for freezing, layer-wise rates, unfreezing, caching, checkpointing."""
        raise NotImplementedError

    def depth(self, parameter_name: str) -> int:
        """One parameter's depth: i + 1 within block i; 0 for stem and loose tokens; that of the last block after it."""
        return self.depths()[parameter_name]

    def depths(self) -> dict[str, int]:
        """Every parameter's depth, by name. Outside the blocks: 0 before the first one, the last one's depth after."""
        blocks = self.blocks()
        inside: dict[int, int] = {}
        for i, block in enumerate(blocks):
            for p in block.parameters():
                inside.setdefault(id(p), i + 1)  # what blocks share moves as soon as the first of them does
        depths, outside = {}, 0
        for name, parameter in self.named_parameters():
            if id(parameter) in inside:
                outside = len(blocks)
            depths[name] = inside.get(id(parameter), outside)
        return depths

    def preprocess(self, split: str) -> Callable[[Row], Row]:
        """A deterministic function per row (decode, resize, tokenise), computed once and kept. split: train or test."""
        raise NotImplementedError

    def transform(self, x: Inputs, split: str) -> Inputs:
        """Per batch, on the device, after the methods' batch hooks: augment (train only) and normalise."""
        return x

    def collate(self, rows: Sequence[Row]) -> Batch:
        """Preprocessed rows → Batch; pads what has unequal lengths."""
        return batching.collate(rows, self.padding)

    def join(self, batches: Sequence[Batch]) -> Batch:
        """Concatenates batches, padded again where needed (replayed and unlabelled rows)."""
        return batching.join(batches, self.padding)

    def __call__(self, x: Inputs) -> Features:  # nn.Module's own returns Any
        features: Features = super().__call__(x)
        return features


def pixels(x: Inputs) -> Tensor:
    """An image or vector batch: a plain tensor (text backbones get a dict)."""
    assert isinstance(x, Tensor), "expected a plain tensor, got named inputs"
    return x
