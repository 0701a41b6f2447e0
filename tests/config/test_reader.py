"""What is read from a plugin's text, and how unreadable plugins are told."""

import textwrap

import pytest

from tlresearch.config.reader import Option, docstring, read


@pytest.fixture
def read_text(tmp_path):
    def read_it(text):
        file = tmp_path / "plugin.py"
        file.write_text(textwrap.dedent(text))
        return read(file)

    return read_it


def test_a_class(read_text):
    (entry,) = read_text('''
        from tlresearch import Method, register

        @register("method", "l2")
        class L2(Method):
            """Keeps weights near.

            More.
            """
            conflicts = frozenset({"b", "a"})

            def __init__(self, spec, model, *, strength: float = 1e-2, needed: int, names: list[str] = ["a"]):
                pass

            def loss(self): ...
        ''')
    assert (entry.kind, entry.name, entry.object, entry.line, entry.error) == ("method", "l2", "L2", 5, "")
    assert entry.summary == "Keeps weights near."
    assert docstring(entry) == "Keeps weights near.\n\nMore."
    assert entry.wiring == ("spec", "model")
    assert entry.conflicts == ("a", "b")
    assert entry.defines == ("__init__", "loss")
    assert entry.options == (
        Option("strength", "float", 0.01, False, ()),
        Option("needed", "int", None, True, ()),
        Option("names", "list[str]", ["a"], False, ()),
    )


def test_a_function_and_a_qualified_decorator(read_text):
    (entry,) = read_text("""
        import tlresearch

        @tlresearch.register("schedule", "flat")
        def flat(clock, *, factor: float = -1.0): ...
        """)
    assert entry.wiring == ("clock",)
    assert entry.options == (Option("factor", "float", -1.0, False, ()),)


def test_files_without_the_decorator_are_not_even_parsed(read_text):
    assert read_text("def broken(:  # registers nothing") == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("def __init__(self, *, a: int = N): ...", "default N is not a literal"),
        ("def __init__(self, *, a: Any = {1, 2}): ...", "default {1, 2} is not a literal"),
        ("def __init__(self, *, a=1): ...", "'a' has no annotation"),
        ("def __init__(self, *, a: Path = None): ...", "'Path' is not supported"),
        ("def __init__(self, a: int = 1): ...", "'a' must be keyword-only"),
        ("def __init__(self, **options): ...", "takes *options"),
        ("def __init__(self, *things): ...", "takes *things"),
        ("conflicts = frozenset(NAMES)", "conflicts must be"),
        ("conflicts = {'a'}", "conflicts must be"),
    ],
)
def test_what_cannot_be_read_is_an_error_of_that_entry_alone(read_text, body, reason):
    broken, fine = read_text(f'''
        @register("method", "broken")
        class Broken(Method):
            {body}

        @register("method", "fine")
        class Fine(Method):
            """Fine."""
        ''')
    assert reason in broken.error
    assert broken.name == "broken"
    assert fine.error == ""


def test_an_inherited_init_is_refused_by_name(read_text):
    parent, child = read_text("""
        @register("method", "parent")
        class Parent(Method):
            def __init__(self, *, rank: int = 1): ...

        @register("method", "child")
        class Child(Parent): ...
        """)
    assert parent.error == ""
    assert "inherits its __init__ from Parent" in child.error


def test_a_dataclass_is_refused(read_text):
    (entry,) = read_text("""
        @register("method", "data")
        @dataclass
        class Data(Method):
            rank: int = 1
        """)
    assert "dataclass" in entry.error


def test_a_syntax_error_keeps_the_names(read_text):
    entries = read_text("""
        @register("method", "first")
        class First(Method:
        @register("head", "second")
        class Second: ...
        """)
    assert [(e.kind, e.name) for e in entries] == [("method", "first"), ("head", "second")]
    assert all("syntax error in line 3" in entry.error for entry in entries)


@pytest.mark.parametrize("arguments", ["KIND, 'x'", "'method', NAME", "'method', name='x'", "'method', f'{NAME}'", ""])
def test_names_that_are_not_literal(read_text, arguments):
    (entry,) = read_text(f"""
        @register({arguments})
        class X: ...
        """)
    assert (entry.kind, entry.name) == ("", "X")
    assert f"register({arguments})" in entry.error
    assert "two string literals" in entry.error


def test_a_file_that_is_not_text(tmp_path):
    file = tmp_path / "binary.py"
    file.write_bytes(b"\xff\xfe@register(")
    (entry,) = read(file)
    assert "cannot be read" in entry.error
