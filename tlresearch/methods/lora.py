"""Low-rank adaptation through peft."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from torch import nn

from tlresearch.config.errors import require
from tlresearch.config.registry import register
from tlresearch.core.method import Batches, Method
from tlresearch.core.model import Model
from tlresearch.core.types import Clock, Spec, Stage


@register("method", "lora")
class LoRA(Method):
    """W x + α/r · B A x with A (r, in) random, B (out, r) zero, W frozen (Hu et al., 2021, arXiv:2106.09685, eq. 3).

    The layers are peft's. 1×1 and larger convolutions take the form of two convolutions. `peft` has the other tuners.

    Args:
        rank: r ≥ 1, at most the width of the layers.
        alpha: α > 0; the update is scaled by α / r.
        dropout: on the input of A, in [0, 1).
        targets: auto (query and value projections; every linear and ungrouped convolution in the blocks where there is
            no attention; layers narrower than the rank are left out), all (every such layer of the blocks), or a
            regular expression that is searched in the module names of the backbone.
        dora: direction and length of each row of W learn apart (Liu et al., 2024, arXiv:2402.09353, eq. 5).
        rslora: scales by α / √r instead (Kalajdzievski, 2023, arXiv:2312.03732, eq. 4).
        initialisation: of A and B. default (A as Kaiming has it), gaussian and orthogonal leave B A at zero; pissa
            (Meng et al., 2024, arXiv:2404.02948) and olora (Büyükakyüz, 2024, arXiv:2406.01775) take B A out of W, by
            its largest singular values and by its QR decomposition, and train it; eva (Paischer et al., 2024,
            arXiv:2410.07170) takes A from the singular vectors of each layer's inputs, in the first stage's training
            rows. Unlike the paper EVA gives every layer the same rank.
        ratio: learning rate of B over that of A, ≥ 1 (LoRA+: Hayou et al., 2024, arXiv:2402.12354, sec. 4).
    """

    learning_rate = 3e-3  # with MiniLM and an EfficientNet, chosen on validation: see LOG.md
    head_learning_rate = 3e-3
    conflicts = frozenset({"peft"})

    def __init__(
        self,
        *,
        rank: int = 8,
        alpha: float = 16.0,
        dropout: float = 0.0,
        targets: str = "auto",
        dora: bool = False,
        rslora: bool = False,
        initialisation: Literal["default", "gaussian", "orthogonal", "pissa", "olora", "eva"] = "default",
        ratio: float = 1.0,
    ) -> None:
        require(rank >= 1, "rank", rank, "an integer of at least 1")
        require(alpha > 0, "alpha", alpha, "a number above 0")
        require(0 <= dropout < 1, "dropout", dropout, "a number in [0, 1)")
        require(ratio >= 1, "ratio", ratio, "a number of at least 1")
        even = initialisation != "orthogonal" or rank % 2 == 0
        require(even, "rank", rank, "even with initialisation=orthogonal, whose A and B are halves of one matrix")
        self.rank, self.alpha, self.dropout, self.targets = rank, alpha, dropout, targets
        self.dora, self.rslora, self.initialisation, self.ratio = dora, rslora, initialisation, ratio
        self._parameters: dict[str, nn.Parameter] = {}

    def setup(self, model: Model, spec: Spec) -> None:
        """Puts the adapters into the backbone."""
        from tlresearch.nn.tuners import configuration, inject, tuner_of

        options = {
            "r": self.rank,
            "lora_alpha": self.alpha,
            "lora_dropout": self.dropout,
            "use_dora": self.dora,
            "use_rslora": self.rslora,
            "init_lora_weights": self.initialisation if self.initialisation not in ("default", "eva") else True,
        }
        config = configuration("lora", options)
        blame = "rank" if self.initialisation in ("default", "gaussian") else "initialisation"
        inject(model.backbone, tuner_of("lora"), config, self.targets, blame)
        self._parameters = {name: p for name, p in model.backbone.named_parameters() if p.requires_grad}
        if self.initialisation == "eva":
            from tlresearch.nn.eva import check_layers

            check_layers(model.backbone)

    def trainable(self, model: Model, clock: Clock) -> Iterable[nn.Parameter] | None:
        """The adapters' parameters alone."""
        return list(self._parameters.values())

    def groups(self, model: Model, clock: Clock) -> Iterable[tuple[Iterable[nn.Parameter], Mapping[str, float]]] | None:
        """The rate of B where `ratio` asks for it."""
        from tlresearch.nn.tuners import faster

        return faster(self._parameters, self.ratio) if self.ratio != 1 else None

    def on_stage_start(self, model: Model, stage: Stage, batches: Batches) -> None:
        """EVA: A from the layers' inputs, as long as nothing has been learned."""
        if self.initialisation == "eva":
            from tlresearch.nn.eva import initialise

            initialise(model, batches("train"))
