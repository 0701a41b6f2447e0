"""What a training step costs beside the same step in a hand-written torch loop.

Both loops take turns, step by step, in one process on the same machine, with the same data in memory, the same network,
batch size and fused AdamW; the figure is the median over steps of the ratio and of the difference. Run:

    OMP_NUM_THREADS=1 python bench/overhead.py
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable

import torch
import torch.nn.functional as F
from side_by_side import alternate, session

from tlresearch.training.data import Prepared
from tlresearch.training.session import Session

CASES = {
    "convnet on digits, batch 256": ["backbone=convnet", "dataset=digits", "batch_size=256", "steps=300"],
    "MiniLM, batch 16 x 32 tokens": ["backbone=minilm", "dataset=bench_tokens", "batch_size=16", "steps=60"],
}
WARM_UP = 5


def hand_written(made: Session, rows: Prepared, batch_size: int) -> Callable[[], None]:
    """One call = one step of a plain loop on a copy of the model, with its data in memory as tensors."""
    model = copy.deepcopy(made.model)
    model.train()
    (task,) = model.active
    everything = rows.batch(torch.arange(len(rows)))
    x, y = everything.x, everything.y[task]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        chosen = torch.randint(len(y), (batch_size,))
        part = {k: v[chosen] for k, v in x.items()} if isinstance(x, dict) else x[chosen]
        features = model.backbone(model.backbone.transform(part, "train"))
        loss = F.cross_entropy(model.head(task)(features), y[chosen])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def measure(overrides: list[str]) -> tuple[list[float], list[float]]:
    """Seconds of each step: (of the Trainer's whole loop, of the hand-written one), in turn."""
    made = session(*overrides)
    rows = made.prepared["train"]
    plain_step = hand_written(made, rows, made.config["batch_size"])
    ours, theirs = alternate(made, plain_step)
    return ours[WARM_UP:], theirs[WARM_UP : len(ours)]


def main() -> None:
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    for name, overrides in CASES.items():
        ours, theirs = measure(overrides)
        ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
        more = statistics.median(a - b for a, b in zip(ours, theirs, strict=True))
        plain = statistics.median(theirs)
        allowed = max(0.03 * plain, 200e-6)
        verdict = "within" if more <= allowed else "ABOVE"
        print(
            f"{name}: plain {plain * 1e3:.2f} ms, median ratio {ratio:.3f}, median difference {more * 1e6:+.0f} us "
            f"({verdict} the larger of 3 % and 200 us)"
        )


if __name__ == "__main__":
    main()
