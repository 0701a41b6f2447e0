"""What the data are, found before training: rows, classes, sizes or lengths, and what looks wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tlresearch.results import targets
from tlresearch.results.extent import image_sizes, lengths
from tlresearch.results.suspicion import MEANING, contents, suspicious_classes, suspicious_rows

if TYPE_CHECKING:
    from tlresearch.core.rows import Rows
    from tlresearch.core.types import Stage, Stream

SETS = ("train", "validation", "test", "unlabelled")
_LISTED = 8  # more classes, domains or stages than these are summed up


def describe(stream: Stream) -> dict[str, Any]:
    """What a user should know of the data before training, as JSON; rows that several stages share count once.

    name; modality; rows: set → count; drawn: `core.types.Drawn`; labels: task → label → set → rows;
    targets: task → set → range and mean, where labels are numbers; domains: name → set → rows; stages: name, rows and
    labels of each; inputs: lengths of texts or sizes of images;
    compared: whether rows were compared with each other; suspicious: kind, count and examples of each finding.
    """
    sets = {split: rows for split in SETS if (rows := _rows(stream, split)) is not None}
    labelled = {split: rows for split, rows in sets.items() if split != "unlabelled"}
    drawn, counts = _drawn(stream), _label_counts(stream, labelled)
    known = {split: contents(rows) for split, rows in sets.items()}
    comparable = {split: found for split, found in known.items() if found is not None and split in labelled}
    compared = len(comparable) == len(labelled)
    names = [stage.name for stage in stream.stages]
    return {
        "name": names[0] if len(names) == 1 else f"{len(names)} stages",
        "modality": stream.spec.modality,
        "rows": {split: len(rows) for split, rows in sets.items()},
        "drawn": drawn,
        "labels": counts,
        "targets": targets.describe_targets(stream, labelled),
        "domains": _domain_counts(stream, sets),
        "stages": [_stage(stage) for stage in stream.stages],
        "inputs": _inputs(stream, sets, known),
        "compared": compared,
        "suspicious": [
            *(suspicious_rows(labelled, comparable, [t.name for t in stream.spec.tasks]) if compared else ()),
            *targets.suspicious_targets(stream, labelled),
            *suspicious_classes(counts, list(labelled), drawn=bool(drawn) and drawn["labels_per_class"] is not None),
        ],
    }


def _rows(stream: Stream, split: str) -> Rows | None:
    """A set's rows of all stages, each once; None where there are none."""
    import torch

    from tlresearch.core.rows import Rows

    parts = [rows for stage in stream.stages if (rows := getattr(stage, split)) is not None and len(rows)]
    if len(parts) < 2:
        return parts[0] if parts else None
    whole = Rows.concatenate(parts)
    _, first = np.unique(whole.index.numpy(), return_index=True)
    return whole.take(torch.from_numpy(np.sort(first)))


def _drawn(stream: Stream) -> dict[str, Any]:
    """What `Sampling` drew for the stream, or for each of its stages; {} where it drew nothing."""
    found = list({id(stage.drawn): stage.drawn for stage in stream.stages if stage.drawn is not None}.values())
    return {**found[0]._asdict(), "rows": sum(drawn.rows for drawn in found)} if found else {}


def _label_counts(stream: Stream, sets: Mapping[str, Rows]) -> dict[str, dict[str, dict[str, int]]]:
    from tlresearch.core.kinds import kind_of

    counts = {}
    for task in stream.spec.tasks:
        if kind_of(task).classes:
            columns = {split: rows.labels[task.name] for split, rows in sets.items()}
            classes = len(task.labels)
            n = {split: y[y >= 0].bincount(minlength=classes).tolist() for split, y in columns.items()}
            counts[task.name] = {label: {s: n[s][c] for s in n} for c, label in enumerate(task.labels)}
    return counts


def _domain_counts(stream: Stream, sets: Mapping[str, Rows]) -> dict[str, dict[str, int]]:
    domains = stream.spec.domains
    n = {split: rows.domain.bincount(minlength=len(domains)).tolist() for split, rows in sets.items()}
    return {name: {split: n[split][d] for split in n} for d, name in enumerate(domains)}


def _stage(stage: Stage) -> dict[str, Any]:
    """Rows of each set, and for each task the labels that the training rows have, none where they are numbers."""
    from tlresearch.core.kinds import kind_of

    rows = {split: len(found) for split in SETS if (found := getattr(stage, split)) is not None}
    columns = {t: stage.train.labels[t.name] for t in stage.tasks if kind_of(t).classes}
    labels = {t.name: [t.labels[c] for c in y[y >= 0].bincount().nonzero()[:, 0].tolist()] for t, y in columns.items()}
    return {"name": stage.name, "rows": rows, "labels": labels}


def _inputs(stream: Stream, sets: Mapping[str, Rows], known: Mapping[str, Any]) -> dict[str, Any]:
    """Lengths of texts, sizes of images, numbers a vector has; {} where there is no telling."""
    modality, shape = stream.spec.modality, stream.spec.input_shape
    if modality == "text":
        texts = [text for found in known.values() for text in found or () if isinstance(text, str)]
        return lengths(texts) if texts else {}
    if modality == "image":
        return image_sizes(list(sets.values()), shape)
    return {"numbers": shape[0]} if shape else {}


def lines(description: Mapping[str, Any]) -> list[str]:
    """The description for people, in aligned lines; what is suspicious comes last."""
    d = description
    found = [("data", _data(d)), ("rows", _row_counts(d))]
    if d["drawn"] and d["drawn"]["labels_per_class"] is not None:
        found.append(("labels", _labels(d["drawn"])))
    found += [("classes", _classes(task, counts)) for task, counts in d["labels"].items()]
    found += [("target", targets.said(task, of_set)) for task, of_set in d["targets"].items()]
    if len(d["domains"]) > 1 and list(d["domains"]) != [stage["name"] for stage in d["stages"]]:
        totals = {name: sum(counts.values()) for name, counts in d["domains"].items()}
        found.append(("domains", _listed(f"{name} ({n:,})" for name, n in totals.items())))
    if len(d["stages"]) > 1:
        found += [(stage["name"], _stage_line(stage)) for stage in d["stages"][:_LISTED]]
        found += [("…", f"{len(d['stages']) - _LISTED} more stages")] if len(d["stages"]) > _LISTED else []
    return [*(row(label, text) for label, text in found), *warnings(d)]


def warnings(description: Mapping[str, Any]) -> list[str]:
    """The lines about what is suspicious; none where nothing is."""
    return [row("suspicious", _finding(**found)) for found in description["suspicious"]]


def row(label: str, text: str) -> str:
    """One aligned line, whatever names of classes and domains hold."""
    return f"{label:<11} {' '.join(text.split())}"


def _data(d: Mapping[str, Any]) -> str:
    n, size = sum(d["rows"].values()), d["inputs"]
    what = {"text": "texts", "image": "images", "vector": "vectors"}.get(d["modality"], f"{d['modality']} rows")
    said = f"{d['name']}: {n:,} {what}"
    if "unit" in size:
        middle = f"median {size['median']:,}, 95 % have at most {size['percentile_95']:,}"
        said += f" of {size['minimum']:,} to {size['maximum']:,} {size['unit']} ({middle})"
    elif "width" in size:
        said += _image_sizes(size)
    elif "numbers" in size:
        said += f" of {size['numbers']} numbers"
    if not d["compared"]:
        return f"{said}; repeats not looked for"
    return said if d["suspicious"] else f"{said}; nothing suspicious"


def _image_sizes(size: Mapping[str, Any]) -> str:
    least, middle, most = (f"{size['width'][q]} x {size['height'][q]}" for q in ("minimum", "median", "maximum"))
    said = f" of {most} pixels" if least == most else f" of {least} to {most} pixels (median {middle})"
    colours = {"grey": size["grey"], "in colour": size["sampled"] - size["grey"]}
    said += ", " + " and ".join(name if n == size["sampled"] else f"{n:,} {name}" for name, n in colours.items() if n)
    return said if size["sampled"] == size["of"] else f"{said} (of {size['sampled']:,} sampled)"


def _row_counts(d: Mapping[str, Any]) -> str:
    said = ", ".join(f"{split} {n:,}" for split, n in d["rows"].items())
    if not d["drawn"]:
        return said
    off = d["drawn"]["split_off"]
    given = [split for split in ("train", "validation", "test") if split not in off]
    if off:
        shares = " and ".join(f"{split} {100 * share:g} %" for split, share in off.items())
        each = " of each class" if d["labels"] else " at random"
        said += f"; split off: {shares}{each} (split_seed={d['drawn']['split_seed']})"
    if len(given) > 1:
        said += f"; {' and '.join(given) if off else 'all'} as the data bring them"
    return said


def _labels(drawn: Mapping[str, Any]) -> str:
    if drawn["labels_per_class"] == 0:
        return f"none of the {drawn['rows']:,} train rows are kept: training sees a text for each class instead"
    kept = f"{drawn['labels_per_class']:,} train rows of each class are kept"
    return f"{kept}, drawn from {drawn['rows']:,} (sample_seed={drawn['sample_seed']})"


def _classes(task: str, counts: Mapping[str, Mapping[str, int]]) -> str:
    train = sorted(((of_set["train"], label) for label, of_set in counts.items()), key=lambda pair: -pair[0])
    said = f"{len(counts)} of {task}; train rows: "
    (most, largest), (least, smallest) = train[0], train[-1]
    if most == least:
        said += f"{most:,} each"
    elif len(train) <= _LISTED:
        said += ", ".join(f"{label} ({n:,})" for n, label in train)
    else:
        said += f"{smallest} ({least:,}) to {largest} ({most:,})"
    test = {label: of_set.get("test", 0) for label, of_set in counts.items()}
    guess = max(test, key=lambda label: test[label])
    total = sum(test.values())
    return f"{said}; always guessing {guess!r} has test.accuracy {test[guess] / total:.4f}" if total else said


def _stage_line(stage: Mapping[str, Any]) -> str:
    counts = ", ".join(f"{split} {n:,}" for split, n in stage["rows"].items())
    trained = "; ".join(_listed(labels) for labels in stage["labels"].values())
    return f"{counts}; trains {trained}" if trained else counts


def _listed(names: Iterable[str]) -> str:
    """The first few names, and "…" where there are more of them."""
    found = list(names)
    return ", ".join(found[:_LISTED]) + ", …" * (len(found) > _LISTED)


def _finding(kind: str, count: int, examples: Sequence[str]) -> str:
    return f"{MEANING[kind]}: {count:,} ({'; '.join(examples)}{'; …' * (count > len(examples))})"
