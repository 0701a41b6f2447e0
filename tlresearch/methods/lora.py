"""Low-rank adaptation through peft."""

from __future__ import annotations

import re
from collections.abc import Iterable

from torch import nn

from tlresearch.config.errors import fail, require
from tlresearch.config.registry import register
from tlresearch.core.method import Method
from tlresearch.core.model import Model
from tlresearch.core.types import Clock, Spec
from tlresearch.nn.added import modules

ATTENTION = re.compile(r"(^|\.)(query|value|q_proj|v_proj|q_lin|v_lin|q|v|qkv|qkv_proj|query_key_value|c_attn|Wqkv)$")
"""Names that the query and value projections have in timm and transformers (fused ones included)."""


@register("method", "lora")
class LoRA(Method):
    """W x + α/r · B A x with A (r, in) random, B (out, r) zero, W frozen (Hu et al., 2021, arXiv:2106.09685, eq. 3).

    The layers are peft's (`inject_adapter_in_model`). 1×1 and larger convolutions take the form of two convolutions.

    Args:
        rank: r ≥ 1.
        alpha: α > 0; the update is scaled by α / r.
        dropout: on the input of A, in [0, 1).
        targets: auto (query and value projections; every linear and ungrouped convolution in the blocks where there is
            no attention), or a regular expression that is searched in the module names of the backbone.
    """

    learning_rate = 3e-3  # with MiniLM and an EfficientNet, chosen on validation: see LOG.md
    head_learning_rate = 3e-3

    def __init__(self, *, rank: int = 8, alpha: float = 16.0, dropout: float = 0.0, targets: str = "auto") -> None:
        require(rank >= 1, "rank", rank, "an integer of at least 1")
        require(alpha > 0, "alpha", alpha, "a number above 0")
        require(0 <= dropout < 1, "dropout", dropout, "a number in [0, 1)")
        self.rank, self.alpha, self.dropout, self.targets = rank, alpha, dropout, targets
        self._parameters: list[nn.Parameter] = []

    def setup(self, model: Model, spec: Spec) -> None:
        """Puts the adapters into the backbone."""
        from peft import LoraConfig, inject_adapter_in_model

        names = self._names(model)
        before = {id(p) for p in model.backbone.parameters()}
        config = LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,  # type: ignore[arg-type]  # peft says int and takes any number
            lora_dropout=self.dropout,
            target_modules=names,
        )
        inject_adapter_in_model(config, model.backbone)
        self._parameters = [p for p in model.backbone.parameters() if id(p) not in before]

    def trainable(self, model: Model, clock: Clock) -> Iterable[nn.Parameter] | None:
        """The adapters' parameters alone."""
        return self._parameters

    def _names(self, model: Model) -> list[str]:
        """The full names of the modules to adapt."""
        fitting: dict[str, nn.Module] = {
            name: module
            for name, module in modules(model.backbone)
            if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1)
        }
        fitting |= {n: m for n, m in modules(model.backbone) if type(m).__name__ == "Conv1D"}  # GPT-2's linear
        if self.targets != "auto":
            found = [name for name in fitting if re.search(self.targets, name)]
            if not found:
                examples = ", ".join(list(fitting)[:8])
                fail("targets", self.targets, f"matches no linear or convolution module; there are e.g. {examples}")
            return found
        attention = [name for name in fitting if ATTENTION.search(name)]
        inside = {id(m) for block in model.backbone.blocks() for m in block.modules()}
        found = attention or [name for name, module in fitting.items() if id(module) in inside]
        if not found:
            fail("targets", self.targets, "this backbone has no linear or convolution module in its blocks")
        return found
