"""The page as one file: markup, style, script and data, allowed by a policy that lets in nothing else."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from tlresearch.results.page.gather import gather
from tlresearch.results.page.values import embedded

SCRIPTS = (
    "dom.js", "numbers.js", "state.js", "table.js", "row.js", "scales.js", "marks.js", "chart.js", "heatmap.js",
    "groups.js", "curves.js", "confusion.js", "domains.js", "stages.js", "main.js",
)  # fmt: skip
"""In this order they become one script."""


def page(comparisons: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> str:
    """The whole HTML document. Arguments as for `gather`."""
    style = _asset("page.css")
    script = '(() => {\n"use strict";\n' + "\n".join(_asset(name) for name in SCRIPTS) + "})();\n"
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src '{_hash(script)}'",
            f"style-src '{_hash(style)}'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",  # no text becomes markup, whatever the script does
            "trusted-types 'none'",
        ]
    )
    template = Template(_asset("page.html"))
    return template.substitute(policy=policy, style=style, script=script, data=embedded(gather(comparisons, rows)))


def save(file: Path, document: str) -> None:
    """Writes the document in one step; raises OSError where that is not possible."""
    partial = file.with_name(file.name + ".partial")
    try:
        partial.write_text(document, encoding="utf-8")
        os.replace(partial, file)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def _asset(name: str) -> str:
    return (resources.files("tlresearch.results.page") / "assets" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
