"""Data sets in Hugging Face's format: from the hub, its cache, or a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tlresearch.config.errors import Problems, fail, nearest
from tlresearch.config.registry import register
from tlresearch.core.dataset import Dataset, descriptions
from tlresearch.core.rows import Rows
from tlresearch.core.sampling import Sampling
from tlresearch.core.types import Spec, Stream, Task

_AUTO = {"validation_split": ("validation", "valid", "val", "dev"), "test_split": ("test",)}
_LABELS = ("int", "uint", "bool", "string", "large_string")


@register("dataset", "huggingface")
class HuggingFace(Dataset):
    """Texts or images with one class each. The task has the label column's name; names of a ClassLabel are kept.

    path: a folder that `save_to_disk` wrote or that holds data files, or else a name on the hub (`configuration`: which
        of its subsets). Code that a data set brings is never run.
    input_column, label_column: names of columns; images become uint8 (3, H, W).
    train_split: name of the training split. validation_split, test_split: auto (the split of that name where there is
        one, a share of the training rows otherwise), null (always a share), or a name.
    """

    def __init__(
        self,
        sampling: Sampling,
        data_dir: Path | None,
        *,
        path: str,
        configuration: str | None = None,
        input_column: str = "text",
        label_column: str = "label",
        train_split: str = "train",
        validation_split: str | None = "auto",
        test_split: str | None = "auto",
    ) -> None:
        self.sampling, self.configuration = sampling, configuration
        self.path = path
        local = [place for place in (Path(path).expanduser(), (data_dir or Path()) / path) if place.is_dir()]
        self.folder = local[0] if local else None
        self.columns = {"input_column": input_column, "label_column": label_column}
        self.splits = {"train_split": train_split, "validation_split": validation_split, "test_split": test_split}

    def stream(self) -> Stream:
        """One stage from the chosen columns of the chosen splits."""
        tables = self._chosen(self._load())
        for argument, column in self.columns.items():
            for table in tables.values():
                if column not in table.column_names:
                    fail(argument, column, f"no such column; {nearest(column, table.column_names)}")
        input_column, label_column = self.columns.values()
        modality = _modality(input_column, tables["train_split"].features[input_column])
        columns = {split: list(table[label_column]) for split, table in tables.items()}
        feature, values = tables["train_split"].features[label_column], [v for c in columns.values() for v in c]
        names, class_of = _classes(label_column, feature, values)
        task = Task(label_column.replace(".", "_"), "classification", names)  # a dot separates keys
        parts: dict[str, Rows] = {}
        start = 0
        for split, table in tables.items():
            inputs = table[input_column] if modality == "text" else _Images(table[input_column])
            ids = torch.tensor([class_of.get(value, -1) for value in columns[split]])
            if (ids < 0).any():
                advice = "name another split" + ("" if split == "train_split" else ", or null for a share of training")
                fail(split, self.splits[split], f"{int((ids < 0).sum())} rows lack a {label_column!r}; {advice}")
            parts[split] = Rows(inputs, {task.name: ids}, index=torch.arange(start, start + len(ids)))
            start += len(ids)
        splits = parts["train_split"], parts.get("validation_split"), parts.get("test_split")
        named = descriptions(task, start) if modality == "text" else None
        stage = self.sampling.stage("huggingface", (task,), *splits, descriptions=named)
        return Stream(Spec(modality, None, (task,)), (stage,))

    def _load(self) -> Mapping[str, Any]:
        import datasets

        try:
            if self.folder is not None and any((self.folder / f).exists() for f in ("state.json", "dataset_dict.json")):
                loaded = datasets.load_from_disk(str(self.folder))
            else:
                loaded = datasets.load_dataset(str(self.folder or self.path), self.configuration)
        except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
            advice = "give a folder that save_to_disk wrote or a name on the hub (check spelling and network)"
            fail("path", self.path, f"cannot be loaded; {advice}. {type(error).__name__}: {error}")
        if isinstance(loaded, datasets.Dataset):
            return {str(self.splits["train_split"]): loaded.with_format(None)}
        return dict(loaded.with_format(None))

    def _chosen(self, available: Mapping[str, Any]) -> dict[str, Any]:
        """Argument → table of each split that the data bring."""
        chosen, problems = {}, Problems()
        for argument, name in self.splits.items():
            if name == "auto":
                name = next((n for n in _AUTO.get(argument, ()) if n in available), None)
            elif name is not None and name not in available:
                problems.add(argument, f"{name!r}: no such split; {nearest(name, available)}")
            if name is not None and name in available:
                chosen[argument] = available[name]
        problems.raise_any()
        return chosen


def _modality(column: str, feature: Any) -> str:
    import datasets

    if isinstance(feature, datasets.Image):
        return "image"
    if isinstance(feature, datasets.Value) and feature.dtype in ("string", "large_string"):
        return "text"
    fail("input_column", column, f"holds {feature}; a column of texts or of images is needed")


def _classes(column: str, feature: Any, values: Sequence[Any]) -> tuple[tuple[str, ...], dict[Any, int]]:
    """Names of the labels and value in the column → class id; a missing value (None, -1 in a ClassLabel) has none."""
    import datasets

    if isinstance(feature, datasets.ClassLabel):
        names, ids = tuple(feature.names), {i: i for i in range(len(feature.names))}
    elif isinstance(feature, datasets.Value) and feature.dtype.startswith(_LABELS):
        ordered = sorted({value for value in values if value is not None})
        names, ids = tuple(str(value) for value in ordered), {value: i for i, value in enumerate(ordered)}
    else:
        fail("label_column", column, f"holds {feature}; a column of class names or integers is needed")
    if len(names) < 2:
        fail("label_column", column, f"has {len(names)} labels ({', '.join(names)}); two or more are needed")
    return names, ids


class _Images(Sequence[Tensor]):
    """A column of pictures, decoded one by one: uint8 (3, H, W)."""

    def __init__(self, column: Sequence[Any]) -> None:
        self.column = column

    def __len__(self) -> int:
        return len(self.column)

    def __getitem__(self, i: Any) -> Any:
        from torchvision.transforms.functional import pil_to_tensor

        return pil_to_tensor(self.column[i].convert("RGB"))
