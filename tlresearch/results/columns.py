"""What groups of runs are called in a table: columns for what varies among them, a title for what they share."""

from __future__ import annotations

from collections.abc import Sequence

from tlresearch.results.report import Group

COLUMNS = ("backbone", "model", "weights", "head", "method", "predictor", "dataset", "labels_per_class", "seed")


def columns(groups: Sequence[Group], titles: Sequence[str]) -> tuple[str, list[str], list[list[str]]]:
    """The title, the names of the columns and each group's cells. titles: as `results.report.titles` makes them."""
    cells = [_cells(group, title) for group, title in zip(groups, titles, strict=True)]
    values = {column: list(dict.fromkeys(cell[column] for cell in cells)) for column in COLUMNS}
    if len(values["weights"]) == 2 and "none" in values["weights"]:
        values["weights"].remove("none")  # those runs are called scratch
    if any(len(group.rows) > 1 for group in groups):
        values["seed"] = []  # n says how many
    varying = [column for column in COLUMNS if len(values[column]) > 1]
    shared = [f"{column} {only}" for column in COLUMNS if len(values[column]) == 1 and (only := values[column][0])]
    return ", ".join(shared), varying, [[cell[column] for column in varying] for cell in cells]


def _cells(group: Group, title: str) -> dict[str, str]:
    row = {**group.first, "seed": ",".join(str(row["seed"]) for row in group.rows)}
    row["method"] = "" if row["predictor"] else title
    row["labels_per_class"] = "all" if row["labels_per_class"] is None else row["labels_per_class"]
    return {column: "" if row[column] is None else str(row[column]) for column in COLUMNS}
