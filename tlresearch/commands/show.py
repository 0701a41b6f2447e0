"""`tlresearch show KIND NAME`: what a plugin does and what it takes; `tlresearch show settings`: the top-level keys."""

from __future__ import annotations

import argparse
import json
from typing import Any

from tlresearch.commands.table import print_table
from tlresearch.config import reader, registry, schema
from tlresearch.config.errors import ConfigError, choose
from tlresearch.config.reader import Entry, Option
from tlresearch.config.settings import documented

SETTINGS = "settings"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what `tlresearch show` takes."""
    parser.add_argument("kind", metavar="KIND", help=f"one of {', '.join(registry.KINDS)}, or {SETTINGS}")
    parser.add_argument("name", nargs="?", metavar="NAME", help="a plugin or variant that `tlresearch list KIND` names")


def main(arguments: argparse.Namespace) -> int:
    """Prints the explanation; raises ConfigError for what does not exist or is broken."""
    kind, name = arguments.kind, arguments.name
    choose("KIND", kind, [*registry.KINDS, SETTINGS])
    if kind == SETTINGS:
        print_table(["key", "type", "default", "meaning"], documented())
        return 0
    variants = registry.variants(kind)
    known = [*registry.names(kind), *variants]
    if name is None:
        raise ConfigError(f"which {kind}? Give one of: {', '.join(sorted(known))}")
    if name in variants:
        print(f"{kind} {name}: a variant ({variants[name]})\n\n{variants[name].read_text(encoding='utf-8').rstrip()}")
        return 0
    if name not in known:
        raise ConfigError(registry.unknown(kind, name, known))
    _print_plugin(registry.find(kind, name))
    return 0


def _print_plugin(entry: Entry) -> None:
    kind = registry.KINDS[entry.kind]
    how = f"{entry.kind}=[{entry.name}]" if kind.multiple else f"{entry.kind}={entry.name}"
    print(f"{entry.kind} {entry.name}  ({entry.origin}, {entry.file}:{entry.line})\nchosen by {how}\n")
    text = reader.docstring(entry)
    if text:
        print(f"{text}\n")
    if entry.conflicts:
        print(f"conflicts with: {', '.join(entry.conflicts)}\n")
    shared, explanation = registry.common(entry.kind)
    key = schema.key(entry.kind, entry.name)
    _print_options(key, entry.options, "its options")
    if shared:
        print()
        _print_options(key, shared, f"options of every {entry.kind}")
        print("\n" + "\n".join(explanation.split("\n")[1:]).strip() if "\n" in explanation else f"\n{explanation}")


def _print_options(key: str, options: tuple[Option, ...], title: str) -> None:
    if not options:
        print(f"{title}: none")
        return
    rows = [[f"{key}.{o.name}", _type(o), "required" if o.required else _literal(o.default)] for o in options]
    print_table(["key", "type", "default"], rows, f"{title}:")


def _type(option: Option) -> str:
    return " | ".join(option.choices) if option.choices else option.annotation


def _literal(value: Any) -> str:
    """As it would be typed on the command line."""
    return value if isinstance(value, str) and value else json.dumps(value)
