"""The README.md of an exported folder."""

from __future__ import annotations

from tlresearch import __version__
from tlresearch.export.source import Source
from tlresearch.training.assemble import head_config


def text(source: Source, name: str, usage: str, difference: float) -> str:
    """What the model is, how well it does by which rule, and how to load it.

    Args:
        usage: the Markdown of `Format.write`.
        difference: the greatest |Δ logit| between the run and the written files on the probe.
    """
    run, config = source.run, source.run.config
    backbone, methods = config["backbone"], " + ".join(config["method"]) or "finetune"
    model = f", {backbone['model']}" if backbone.get("model") else ""
    heads = [f"- head of `{t.name}`: {head_config(config, t)['name']}, {_answers(t.labels)}" for t in run.spec.tasks]
    tasks = ", ".join(task.name for task in run.spec.tasks)
    selection = run.record["selection"]
    oracle = ", an oracle, which saw labels of the test domain" if selection["oracle"] else ""
    return "\n".join(
        [
            f"# {tasks}: {backbone['name']}{model} on {config['dataset']['name']}",
            "",
            f"Written by tlresearch {__version__} from run {run.identity}, as {name}.",
            f"On a probe batch its logits differ from the run's by at most {difference:.1e}.",
            "",
            f"- backbone: {backbone['name']}{model}, weights {backbone['weights']}",
            f"- adapted by: {methods}",
            *heads,
            f"- {run.metric}: {run.value:.4f} (one seed; checkpoint selected by rule `{selection['rule']}`{oracle})",
            "",
            "## How to load it",
            "",
            "In this folder:",
            "",
            usage.strip(),
            "",
        ]
    )


def code(*lines: str) -> str:
    """Lines of Python as a Markdown block."""
    return "\n".join(["```python", *lines, "```"])


def _answers(labels: tuple[str, ...]) -> str:
    listed = ", ".join(f"`{label}`" for label in labels)
    return f"labels {listed}" if labels else "a number in the unit of its training target"
