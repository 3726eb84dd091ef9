"""Notebooks and pages from the text files of the lesson, which are in jupytext's percent format.

`make lesson` runs this file: it opens the notebooks in JupyterLab; with the argument "html", or without a
display, it runs them with the solutions of the exercises and writes HTML. The argument "lab" starts
JupyterLab without a display, too. Both are in build/lesson. Notebooks that are there already stay as they
are: they have the student's work.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

LESSON = Path(__file__).parent
PARTS = sorted(LESSON.glob("part*.py"))
_BUILD = LESSON.parent.parent / "build" / "lesson"
_NOTE = """:::{note}
`make lesson`, in a checkout, opens this page as a notebook. Here the cells ran on the machine that made
the site, with the solutions of the exercises.
:::"""
_EXERCISE = re.compile(r"^# Exercise (\d+)", re.MULTILINE)


class Cell(NamedTuple):
    """A cell of a text file in jupytext's percent format."""

    is_markdown: bool
    source: str


def cells(path):
    """Return the cells of a part, in their order."""
    _, *parts = re.split(r"^# %%(.*)\n", path.read_text("utf-8"), flags=re.MULTILINE)
    return [
        Cell(True, re.sub(r"^# ?", "", source, flags=re.MULTILINE).strip())
        if "[markdown]" in kind
        else Cell(False, source.strip())
        for kind, source in zip(parts[::2], parts[1::2], strict=True)
    ]


def solved(unsolved):
    """Return the cells with the solutions in the place of the exercises."""
    text = (LESSON / "solutions.py").read_text("utf-8")
    _, *parts = _EXERCISE.split(text)
    solutions = dict(zip(parts[::2], parts[1::2], strict=True))
    result = []
    for cell in unsolved:
        exercise = _EXERCISE.match(cell.source)
        if exercise and not cell.is_markdown:
            task = re.match(r"(#.*\n)+", cell.source)[0]
            cell = Cell(False, task + solutions[exercise[1]].strip())
        result.append(cell)
    return result


def run(cell, namespace):
    """Run a cell of code as a notebook does; return what it printed, and the figures that it made."""
    import matplotlib.pyplot as plt
    from matplotlib.figure import Figure

    *_, last = body = ast.parse(cell.source).body
    value, printed = None, StringIO()
    with redirect_stdout(printed):
        is_value = isinstance(last, ast.Expr)
        statements = ast.Module(body[:-1] if is_value else body, type_ignores=[])
        exec(compile(statements, "cell", "exec"), namespace)
        if is_value:
            value = eval(compile(ast.Expression(last.value), "cell", "eval"), namespace)
    figures = [plt.figure(number) for number in plt.get_fignums()]
    plt.close("all")
    return printed.getvalue(), figures + [value] * isinstance(value, Figure)


def write_page(path, folder):
    """Run a part with its solutions, and write it as a page of Markdown that shows the exercises."""
    text, namespace = [], {"__name__": "__main__"}
    n_pictures = 0
    for cell in cells(path):
        if cell.is_markdown:
            text.append(cell.source)
            continue
        printed, figures = run(*solved([cell]), namespace)
        text.append(f"```python\n{cell.source}\n```")
        if printed:
            text.append(f"```text\n{printed.rstrip()}\n```")
        for figure in figures:
            picture = f"{path.stem}-{n_pictures}.png"
            figure.savefig(folder / picture, dpi=110)
            text.append(f"![What the cell draws]({picture})")
            n_pictures += 1
    text.insert(1, _NOTE)
    (folder / f"{path.stem}.md").write_text("\n\n".join(text) + "\n", "utf-8")


def _notebook(some_cells):
    import nbformat

    new = nbformat.v4
    notebook = new.new_notebook(
        cells=[
            (new.new_markdown_cell if cell.is_markdown else new.new_code_cell)(cell.source)
            for cell in some_cells
        ]
    )
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    return notebook


def _with_mathml(text):
    """Formulas that a browser draws without a script from the network."""
    from latex2mathml.converter import convert

    return re.sub(
        r"\$\$(.+?)\$\$|\$(.+?)\$",
        lambda found: convert(found[1] or found[2], display="block" if found[1] else "inline"),
        text,
        flags=re.DOTALL,
    )


def _write_html():
    from nbclient import NotebookClient
    from nbconvert import HTMLExporter

    for path in PARTS:
        notebook = _notebook(solved(cells(path)))
        NotebookClient(notebook, timeout=600, resources={"metadata": {"path": LESSON}}).execute()
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = _with_mathml(cell.source)
        html, _ = HTMLExporter().from_notebook_node(notebook)
        page = _BUILD / f"{path.stem}.html"
        page.write_text(html, "utf-8")
        print(f"wrote {page}")


def _open():
    import nbformat

    shutil.copy(LESSON / "ladder.py", _BUILD)
    for path in PARTS:
        notebook = _BUILD / f"{path.stem}.ipynb"
        if not notebook.exists():
            nbformat.write(_notebook(cells(path)), notebook)
    command = [sys.executable, "-m", "jupyter", "lab", f"{PARTS[0].stem}.ipynb"]
    subprocess.run(command, cwd=_BUILD, check=False)


if __name__ == "__main__":
    _BUILD.mkdir(parents=True, exist_ok=True)
    has_display = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    has_display |= sys.platform in ("darwin", "win32")
    if sys.argv[1:] == ["html"] or (sys.argv[1:] != ["lab"] and not has_display):
        _write_html()
    else:
        _open()
