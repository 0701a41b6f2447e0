"""What each format says, read back by a program that is not ours."""

import csv
import io
import json
import re
import shutil
import subprocess

import pytest
from markdown_it import MarkdownIt

ODD = (
    "a&b%c_{d}$e#f~g^h\\i", "<script>alert(1)</script>", "x|y*z*_w_`v`", "naïve Škoda ß", "日本語 😀 \u202e",
    "a\nb\tc\x1b[31m",
    '"quoted", [x] -- --- ?` !`', "=1+1",
)  # fmt: skip

pdflatex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")


@pytest.fixture
def store(write):
    """Two methods of which one is better, on data sets with names of all kinds."""
    for dataset in ODD[:3]:
        for seed, (lora, probe) in enumerate([(0.90, 0.80), (0.92, 0.83), (0.91, 0.80), (0.93, 0.84)]):
            write(lora, seed=seed, method=["lora"], dataset=dataset, oracle=True)
            write(probe, seed=seed, method=["probe"], dataset=dataset)


@pytest.fixture
def odd(write):
    for name in ODD:
        for seed in range(2):
            write(0.5 + seed / 10, seed=seed, dataset=name)
            write(0.4 + seed / 7, seed=seed, dataset=name, method=["lora"])


def read_markdown(text):
    """The cells of the table as a Markdown parser sees them: text, and which are bold; and all the HTML there is."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(text)
    rows, bold, html = [], [], []
    for token in tokens:
        if token.type == "tr_open":
            rows.append([])
            bold.append([])
        html += [token.content] if token.type == "html_block" else []
        for child in token.children or ():
            html += [child.content] if child.type == "html_inline" else []
    inside = False
    at = -1
    for token in tokens:
        if token.type == "tr_open":
            at += 1
        inside = token.type in ("td_open", "th_open") or (inside and token.type == "inline")
        if token.type == "inline" and inside:
            rows[at].append("".join(child.content for child in token.children))
            bold[at].append(any(child.type == "strong_open" for child in token.children))
    return rows, bold, html


def test_markdown_is_read_back(store, report, compared):
    code, out, err = report("--by", "method,dataset", "--format", "markdown")
    assert (code, err) == (0, "")
    (header, *body), (_, *bold), html = read_markdown(out)
    assert html == []
    groups = compared(by=["method", "dataset"])["groups"]
    assert header[:3] == ["method", "dataset", "test.accuracy"]
    assert [row[:2] for row in body] == [[g["cells"]["method"], g["cells"]["dataset"]] for g in groups]
    assert [row[2].split(" ")[0] for row in body] == [f"{g['mean']:.4f}" for g in groups]
    assert [row[2] for row in bold] == [g["best"] for g in groups] == [True, False] * 3
    assert sum(sum(row) for row in bold) == 3
    holm = header.index("p (Holm)")
    assert [row[holm] for row in body] == [
        "best" if g["best"] else f"{g['against_best']['p_holm']:.4f}" for g in groups
    ]  # fmt: skip
    assert all("†" in row[2] for row in body if row[0] == "lora")
    assert all("oracle" in row[-1] and "1 tried" in row[-1] for row in body if row[0] == "lora")


@pytest.mark.parametrize("arguments", [("--by", "dataset"), (), ("--by", "method", "--pivot", "dataset")])
def test_odd_names_stay_text_in_markdown(odd, report, arguments):
    code, out, err = report(*arguments, "--format", "markdown")
    assert (code, err) == (0, "")
    rows, _, html = read_markdown(out)
    assert html == []
    assert len({len(row) for row in rows}) == 1, "no name adds a cell"
    said = " ".join(cell for row in rows for cell in row)
    for name in (ODD[0], ODD[1], ODD[2], ODD[3], ODD[6], ODD[7]):
        assert name in said
    assert "\x1b" not in out and "\u202e" not in out and "a b c" in said


def test_csv_is_read_back(store, report, compared):
    code, out, err = report("--by", "method,dataset", "--format", "csv")
    assert (code, err) == (0, "")
    lines = list(csv.DictReader(io.StringIO(out)))
    groups = compared(by=["method", "dataset"])["groups"]
    assert len(lines) == len(groups) == 6
    for line, g in zip(lines, groups, strict=True):
        assert (line["method"], line["dataset"], int(line["n"])) == (*g["cells"].values(), g["n"])
        assert float(line["mean"]) == g["mean"] and float(line["low"]) == g["interval"][0]
        assert float(line["bootstrap_high"]) == g["bootstrap"][1]
        against = g["against_best"]
        assert line["p_holm"] == ("" if against is None else repr(against["p_holm"]))
        assert line["best"] == str(g["best"])


def test_a_pivot_in_csv_has_columns_for_each_value(write, report):
    for labels in (50, 5, None):
        for method in ("lora", "probe"):
            if (labels, method) != (5, "probe"):
                write(0.5, labels=labels, method=[method])
    code, out, _ = report("--by", "method", "--pivot", "dataset.labels_per_class", "--format", "csv")
    lines = {line["method"]: line for line in csv.DictReader(io.StringIO(out))}
    key = "mean dataset.labels_per_class"
    assert code == 0
    assert [name for name in lines["lora"] if name.startswith("mean")] == [f"{key}=5", f"{key}=50", f"{key}=all"]
    assert [lines["probe"][f"{key}={value}"] for value in ("5", "50", "all")] == ["", "0.5", "0.5"]


def test_pivoted_tables_have_the_corrected_p_of_each_column(write, report, compared):
    """In every format: p and pairs in CSV, p within the cell elsewhere; none for the best, ? where none can be said."""
    values = {"lora": (0.90, 0.92, 0.91, 0.93), "probe": (0.80, 0.83, 0.80, 0.84), "ewc": (0.90, 0.91, 0.92, 0.92)}
    for labels in (5, 50):
        for method, of in values.items():
            for seed, value in enumerate(of if labels == 5 else of[:1]):
                write(value - labels / 1000, seed=seed, labels=labels, method=[method])
    found = compared(by=["method"], pivot="labels_per_class")["groups"]
    expected = {(g["cells"]["method"], g["cells"]["labels_per_class"]): g["against_best"] for g in found}
    assert expected["lora", 5] is None and expected["probe", 5]["p_holm"] < 0.05 < expected["ewc", 5]["p_holm"]
    _, out, _ = report("--pivot", "labels_per_class", "--format", "csv")
    for line in csv.DictReader(io.StringIO(out)):
        for labels in (5, 50):
            against = expected[line["method"], labels] or {"p_holm": None, "n": None}
            said = [line[f"{name} labels_per_class={labels}"] for name in ("p_holm", "pairs")]
            assert said == ["" if against[name] is None else repr(against[name]) for name in ("p_holm", "n")]
    for form in ("table", "markdown", "latex"):
        code, out, _ = report("--pivot", "labels_per_class", "--format", form)
        assert code == 0 and "(n, p)" in out and "against the best of the same column" in out
        for method in ("probe", "ewc"):
            assert f"(4, {expected[method, 5]['p_holm']:.2g})" in out
        assert "(4)" in out and "(1, ?)" in out


@pdflatex
@pytest.mark.parametrize("arguments", [("--by", "dataset"), (), ("--by", "method", "--pivot", "dataset")])
def test_latex_compiles_as_it_is_with_any_name(odd, report, arguments, tmp_path):
    code, out, err = report(*arguments, "--format", "latex")
    assert (code, err) == (0, "")
    assert "booktabs" in out and out.isascii()
    compiled(out, tmp_path)


@pdflatex
def test_latex_of_many_rows_and_bold(write, report, tmp_path):
    for i in range(100):
        write(0.5 + i / 1000, lr=i / 7)
    for seed in range(5):
        write(0.9 + seed / 100, seed=seed, lr=99, dataset="other")
        write(0.7 + seed / 90, seed=seed, lr=98, dataset="other")
    _, out, _ = report("--by", "dataset,optimizer.lr", "--format", "latex")
    assert len(re.findall(r"\\textbf", out)) == 1 and r"\textbf{0.9200 $\pm$" in out
    assert compiled(out, tmp_path) >= 2, "no row is lost at the end of a page"


def test_latex_without_a_compiler(odd, report):
    """Braces match and nothing is left that TeX would take for a command, whatever the names are."""
    _, out, _ = report("--by", "dataset", "--format", "latex")
    assert r"a\&b\%c\_\{d\}\$e\#f\textasciitilde{}g\textasciicircum{}h\textbackslash{}i" in out
    assert r"na\"{i}ve \v{S}koda \ss{}" in out and "{[}U+65E5{]}" in out
    unescaped = re.sub(r"\\[{}\\]", "", out)
    assert unescaped.count("{") == unescaped.count("}")


def compiled(text, folder):
    """The number of pages that pdflatex makes of a document, without an error."""
    (folder / "table.tex").write_text(text)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    return int(re.search(r"table\.pdf \((\d+) page", done.stdout.replace("\n", ""))[1])


def test_json_with_groups_is_the_comparison(store, report, compared):
    expected = compared(by=["method"])
    del expected["named"]
    for form in ("json", "comparison"):
        code, out, err = report("--by", "method", "--format", form)
        assert (code, err) == (0, "")
        assert json.loads(out) == expected
    assert json.loads(report("--format", "comparison")[1])["groups"]
    assert isinstance(json.loads(report("--format", "json")[1]), list)


def test_the_table_of_a_pivot(write, report):
    for labels, level in ((5, 0.5), (50, 0.8)):
        for seed in range(2):
            write(level + seed / 100, seed=seed, labels=labels, method=["lora"])
    write(0.4, labels=5, method=["probe"], oracle=True)
    code, out, _ = report("--pivot", "dataset.labels_per_class")
    lines = [re.split(r"\s{2,}", line) for line in out.splitlines()]
    assert code == 0
    assert lines[1] == ["method", "labels_per_class=5 (n, p)", "labels_per_class=50 (n, p)", "selected by"]
    assert lines[2] == ["lora", "0.5050 ± 0.0635* (2)", "0.8050 ± 0.0635* (2)", "validation, 1 tried"]
    assert lines[3] == ["probe", "0.4000*† (1, ?)", "-", "validation, oracle, 1 tried"]


def test_a_terminal_shows_bold_and_leaves_out_what_has_no_room(store, report, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    code, out, _ = report("--by", "method")
    assert code == 0
    assert re.search(r"\x1b\[1m0\.9150 ± \S+", out), "the best in bold"
    assert not re.search(r"\x1b\[1m0\.81", out)
    assert "no room for p (Wilcoxon)" in out and "--format csv" in out
