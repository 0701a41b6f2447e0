"""Reads what a file registers from its text: names, options, defaults. Nothing is imported, nothing is run."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tlresearch.config import option_types

CONTRACTS = frozenset({"Backbone", "Head", "Method", "Dataset", "Tracker", "Selection", "Predictor", "object"})
"""Bases whose `__init__` takes no options, so that a class may do without its own."""

_MENTION = re.compile(r"@(?:\w+\.)*register\(")
_NAMED = re.compile(r"""@(?:\w+\.)*register\(\s*["'](\w+)["']\s*,\s*["']([^"']+)["']\s*,?\s*\)""")


class Option(NamedTuple):
    """A keyword-only argument: its annotation as written, its default (None where required), a Literal's choices."""

    name: str
    annotation: str
    default: Any
    required: bool
    choices: tuple[str, ...]


class Entry(NamedTuple):
    """One registered plugin as its text tells. error: why it cannot be used, "" if it can.

    wiring: its positional arguments; conflicts: the class attribute of a method; defines: the functions of its class;
    module: dotted where it is importable as such, "" for a file that lies outside packages.
    """

    kind: str
    name: str
    file: str
    object: str = ""
    line: int = 1
    summary: str = ""
    options: tuple[Option, ...] = ()
    wiring: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    defines: tuple[str, ...] = ()
    error: str = ""
    module: str = ""
    origin: str = ""


class Unreadable(ValueError):
    """A plugin whose options cannot be read from its text."""


def read(file: Path) -> list[Entry]:
    """Every plugin that `file` registers, broken ones with their error; [] for a file that registers nothing."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return [Entry("", file.stem, str(file), error=f"cannot be read: {error}")]
    if not _MENTION.search(text):
        return []
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError) as error:
        reason = f"syntax error in line {getattr(error, 'lineno', '?')}: {getattr(error, 'msg', error)}"
        names = _NAMED.findall(text) or [("", file.stem)]
        return [Entry(kind, name, str(file), error=reason) for kind, name in names]
    return [_entry(node, call, str(file)) for node, call in _registered(body)]


def docstring(entry: Entry) -> str:
    """The plugin's whole docstring, read anew from its file."""
    for node, _ in _registered(ast.parse(Path(entry.file).read_text(encoding="utf-8")).body):
        if node.name == entry.object:
            return ast.get_docstring(node) or ""
    return ""


def read_common(file: Path, base: str) -> tuple[tuple[Option, ...], str]:
    """The options of the static method `common` of class `base`, and its docstring."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == base:
            function = _function(node, "common")
            assert function is not None, f"{base} in {file} has no common()"
            return _options(function), ast.get_docstring(function) or ""
    raise AssertionError(f"no class {base} in {file}")


Registered = ast.ClassDef | ast.FunctionDef


def _registered(body: list[ast.stmt]) -> Iterator[tuple[Registered, ast.Call]]:
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and _last_name(decorator.func) == "register":
                    yield node, decorator


def _entry(node: Registered, call: ast.Call, file: str) -> Entry:
    arguments = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    kind, name = arguments if len(arguments) == 2 else ("", node.name)
    summary = (ast.get_docstring(node) or "").split("\n", 1)[0]
    entry = Entry(kind, name, file, node.name, node.lineno, summary)
    if not kind or call.keywords:
        reason = 'must be two string literals, @register("method", "NAME"): the name is read from the text'
        return entry._replace(kind="", name=node.name, error=f"{ast.unparse(call)}: {reason}")
    try:
        return _describe(entry, node)
    except ValueError as error:
        return entry._replace(error=str(error))


def _describe(entry: Entry, node: Registered) -> Entry:
    function = _function(node, "__init__") if isinstance(node, ast.ClassDef) else node
    if isinstance(node, ast.ClassDef):
        entry = entry._replace(conflicts=_conflicts(node), defines=tuple(n.name for n in _functions(node)))
        if function is None:
            _refuse_inherited(node)
            return entry
    assert function is not None
    positional = [*function.args.posonlyargs, *function.args.args][isinstance(node, ast.ClassDef) :]
    if function.args.defaults:
        late = positional[-len(function.args.defaults) :]
        raise Unreadable(f"option {late[0].arg!r} must be keyword-only (positional ones are wiring): put `*` before it")
    for star in (function.args.vararg, function.args.kwarg):
        if star is not None:
            raise Unreadable(f"takes *{star.arg}; name every option instead")
    return entry._replace(options=_options(function), wiring=tuple(a.arg for a in positional))


def _options(function: ast.FunctionDef) -> tuple[Option, ...]:
    return tuple(
        _option(argument, default)
        for argument, default in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
    )


def _option(argument: ast.arg, default: ast.expr | None) -> Option:
    if argument.annotation is None:
        raise Unreadable(f"option {argument.arg!r} has no annotation")
    text = ast.unparse(argument.annotation)
    try:
        choices = option_types.parse(text).choices
    except ValueError as error:
        raise Unreadable(f"option {argument.arg!r}: {error}") from error
    if default is None:
        return Option(argument.arg, text, None, True, choices)
    try:
        value = json.loads(json.dumps(ast.literal_eval(default)))  # as YAML has it: no tuples, no sets, no bytes
    except (ValueError, TypeError) as error:
        shown = ast.unparse(default)
        raise Unreadable(f"option {argument.arg!r}: default {shown} is not a literal; use one, or None") from error
    return Option(argument.arg, text, value, False, choices)


def _refuse_inherited(node: ast.ClassDef) -> None:
    inherited = [ast.unparse(base) for base in node.bases if _last_name(base) not in CONTRACTS]
    if inherited:
        raise Unreadable(f"inherits its __init__ from {inherited[0]}: write one in {node.name} itself")
    for decorator in node.decorator_list:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        if _last_name(called) == "dataclass":
            raise Unreadable(f"is a dataclass, whose __init__ is not in the text: write one in {node.name} itself")


def _conflicts(node: ast.ClassDef) -> tuple[str, ...]:
    for statement in node.body:
        target = statement.target if isinstance(statement, ast.AnnAssign) else None
        if isinstance(statement, ast.Assign):
            target = statement.targets[0]  # type: ignore[assignment]
        if isinstance(target, ast.Name) and target.id == "conflicts":
            value = statement.value  # type: ignore[attr-defined]
            if isinstance(value, ast.Call) and _last_name(value.func) == "frozenset" and len(value.args) <= 1:
                try:
                    return tuple(sorted(ast.literal_eval(value.args[0]))) if value.args else ()
                except (ValueError, TypeError) as error:
                    raise Unreadable("conflicts must be a frozenset of literal names") from error
            raise Unreadable('conflicts must be written as frozenset({"name", ...})')
    return ()


def _function(node: ast.ClassDef, name: str) -> ast.FunctionDef | None:
    return next((f for f in _functions(node) if f.name == name), None)


def _functions(node: ast.ClassDef) -> Iterator[ast.FunctionDef]:
    return (statement for statement in node.body if isinstance(statement, ast.FunctionDef))


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Subscript):
        return _last_name(node.value)
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
