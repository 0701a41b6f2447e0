"""Images turned by angles: the smallest benchmark of domain adaptation and generalisation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tlresearch.config.errors import fail
from tlresearch.config.registry import register
from tlresearch.core.dataset import Dataset, single_stage
from tlresearch.core.rows import Rows
from tlresearch.core.sampling import Sampling
from tlresearch.core.types import Stream
from tlresearch.nn.images import to_pil


@register("dataset", "rotated")
class Rotated(Dataset):
    """One domain an angle, as in Rotated MNIST (Ghifary et al., 2015, arXiv:1508.07680), over any images.

    Training rows of the base are dealt to the domains, so no image is in two of them; the target's are unlabelled.
    Validation rows appear in every source domain, test rows in every domain; `index` modulo the size of the base says
    which image a row is. Corners that a rotation opens are black.

    base, base_arguments: the images, and that data set's own options; the common options are this one's.
    source: angles in degrees, counter-clockwise, of the labelled domains; `labels_per_class` counts over all of them.
    target: angles of the unlabelled domains; [] for several sources without a target.
    """

    def __init__(
        self,
        sampling: Sampling,
        data_dir: Path | None,
        *,
        base: str = "digits",
        base_arguments: dict[str, Any] = {},
        source: list[int] = [0],
        target: list[int] = [45],
    ) -> None:
        if not source:
            fail("source", source, "must name at least one angle")
        angles = [angle % 360 for angle in (*source, *target)]
        if len(set(angles)) < len(angles):
            fail("target", target, f"an angle occurs twice among source {source} and target {target}; name each once")
        self.sampling, self.data_dir = sampling, data_dir
        self.base, self.base_arguments = base, base_arguments
        self.source, self.target = source, target

    def stream(self) -> Stream:
        """One stage with a domain for each angle: labelled at the sources, unlabelled at the targets."""
        plain = self.sampling._replace(labels_per_class=None, class_weights="none")  # both are for the source, below
        spec, base = single_stage(self.base, self.base_arguments, plain, self.data_dir)
        if spec.modality != "image":
            fail("base", self.base, f"gives {spec.modality}, and only images can be rotated; choose an image dataset")
        self.size = 1 + max(int(rows.index.max()) for rows in (base.train, base.validation, base.test))
        angles, sources = [*self.source, *self.target], len(self.source)
        if len(base.train) < len(angles):
            fail("source", self.source, f"{len(angles)} domains for {len(base.train)} training rows; name fewer angles")
        dealt = self.sampling.partition(spec.tasks, base.train, len(angles))
        train = [self._turned(rows, angle, d) for d, (rows, angle) in enumerate(zip(dealt, angles, strict=True))]
        stage = self.sampling.stage(
            "rotated",
            spec.tasks,
            Rows.concatenate(train[:sources]),
            Rows.concatenate([self._turned(base.validation, angle, d) for d, angle in enumerate(self.source)]),
            Rows.concatenate([self._turned(base.test, angle, d) for d, angle in enumerate(angles)]),
            Rows.concatenate(train[sources:]) if self.target else None,
        )
        if stage.drawn and base.drawn:
            stage = stage._replace(drawn=stage.drawn._replace(split_off=base.drawn.split_off))
        return Stream(spec._replace(domains=tuple(str(angle) for angle in angles)), (stage,))

    def _turned(self, rows: Rows, angle: int, domain: int) -> Rows:
        from torchvision.transforms.functional import InterpolationMode, rotate

        inputs: Any = _Turned(rows, angle)
        if isinstance(rows.inputs, Tensor):  # of one size: all at once
            inputs = rotate(rows.inputs[rows.positions], angle, InterpolationMode.BILINEAR)
        domains, index = torch.full((len(rows),), domain), rows.index + domain * self.size
        return Rows(inputs, rows.labels, domains, index, rows.weight)


class _Turned(Sequence[Tensor]):
    """Images of any size, read and turned one by one: uint8 (C, H, W)."""

    def __init__(self, rows: Rows, angle: int) -> None:
        self.rows, self.angle = rows, angle

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: Any) -> Any:
        from torchvision.transforms.functional import InterpolationMode, pil_to_tensor, rotate

        image = self.rows[i]["input"]
        if isinstance(image, Path):
            image = pil_to_tensor(to_pil(image, 3))
        return rotate(image, self.angle, InterpolationMode.BILINEAR)
