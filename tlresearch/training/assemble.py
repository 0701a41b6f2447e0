"""From a resolved configuration to objects: model, methods, optimizer, schedule, selection."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from tlresearch.config.build import build
from tlresearch.config.check import EVERYTHING
from tlresearch.config.errors import ConfigError, Problem, Problems, choose, fail
from tlresearch.config.registry import load
from tlresearch.core.backbone import Backbone
from tlresearch.core.head import Head
from tlresearch.core.method import Method, uses
from tlresearch.core.model import Model, pristine
from tlresearch.core.rows import Rows
from tlresearch.core.seeding import seeded
from tlresearch.core.types import Spec, Stream, Task
from tlresearch.training.memory import fresh_backbone, read_data
from tlresearch.training.parameters import Rates

if TYPE_CHECKING:
    from tlresearch.training.carry import Carried

Config = Mapping[str, Any]


class Assembly(NamedTuple):
    """A model with its methods set up. original: `pristine(backbone)`, to know later what has changed."""

    model: Model
    methods: dict[str, Method]
    original: dict[int, int]


def assemble(
    config: Config,
    spec: Spec,
    tasks: tuple[Task, ...],
    train: Rows | None = None,
    backbone: Backbone | None = None,
    carried: Carried | None = None,
) -> Assembly:
    """Backbone (a fresh one but where one is given), the heads of `tasks` and the methods; all mistakes at once.

    train: rows whose labels the heads see (`Head.prepare`); None where their state is loaded.
    carried: what `init_from` takes over. A plain body goes in before the methods' setup, one that the same methods made
    after it; where neither fits, its adapters are merged first.
    """
    problems = Problems()
    problems.attempt("", lambda: check_fit(config, spec))
    methods: dict[str, Method] = {}
    for name, options in config["method"].items():
        made = problems.attempt("", partial(build, "method", {**options, "name": name}))
        if made is not None:
            methods[name] = made
    problems.raise_any()
    model = Model(fresh_backbone(config, spec) if backbone is None else backbone)
    original = pristine(model.backbone)
    placed = carried is not None and carried.into(model.backbone)
    prepare_heads(model, config, tasks, train)
    for name, method in methods.items():
        with seeded(config["seed"], "method", name):
            problems.attempt(f"method.{name}", partial(method.setup, model, spec))
    problems.raise_any()
    _check_methods(methods)
    if carried is not None:
        if not placed and not carried.into(model.backbone):
            return assemble(config, spec, tasks, train, backbone, carried.merged(model.backbone))
        carried.into_heads(model)
    return Assembly(model, methods, original)


def build_stream(config: Config) -> Stream:
    """The stream of the configured dataset, test labels included."""
    return read_data(config).stream


def check_fit(config: Config, spec: Spec) -> None:
    """Refuses a backbone that cannot read the data and heads that cannot serve the tasks."""
    backbone = config["backbone"]["name"]
    reads = load("backbone", backbone).modalities
    if spec.modality not in reads:
        from tlresearch.config.registry import index

        fitting = sorted(
            e.name
            for e in index().values()
            if e.kind == "backbone" and not e.error and spec.modality in load("backbone", e.name).modalities
        )
        raise ConfigError(
            Problem(
                "backbone",
                f"{backbone!r} reads {', '.join(sorted(reads))} and dataset={config['dataset']['name']} gives "
                f"{spec.modality}; choose one of: {', '.join(fitting)}",
            )
        )
    for name in config["heads"]:
        choose(f"heads.{name}", name, [task.name for task in spec.tasks])
    for task in spec.tasks:
        head = head_config(config, task)["name"]
        kinds = load("head", head).kinds
        if task.kind not in kinds:
            serves = f"{head!r} serves {', '.join(sorted(kinds))}; task {task.name!r} is {task.kind}"
            raise ConfigError(Problem("head", f"{serves}; choose one of: {', '.join(_heads(task.kind))}"))


def _heads(kind: str) -> list[str]:
    """The heads that serve a kind of tasks."""
    from tlresearch.config.registry import index

    heads = sorted(e.name for e in index().values() if e.kind == "head" and not e.error)
    return [name for name in heads if kind in load("head", name).kinds]


def head_config(config: Config, task: Task) -> dict[str, Any]:
    """The head of a task: `heads.TASK` where it is given (a name or a mapping), the run's `head` otherwise."""
    own = config["heads"].get(task.name)
    if own is None:
        return dict(config["head"])
    return {"name": own} if isinstance(own, str) else dict(own)


def prepare_heads(model: Model, config: Config, tasks: tuple[Task, ...], train: Rows | None = None) -> None:
    """Builds the heads of tasks that are new and grows those whose labels have grown; seeded by seed and task alone.

    train: rows of the stage, whose labels a new head sees before anything is trained.
    """
    device = next(model.backbone.parameters()).device
    for task in tasks:
        with seeded(config["seed"], "head", task.name, len(task.labels)):
            if model.has_head(task.name):
                model.grow_head(task)
                continue
            options = head_config(config, task)
            key = f"heads.{task.name}" if task.name in config["heads"] else "head"
            head: Head = build("head", options, at=key, backbone=model.backbone, task=task)
            head.label_smoothing = options.get("label_smoothing", 0.0)
            if head.label_smoothing and (head.closed_form or not head.kind.classes):
                reason = "a closed form has no loss" if head.closed_form else "a regression has no classes"
                fail(f"{key}.label_smoothing", head.label_smoothing, f"{reason}; leave it out")
            if train is not None:
                head.prepare(train.labels[task.name])
            model.add_head(task, head, options.get("pooling", "auto"))
    model.to(device)


def recommended_rates(config: Config) -> Rates:
    """`optimizer.lr` for everything where it is set; otherwise what methods, backbone and heads recommend.

    Recommendations are meant for AdamW; an optimizer with another scale says so (`recommended_scale`), and one that
    wraps another (`optimizer.base`) has that one's.
    """
    methods = {name: load("method", name) for name in config["method"] if name != EVERYTHING}
    lr = config["optimizer"]["lr"]
    if lr is not None:
        return Rates(lr, lr, dict.fromkeys(methods, lr), 1.0)
    stepping = config["optimizer"].get("base", config["optimizer"]["name"])
    scale = getattr(load("optimizer", stepping), "recommended_scale", 1.0)
    backbone: type[Backbone] = load("backbone", config["backbone"]["name"])
    own = [m.learning_rate for m in methods.values() if m.learning_rate is not None]
    body = min(own) if own else backbone.recommended_rate(config["backbone"])
    heads = [m.head_learning_rate * scale for m in methods.values() if m.head_learning_rate is not None]
    aux = {name: m.aux_learning_rate * scale for name, m in methods.items()}
    return Rates(body * scale, min(heads, default=None), aux, scale)


def _check_methods(methods: Mapping[str, Method]) -> None:
    combiners = [name for name, method in methods.items() if uses(method, "combine")]
    if len(combiners) > 1:
        raise ConfigError(Problem("method", f"{combiners}: only one method of a run can combine gradients; keep one"))
