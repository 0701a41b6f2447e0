"""What a step of method `lora` costs beside peft's own LoRA in a hand-written torch loop.

Both loops take turns, step by step, in one process, with the same data in memory, the same network, targets, rank,
batch size and fused AdamW over the same number of parameters; the figures are medians over steps, and the ratio's 95 %
interval is that of its median over resampled steps. Run:

    OMP_NUM_THREADS=1 python bench/lora_step.py
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from side_by_side import alternate, interval, session
from torch import Tensor

from tlresearch.training.data import Prepared
from tlresearch.training.session import Session

CASES = {
    "MiniLM, rank 8, batch 16 x 32 tokens": ["backbone=minilm", "dataset=bench_tokens", "batch_size=16", "steps=80"],
    "MiniLM, rank 8, batch 4 x 32 tokens": ["backbone=minilm", "dataset=bench_tokens", "batch_size=4", "steps=200"],
}
RANK, ALPHA = 8, 16
ALLOWED = 1.05
WARM_UP = 5


def hand_written(plain: Session, rows: Prepared, batch_size: int) -> tuple[Callable[[], None], int]:
    """One call = one step of peft's own model and a linear head; and how many parameters it trains."""
    from peft import LoraConfig, get_peft_model

    backbone: Any = plain.model.backbone
    (task,) = plain.model.active
    head: Any = plain.model.head(task)
    targets = ["query", "value"]
    model: Any = get_peft_model(backbone.network, LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=targets))
    model.train()
    everything = rows.batch(torch.arange(len(rows)))
    x, y = everything.x, everything.y[task]
    assert isinstance(x, dict)
    learning = [p for p in (*model.parameters(), *head.output.parameters()) if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=1e-4, fused=True)

    def pooled(part: dict[str, Tensor]) -> Tensor:
        mask = part["attention_mask"].unsqueeze(-1)
        tokens: Tensor = model(**part).last_hidden_state
        return (tokens * mask).sum(1) / mask.sum(1)

    def step() -> None:
        chosen = torch.randint(len(y), (batch_size,))
        logits = head.output(pooled({name: values[chosen] for name, values in x.items()}))
        F.cross_entropy(logits, y[chosen]).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step, sum(p.numel() for p in learning)


def measure(overrides: list[str]) -> tuple[list[float], list[float]]:
    """Seconds of each step: (of the Trainer's whole loop with method lora, of the hand-written one), in turn."""
    adapted = session(*overrides, "method=[lora]", f"method.lora.rank={RANK}", f"method.lora.alpha={ALPHA}")
    rows = adapted.prepared["train"]
    plain_step, count = hand_written(session(*overrides), rows, adapted.config["batch_size"])
    ours, theirs = alternate(adapted, plain_step)
    moving = sum(p.numel() for p in adapted.model.parameters() if p.requires_grad)
    assert moving == count, f"lora trains {moving} parameters and the hand-written loop {count}"
    return ours[WARM_UP:], theirs[WARM_UP : len(ours)]


def main() -> None:
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    for name, overrides in CASES.items():
        ours, theirs = measure(overrides)
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        ratio, (low, high) = statistics.median(ratios), interval(ratios)
        plain = statistics.median(theirs) * 1e3
        verdict = "within" if ratio <= ALLOWED else "ABOVE"
        figures = f"peft {plain:.1f} ms a step, ratio {ratio:.3f} [{low:.3f}, {high:.3f}]"
        print(f"{name}: {figures} ({verdict} {ALLOWED})")


if __name__ == "__main__":
    main()
