"""Annotations of options, read from text: what OmegaConf should check and which values a Literal allows. No eval."""

from __future__ import annotations

import ast
import functools
import operator
from typing import Any, NamedTuple, get_origin

PRIMITIVES: dict[str, Any] = {"int": int, "float": float, "str": str, "bool": bool}
SUPPORTED = "int, float, str, bool, Any, Literal of strings, list[...], tuple[...], dict[str, ...] and X | None"


class Annotation(NamedTuple):
    """type: for OmegaConf, which knows no tuples (here list) and no Literal (here str); choices: those of a Literal."""

    type: Any
    choices: tuple[str, ...] = ()


def parse(text: str) -> Annotation:
    """The annotation in `text`; raises ValueError naming what is supported otherwise."""
    try:
        return _resolve(ast.parse(text, mode="eval").body)
    except SyntaxError as error:
        raise ValueError(f"annotation {text!r} is not Python: {error.msg}") from error


def _resolve(node: ast.expr) -> Annotation:
    match node:
        case ast.Constant(value=str(text)):
            return parse(text)
        case ast.Name() | ast.Attribute():
            return _plain(node)
        case ast.BinOp(op=ast.BitOr()):
            return _union(node, _alternatives(node))
        case ast.Subscript(value=generic, slice=inner):
            return _subscript(node, _name(generic), inner)
    raise _unsupported(node)


def _plain(node: ast.expr) -> Annotation:
    name = _name(node)
    if name in PRIMITIVES:
        return Annotation(PRIMITIVES[name])
    if name == "Any":
        return Annotation(Any)
    if name in ("list", "tuple"):
        return Annotation(list[Any])
    if name == "dict":
        return Annotation(dict[str, Any])
    raise _unsupported(node)


def _subscript(node: ast.expr, name: str, inner: ast.expr) -> Annotation:
    parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    if name == "Literal":
        choices = tuple(part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str))
        if len(choices) == len(parts):
            return Annotation(str, choices)
    if name == "Optional" and len(parts) == 1:
        return _union(node, [*parts, ast.Constant(None)])
    if name == "Union":
        return _union(node, parts)
    if name == "list" and len(parts) == 1:
        return _list_of(_resolve(parts[0]))
    if name == "tuple":
        elements = [_resolve(part) for part in parts if not (isinstance(part, ast.Constant) and part.value is ...)]
        return _list_of(elements[0]) if len({repr(element) for element in elements}) == 1 else Annotation(list[Any])
    if name == "dict" and len(parts) == 2 and _name(parts[0]) == "str":
        value = _resolve(parts[1])
        return Annotation(dict.__class_getitem__((str, value.type)), value.choices)
    raise _unsupported(node)


def _union(node: ast.expr, parts: list[ast.expr]) -> Annotation:
    kept = [_resolve(part) for part in parts if not (isinstance(part, ast.Constant) and part.value is None)]
    if len(kept) > 1 and not all(part.type in PRIMITIVES.values() and not part.choices for part in kept):
        raise _unsupported(node)  # OmegaConf's unions hold primitives only
    if any(part.type is Any or get_origin(part.type) is dict for part in kept):
        return Annotation(Any)  # OmegaConf cannot merge a table into an optional one that is null
    united = functools.reduce(operator.or_, (part.type for part in kept))
    return Annotation(united | None if len(kept) < len(parts) else united, kept[0].choices)


def _list_of(element: Annotation) -> Annotation:
    return Annotation(list.__class_getitem__(element.type), element.choices)


def _alternatives(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _alternatives(node.left) + _alternatives(node.right)
    return [node]


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _unsupported(node: ast.expr) -> ValueError:
    return ValueError(f"annotation {ast.unparse(node)!r} is not supported; use {SUPPORTED}")
