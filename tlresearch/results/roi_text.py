"""`report --roi` in words and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Table = tuple[str, list[str], list[list[str]]]


def sentences(found: Mapping[str, Any], metric: str, sign: float) -> list[str]:
    """Three sentences for whoever pays: what labels are saved, what that is worth, what to do."""
    return [_labels(found, metric, sign), _worth(found, sign), _advice(found, sign)]


def _labels(found: Mapping[str, Any], metric: str, sign: float) -> str:
    if not found["efficiency"]:
        return "How many labels transfer saves cannot be said: nothing comparable was trained from scratch."
    entry = _told(found, sign)
    start = f"With {entry['labels']:g} labels, {entry['arm']} reaches a {metric} of {number(entry['value'])}"
    if found["flat"]:
        return f"{start}; training from scratch did not improve with labels here, so it is no fair reference."
    most, times = f"{entry['needed']:.0f} labels", f"{factor(entry)} times as many"
    if entry["side"] == "above":
        return f"{start}; training from scratch does not get there with {most}, {entry['factor']:.1f} times as many."
    if entry["side"] == "below":
        return f"{start}; training from scratch gets there with {most} or fewer: no saving was measured."
    return f"{start}; training from scratch needs about {most} for that, {times}."


def _told(found: Mapping[str, Any], sign: float) -> Mapping[str, Any]:
    """The entry that is told: of the best arm at the fewest labels of all arms."""
    fewest = min(entry["labels"] for entry in found["efficiency"])
    return max((e for e in found["efficiency"] if e["labels"] == fewest), key=lambda e: float(sign * e["value"]))


def _worth(found: Mapping[str, Any], sign: float) -> str:
    entry = _told(found, sign) if found["efficiency"] else None
    if entry is None or entry["saved"] is None:
        return "There is no saving to put a price on."
    saved, at_least = entry["saved"], "at least " if entry["side"] == "above" else ""
    kinds = {"annotation": "usd_labels", "computing": "usd_compute", "engineering": "usd_engineering"}
    if found["flat"]:
        return "So no saving is claimed; the table's bounds hold for this length of training alone."
    start = f"That saves {at_least}{saved['labels']:.0f} labels"
    parts = [_part(kind, saved[key]) for kind, key in kinds.items() if saved[key] is not None]
    if not parts:
        return f"{start}, whose price nobody has named."
    price = entry["break_even_usd_per_label"]
    if price is None:
        return f"{start}: {', '.join(parts)}."
    where = "whatever a label costs" if price < 0.01 else f"where a label costs more than {usd(price)}"
    return f"{start}: {', '.join(parts)}; transfer is the cheaper way {where}."


def _part(kind: str, value: float) -> str:
    if abs(value) < 0.01:
        return f"{kind} costs the same to the cent"
    return f"{usd(value)} of {kind}" if value > 0 else f"but {usd(-value)} more {kind}"


def _advice(found: Mapping[str, Any], sign: float) -> str:
    advised = found["recommended"]
    if advised is None:
        return "Nothing that was measured fits the limits, so nothing is recommended."
    cost = found["cost"]
    price = usd(advised[cost]) if cost == "usd" else f"{advised[cost]:.1f} s of computing"
    start = f"Recommended is {advised['arm']} with {advised['labels']:g} labels: {number(advised['value'])} for {price}"
    best = max((p for p in found["points"] if not p["unfit"]), key=lambda p: float(sign * p["value"]))
    if (best["arm"], best["labels"]) == (advised["arm"], advised["labels"]):
        more = "nothing that was measured and fits is better"
    else:
        name = f"{best['arm']} with {best['labels']:g} labels ({number(best['value'])})"
        more = f"it lies within the 95 % interval of the best, {name}"
    unfit = f"; left out for the limits: {len(found['unfit'])} of {len(found['points'])}" if found["unfit"] else ""
    return f"{start}; {more}{unfit}."


def tables(found: Mapping[str, Any], metric: str) -> list[Table]:
    """Title, header and rows of each table of one setting."""
    points = [
        [
            p["arm"], f"{p['labels']:g}", _number(p["steps"]), _plus_minus(p), str(p["n"]), usd(p["usd"]),
            usd(p["usd_compute"]), _number(p["seconds"]), _number(p["seconds_per_prediction"]), _number(p["bytes"]),
            " ".join(["front"] * p["front"] + ["does not fit"] * bool(p["unfit"])),
        ]
        for p in found["points"]
    ]  # fmt: skip
    header = ["arm", "labels", "steps", metric, "n", "$", "$ compute", "seconds", "s a prediction", "bytes", ""]
    made: list[Table] = [(found["name"], header, points)]
    saved = [
        [
            e["arm"], f"{e['labels']:g}", needed(e), factor(e), *(usd(None if e["saved"] is None else e["saved"][key])
            for key in ("usd_labels", "usd_compute", "usd_engineering")), _break_even(e),
        ]
        for e in found["efficiency"]
    ]  # fmt: skip
    if saved:
        columns = ["arm", "labels", "labels from scratch", "factor", "$ labels", "$ compute", "$ engineering"]
        columns += ["pays from $ a label"]
        made.append(("What is saved against training from scratch up to the same value", columns, saved))
    steps = [
        [f"{m['from']}, {m['labels'][0]:g}", f"{m['to']}, {m['labels'][1]:g}", usd(m["usd_per_point"])]
        for m in found["marginal"]
    ]
    if steps:
        made.append(("Along the Pareto front: $ for each point (0.01)", ["from", "to", "$ a point"], steps))
    return made


def markdown(result: Mapping[str, Any], commands: Sequence[str], picture: str | None) -> str:
    """The whole as a document. commands: what made it."""
    lines = ["# What transfer saves", "", "Made by", "```", *commands, "```", ""]
    lines += [f"![{result['metric']} against labels and cost]({picture})", ""] if picture else []
    for found in result["settings"]:
        lines += [f"## {found['name']}", "", *found["sentences"], ""]
        for title, header, rows in tables(found, result["metric"]):
            lines += [f"{title}:", "", _row(header), _row(["---"] * len(header)), *map(_row, rows), ""]
        told = [*(f"does not fit: {text}" for text in found["unfit"]), *found["notes"]]
        lines += [*(f"- {text}" for text in told), ""]
    lines += ["## How to read it", "", *EXPLAINED, *(f"- {note}" for note in result["notes"])]
    return "\n".join(lines).rstrip() + "\n"


EXPLAINED = (
    "- factor: labels that training from scratch needs for the same value, by those that the arm had. Scratch's means",
    "  are made monotone and interpolated linearly on the logarithm of labels, never continued: `>` or `<` is what",
    "  lies outside the range. In brackets: 95 %, by resampling the seeds that both have, the same ones on both sides.",
    "- plus-minus: half the 95 % interval over seeds, Student's t.",
    "- What is saved beyond the range is reckoned with scratch's most labels: a lower bound.",
    "- $: labels of training rows, computing and engineering, each where it has a price. Validation and test rows,",
    "  which every arm needs alike, are not counted.",
    "- bytes: the whole network in float32, whatever part of it the run has kept. s a prediction: one row alone,",
    "  preprocessing not counted.",
    "- Labels saved are worth what one label costs: 5,000 instead of 50,000 save 45,000, which is $22,500 at $0.50",
    "  a label and $225,000 at $5.00. A range of $22,500 to $247,500 that is told of this example is not exact: its",
    "  upper end takes 5,000 labels at $0.50 from 50,000 at $5.00, two prices in one difference.",
    "- Recommended is the cheapest that lies within the 95 % interval of the best that fits.",
    "- steps: those of training, for which the seconds are; an arm that is trained longer may need fewer labels.",
)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _plus_minus(p: Mapping[str, Any]) -> str:
    return number(p["value"]) + ("" if p["half"] is None else f" ± {number(p['half'])}")


def _break_even(entry: Mapping[str, Any]) -> str:
    price = entry["break_even_usd_per_label"]
    return "" if price is None else "any" if price == 0 else usd(price)


def needed(entry: Mapping[str, Any]) -> str:
    """Labels from scratch: a number, or a bound."""
    side = {"above": "> ", "below": "< ", "within": ""}[entry["side"]]
    return f"{side}{entry['needed']:.0f}" + ("" if entry["side"] == "within" else " (not within the range)")


def factor(entry: Mapping[str, Any]) -> str:
    """The factor with its interval: "5.1 (3.2 to 9.8)"; an open end is told as one."""
    side = {"above": "> ", "below": "< ", "within": ""}[entry["side"]]
    if entry["interval"] is None or entry["side"] != "within":
        return f"{side}{entry['factor']:.1f}"
    low, high = entry["interval"]
    ends = "below the range" if low is None else f"{low:.1f}", "above the range" if high is None else f"{high:.1f}"
    return f"{entry['factor']:.1f} ({ends[0]} to {ends[1]})"


def usd(value: float | None) -> str:
    """$, to the cent or, below one, to two digits; "" where there is none."""
    if value is None:
        return ""
    digits = f"{abs(value):,.2f}" if abs(value) >= 0.01 or value == 0 else f"{abs(value):.2g}"
    return f"{'-' * (value < 0)}${digits}"


def number(value: float) -> str:
    """A metric."""
    return f"{value:.4f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
