"""Which methods stack. `python -m tests.contract.pairs` tries every pair and writes docs/results/pairs.md."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

from tlresearch.config.errors import ConfigError

from . import registered
from .harness import NETS, STAGED, Finished, Kit
from .places import Places

DOCUMENT = Path(__file__).parents[2] / "docs" / "results" / "pairs.md"
Pair = tuple[str, ...]

STACKS, NOWHERE = "✓", "–"
LETTERS = "abcdefghijklmnopqrstuvwxyz"
TEXT = """\
# Which methods stack

```
python -m tests.contract.pairs
```

makes this page: each pair of the {count} methods of `tlresearch list method` (plugins/ included) as
`method=[ROW,COLUMN]`, one step in each of two stages, on the first of a tiny convnet, ViT and BERT that both take; data
with two tasks and unlabelled rows. ✓ stacks, – no network of the three is for both, a letter: refused before training,
with the message below. `make test` tries every pair again: what stacks has to train (a falling loss, nothing moves that
neither declares), and each answer has to be that of this page; `make matrix` tries both orders on all three networks.

{table}

{notes}

What stands behind a conflict is said at `conflicts` in each method's file: with `probe` nothing of the backbone moves;
two methods would give the rates of each depth, or put other weights in the place of the last ones; `lora` is a tuner of
`peft`, whose layers two of a kind cannot share.
"""


def pairs() -> list[Pair]:
    return list(combinations(registered.methods(), 2))


def attempt(kit: Kit, net: str, pair: Pair, steps: int) -> tuple[str, Finished | None]:
    """Why a pair is refused, "" if it is not; its run."""
    try:
        kit.check(net, pair)
        run = kit.run(kit.config(net, {name: {} for name in pair}, STAGED, steps=steps, evaluate_every=steps))
    except ConfigError as error:
        return str(error), None
    return "", run


def outcome(kit: Kit, net: str, pair: Pair, refusal: str) -> str:
    """✓, –, or the refusal without the pair's names (`finetune` apart, which is refused for what it is)."""
    if any(kit.refusal(net, name) for name in pair):
        return NOWHERE
    for name, letter in zip(pair, "XY", strict=True):
        refusal = refusal if name == "finetune" else refusal.replace(f"'{name}'", letter)
    return re.sub("[XY] says", "the other says", refusal) or STACKS


def documented() -> dict[Pair, str]:
    """Pair, in the order of the page → ✓, – or the reason; {} where there is no page (the kit of a wheel)."""
    if not DOCUMENT.is_file():
        return {}
    text = DOCUMENT.read_text(encoding="utf-8")
    reasons = dict(re.findall(r"^- \*\*(\w)\*\* (.*)$", text, re.MULTILINE))
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if re.match(r"\| \d", line)]
    names = [row[0].split("`")[1] for row in rows]
    cells = {(row, names[i]): rows[n][i + 1] for n, row in enumerate(names) for i in range(len(names))}
    return {pair: reasons.get(cells[pair], cells[pair]) for pair in combinations(names, 2)}


def render(outcomes: Mapping[Pair, str]) -> str:
    """The page."""
    names = sorted({name for pair in outcomes for name in pair})
    reasons = sorted(set(outcomes.values()) - {STACKS, NOWHERE})
    letters = dict(zip(reasons, LETTERS, strict=False))
    lines = [["", *(str(i + 1) for i in range(len(names)))], ["---", *["-"] * len(names)]]
    for number, row in enumerate(names):
        found = [outcomes.get((row, column), outcomes.get((column, row), "")) for column in names]
        lines.append([f"{number + 1} `{row}`", *(letters.get(answer, answer or "·") for answer in found)])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    notes = "\n".join(f"- **{letter}** {reason}" for reason, letter in letters.items())
    return TEXT.format(count=len(names), table=table, notes=notes)


def main() -> None:
    import torch

    torch.set_num_threads(1)  # more wait for each other over tensors as small as these
    with TemporaryDirectory() as folder, registered.fixtures():
        kit = Kit(_made(folder, "runs"), Places(_made(folder, "places")))
        DOCUMENT.write_text(render({pair: _answer(kit, pair) for pair in pairs()}), encoding="utf-8")


def _answer(kit: Kit, pair: Pair) -> str:
    net = kit.fitting(pair, list(NETS))
    return outcome(kit, net, pair, attempt(kit, net, pair, 1)[0])


def _made(folder: str, name: str) -> Path:
    place = Path(folder) / name
    place.mkdir()
    return place


if __name__ == "__main__":
    main()
