"""Every tuner of the installed peft that goes into layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from tlresearch.config.errors import fail, require
from tlresearch.config.registry import register
from tlresearch.core.method import Batches, Method
from tlresearch.core.model import Model
from tlresearch.core.types import Batch, Clock, Output, Spec, Stage

if TYPE_CHECKING:
    from torch import Tensor

    from tlresearch.nn.allocation import Allocation


@register("method", "peft")
class PEFT(Method):
    """A tuner of peft (Mangrulkar et al., 2022, github.com/huggingface/peft) in the backbone's layers.

    Each changes a layer's W x in its own way, from few parameters: lora (arXiv:2106.09685), adalora (2303.10512),
    ia3 (2205.05638), vera (2310.11454), boft (2311.06243), oft (2306.07280), loha (2108.06098), lokr (2212.10650),
    ln_tuning (2312.11420), fourierft (2405.03003), hra (2405.17484), vblora (2405.15179) … — whatever the installed
    peft has; its documentation says their equations. Types that need a prompt are refused, and those that need the
    gradients or inputs of a data set before they start; `lora` has EVA.

    AdaLoRA's ranks are allocated after each step and its singular vectors kept orthogonal by a loss term (eq. 4);
    `total_step` is the stage's.

    Args:
        type: of peft, in lower case.
        options: fields of that type's configuration (`{r: 4, use_dora: true}`); what is not given is as peft has it,
            seeds apart, which follow the run's. `feedforward_modules` (IA³) are regular expressions.
        targets: auto (query and value projections; every linear and ungrouped convolution layer in the blocks where
            there is no attention; all norms for a type that tunes norms, the vocabulary for one that tunes tokens;
            layers that do not fit are left out), all (every such layer of the blocks that fits), or a regular
            expression that is searched in the module names.
        ratio: learning rate of LoRA's B over that of A, ≥ 1, with types lora and adalora (LoRA+: arXiv:2402.12354).
    """

    learning_rate = 3e-3  # LoRA's; not measured for the others
    head_learning_rate = 3e-3
    conflicts = frozenset({"lora"})

    def __init__(
        self, *, type: str = "lora", options: dict[str, Any] = {}, targets: str = "auto", ratio: float = 1.0
    ) -> None:
        from tlresearch.nn.tuners import check_options, tuner_of

        require(ratio >= 1, "ratio", ratio, "a number of at least 1")
        self.type, self.options, self.targets, self.ratio = type, options, targets, ratio
        self.tuner = tuner_of(type)
        require(ratio == 1 or self.tuner.prefix == "lora_", "ratio", ratio, f"1 with type {type}, which has no B")
        check_options(type, options)
        self._parameters: dict[str, nn.Parameter] = {}
        self._allocation: Allocation | None = None

    def setup(self, model: Model, spec: Spec) -> None:
        """Puts the tuner's layers into the backbone."""
        from tlresearch.nn.allocation import Allocation
        from tlresearch.nn.tuners import configuration, inject

        config = configuration(self.type, self.options)
        placed = inject(model.backbone, self.tuner, config, self.targets, "options")
        self._parameters = {name: p for name, p in model.backbone.named_parameters() if p.requires_grad}
        if not self._parameters:
            fail("options", self.options, f"type {self.type} would train nothing with them")
        if hasattr(placed, "rankallocator"):
            self._allocation = Allocation(placed, self._parameters)

    def trainable(self, model: Model, clock: Clock) -> Iterable[nn.Parameter] | None:
        """What peft trains."""
        return list(self._parameters.values())

    def groups(self, model: Model, clock: Clock) -> Iterable[tuple[Iterable[nn.Parameter], Mapping[str, float]]] | None:
        """The rate of B where `ratio` asks for it."""
        from tlresearch.nn.tuners import faster

        return faster(self._parameters, self.ratio) if self.ratio != 1 else None

    def on_stage_start(self, model: Model, stage: Stage, batches: Batches) -> None:
        """AdaLoRA: the importances start anew."""
        if self._allocation is not None:
            self._allocation.restart()

    def loss(self, model: Model, batch: Batch, out: Output, clock: Clock) -> dict[str, Tensor]:
        """AdaLoRA's orthogonality."""
        return {} if self._allocation is None else self._allocation.loss(clock)

    def on_gradients(self, model: Model, clock: Clock) -> None:
        """AdaLoRA: keeps the gradients for the importance of each singular value."""
        if self._allocation is not None:
            self._allocation.keep_gradients()

    def after_step(self, model: Model, clock: Clock) -> None:
        """AdaLoRA: allocates ranks."""
        if self._allocation is not None:
            self._allocation.update(clock)

    def state_dict(self) -> dict[str, Any]:
        """AdaLoRA's importances."""
        return {} if self._allocation is None else self._allocation.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Puts the importances back."""
        if self._allocation is not None and state:
            self._allocation.load_state_dict(state)
